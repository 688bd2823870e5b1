"""One look at what comes from outside, in front of every method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.cluster import given
from ue_jax.core.errors import Invalid


def test_rows_come_out_as_float32_of_an_equal_shape():
  for x in ([[1, 2], [3, 4]], np.arange(4, dtype=np.uint8).reshape(2, 2) + 1, jnp.asarray([[1.0, 2], [3, 4]])):
    found = given.rows(x)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, [[1, 2], [3, 4]])


def test_a_number_beyond_float32_is_infinite():
  with pytest.raises(Invalid, match="infinity"), np.errstate(over="ignore"):
    given.rows(np.float64([[1e39]]))


def test_traced_rows_are_left_alone_and_known_ones_are_looked_at_inside_a_program():
  traced = jax.jit(lambda x: given.rows(x) * 2)(np.float32([[np.nan]]))
  assert np.isnan(traced).all()
  bad = jnp.asarray([[jnp.inf]])
  with pytest.raises(Invalid, match="infinity"):
    jax.jit(lambda y: given.rows(bad) + y)(jnp.zeros((1, 1)))


def test_the_field_is_the_one_that_was_asked_for():
  for x in (np.zeros((0, 2)), [["a"]], [[np.nan]], 3.0):
    with pytest.raises(Invalid) as refused:
      given.rows(x, "cluster.query")
    assert refused.value.field == "cluster.query"


def test_labels_may_be_names_but_none_may_be_missing():
  np.testing.assert_array_equal(given.labels([["a"], ["b"]]), ["a", "b"])
  for values, word in (([0.0, np.nan], "NaN"), ([[0], [1, 2]], "one label a sample")):
    with pytest.raises(Invalid, match=word) as refused:
      given.labels(values, "labels.old")
    assert refused.value.field == "labels.old"

"""Tallies: metrics stay sums until the end."""

import jax.numpy as jnp
import numpy as np

from ue_jax.core.tally import Tally, add, means, tally


def test_batches_of_different_size_give_the_mean_over_all_items():
  rng = np.random.default_rng(0)
  parts = [rng.random(n).astype(np.float32) for n in (5, 2, 9)]
  found = means(add({"a": tally(jnp.asarray(p))} for p in parts))["a"]
  np.testing.assert_allclose(found, np.concatenate(parts).mean(), rtol=1e-6)
  assert abs(found - np.mean([p.mean() for p in parts])) > 1e-3


def test_masked_items_do_not_count():
  t = tally(jnp.float32([1, 5, 9]), jnp.float32([1, 0, 1]))
  assert (float(t.total), float(t.weight)) == (10.0, 2.0)


def test_booleans_count_as_zero_and_one():
  assert float(tally(jnp.asarray([True, False, True])).total) == 2.0


def test_nothing_seen_is_nan_and_not_zero():
  assert np.isnan(means({"a": Tally(np.float64(0), np.float64(0))})["a"])


def test_sums_on_the_host_do_not_lose_small_parts():
  big = {"a": Tally(np.float32(2**24), np.float32(1))}
  one = {"a": Tally(np.float32(1), np.float32(1))}
  assert add([big, one, one]).popitem()[1].total == 2**24 + 2  # in float32 each 1 would be lost


def test_names_that_appear_only_sometimes_are_kept():
  out = add([{"a": Tally(1.0, 1.0)}, {"b": Tally(2.0, 4.0)}])
  assert means(out) == {"a": 1.0, "b": 0.5}

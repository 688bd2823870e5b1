import jax
import numpy as np
import pytest

from ue_jax.audit import utility
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.forget import graddiff, neggrad_plus
from ue_jax.train import loop


def test_it_is_gradient_difference_with_weights_that_add_up_to_one(pictures):
  ends = []
  for method in (neggrad_plus.method(alpha=0.8, steps=2), graddiff.method(gamma=1 - 0.8, alpha=0.8, steps=2)):
    state, batch = method.init(jax.random.key(0), pictures), method.batch(0, pictures, 0)
    ends.append(jax.jit(method.step)(state, batch))
  assert tree.fingerprint(ends[0][0].params) == tree.fingerprint(ends[1][0].params)
  metrics = ends[0][1]
  mean = lambda t: float(t.total / t.weight)
  np.testing.assert_allclose(metrics["loss"], 0.8 * mean(metrics["retain"]) - 0.2 * mean(metrics["forget"]), rtol=1e-4)


def test_it_forgets_a_class_and_keeps_the_others(pictures):
  method = neggrad_plus.method(alpha=0.9, rate=1e-2, steps=30, forget_batch=30, retain_batch=30)
  after = utility.scores(pictures._replace(subject=loop.fit(method, pictures, mode="one")), ("forget", "retain"))
  assert after["forget/accuracy"].value < 0.2 and after["retain/accuracy"].value > 0.9


def test_a_weight_out_of_range_is_refused():
  with pytest.raises(Invalid, match="method.alpha = 1.5"):
    neggrad_plus.method(alpha=1.5)

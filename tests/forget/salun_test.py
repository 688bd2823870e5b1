import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import utility
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.forget import gradients, random_labels, salun
from ue_jax.train import loop


def flat(params):
  return np.concatenate([np.ravel(x) for x in jax.tree.leaves(params)])


def test_the_mask_is_the_top_share_over_all_leaves_jointly():
  rng = np.random.default_rng(0)
  gradient = {"a": rng.normal(size=(40, 3)).astype(np.float32), "b": 10 * rng.normal(size=30).astype(np.float32)}
  mask = salun.salient(gradient, 0.2)
  size, hit = np.abs(flat(gradient)), flat(mask)
  assert hit.sum() == 30 and size[hit].min() >= size[~hit].max()
  assert mask["b"].mean() > 3 * mask["a"].mean()  # leaf by leaf both would have a fifth
  assert flat(salun.salient(jax.tree.map(np.zeros_like, gradient), 0.5)).sum() == 75  # ties are broken, not multiplied


@pytest.mark.parametrize("how", [dict(optimizer="sgd", rate=0.1), dict(optimizer="adamw")])
def test_parameters_outside_the_mask_keep_their_bits_and_those_inside_move(pictures, how):
  before = pictures.subject.params
  mask = flat(salun.salient(gradients.summed(pictures, "forget"), 0.3))
  after = loop.fit(salun.method(share=0.3, steps=10, weight_decay=0.5, **how), pictures, mode="one").params
  same = flat(before).view(np.int32) == flat(after).view(np.int32)
  assert same[~mask].all() and 0 < (~mask).sum() < mask.size
  assert np.mean(same[mask & (flat(before) != 0)]) < 0.05


def test_with_all_parameters_it_is_random_labels(pictures):
  ends = [loop.fit(m.method(steps=4, **more), pictures, mode="one").params
          for m, more in ((salun, {"share": 1.0}), (random_labels, {}))]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *ends)


def test_the_share_may_be_traced(pictures):
  moved = lambda share: _moved(salun.method(share=share, steps=1), pictures)
  few, many = np.asarray(jax.jit(jax.vmap(moved))(jnp.array([0.1, 0.9])))
  n = tree.size(pictures.subject.params)
  assert few <= 0.1 * n + 1 < 0.5 * n < many


def _moved(method, request):
  state = method.init(jax.random.key(0), request)
  after, _ = method.step(state, method.batch(0, request, 0))
  parts = jax.tree.map(lambda a, b: jnp.sum(a != b), state.params, after.params)
  return jax.tree.reduce(jnp.add, parts)


def test_it_forgets_a_random_tenth(digits):
  scores = lambda s: utility.scores(digits._replace(subject=s), ("forget", "retain"))
  after = scores(loop.fit(salun.method(steps=200, rate=1e-3), digits, mode="one"))
  assert after["forget/accuracy"].value < 0.97 < scores(digits.subject)["forget/accuracy"].value
  assert after["retain/accuracy"].value > 0.95


def test_a_share_out_of_range_is_refused():
  with pytest.raises(Invalid, match="method.share = 0"):
    salun.method(share=0)

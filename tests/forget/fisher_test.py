import jax
import numpy as np
import pytest

from ue_jax.audit import utility
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Subject
from ue_jax.forget import fisher, kronecker
from ue_jax.models import mlp
from ue_jax.train import loop


@pytest.fixture(scope="module")
def linear(pictures):
  """A softmax regression: its Fisher matrix is known."""
  model = mlp.model(3, widths=())
  params, state = model.init(jax.random.key(3), pictures.data.arrays["image"][:1])
  return pictures._replace(subject=Subject(model, params, state))


def summed(request, **more):
  method = fisher.method(steps=2, retain_batch=30, **more)
  state, step = method.init(jax.random.key(0), request), jax.jit(method.step)
  for t in range(2):
    state, _ = step(state, method.batch(0, request, t))
  return method, state


def test_it_is_the_true_fisher_whatever_the_labels_are(linear):
  """Of softmax regression: mean of x_j^2 p_c (1 - p_c)."""
  data = linear.data
  image = data.arrays["image"][data.sets["retain"]]
  x = image.reshape(60, -1) / 255
  logits = np.asarray(linear.subject.model.apply(linear.subject.params, image).logits, np.float64)
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  _, state = summed(linear)
  assert float(state.weight) == 60
  np.testing.assert_allclose(state.total["head"]["kernel"] / 60, (x**2).T @ (p * (1 - p)) / 60, rtol=1e-4)
  np.testing.assert_allclose(state.total["head"]["bias"] / 60, (p * (1 - p)).mean(0), rtol=1e-4)
  wrong = linear._replace(data=Data({**data.arrays, "label": (data.arrays["label"] + 1) % 3}, data.sets, data.info))
  np.testing.assert_array_equal(summed(wrong)[1].total["head"]["kernel"], state.total["head"]["kernel"])


def test_padding_adds_nothing(linear):
  method = fisher.method(steps=1, retain_batch=30)
  state, batch = method.init(jax.random.key(0), linear), method.batch(0, linear, 0)
  padded = jax.tree.map(lambda x: np.concatenate([x, x[:3]]), batch)
  padded["retain"]["mask"][-3:] = 0
  one, other = (jax.jit(method.step)(state, b)[0] for b in (batch, padded))
  assert float(one.weight) == float(other.weight) == 30
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one.total, other.total)


def test_the_noise_has_the_deviation_of_each_variant():
  f = {"block": np.float32([1e-4, 1.0, 0.0]), "head": np.float32([1e-4])}
  d = fisher.deviation(f, 1e-8)
  np.testing.assert_allclose(d["block"], [0.1, 0.01, 10.0], rtol=1e-4)
  np.testing.assert_allclose(fisher.deviation(f, 1e-8, limit=0.05)["block"], [0.05, 0.01, 0.05], rtol=1e-4)
  d = fisher.deviation(f, 1e-11, "optml")
  np.testing.assert_allclose(d["block"], [10**-3.5, 10**-5.5, 1e-3], rtol=1e-4)
  np.testing.assert_allclose(d["head"], [10**-2.5], rtol=1e-4)


def test_the_noise_is_normal_of_that_deviation_and_of_the_key(pictures):
  method, state = summed(pictures, alpha=1e-9)
  ends = [method.finish(state._replace(key=jax.random.key(seed)), pictures).params for seed in range(30)]
  want = fisher.deviation(jax.tree.map(lambda x: x / 60, state.total), 1e-9)
  noise = jax.tree.map(lambda s, p, *x: (np.stack(x) - p) / s, want, pictures.subject.params, *ends)
  noise = np.concatenate([np.ravel(x) for x in jax.tree.leaves(noise)])
  assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.03


def test_what_matters_more_moves_less(pictures):
  after = loop.fit(fisher.method(alpha=1e-8, limit=1.0, steps=2, retain_batch=30), pictures, mode="one").params
  moved = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).ravel(), after, pictures.subject.params)
  _, state = summed(pictures)
  size = np.concatenate([np.ravel(x) for x in jax.tree.leaves(state.total)])
  moved = np.concatenate(jax.tree.leaves(moved))
  low, high = moved[size < np.median(size)], moved[size > np.median(size)]
  assert np.mean(low) > 2 * np.mean(high)


def test_factors_are_the_whole_matrix_where_both_sides_are_independent():
  """Gradients a b^T of all pairs of a in A and b in B: F is E(a a^T) (x) E(b b^T), as NumPy sums it up."""
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=(4, 2)).astype(np.float32)
  g = np.einsum("ir,jc->ijrc", a, b).reshape(20, 3, 2)
  whole = np.einsum("ki,kj->ij", g.reshape(20, 6), g.reshape(20, 6)) / 20
  found = kronecker.eigen(kronecker.factors(np.full(20, 1 / 20, np.float32), g))
  vectors = np.einsum("ri,cj->rcij", found.left, found.right).reshape(6, 6)
  np.testing.assert_allclose(vectors * found.values.reshape(6) @ vectors.T, whole, atol=1e-5)
  x = rng.normal(size=(3, 2)).astype(np.float32)
  np.testing.assert_allclose(kronecker.outside(found, kronecker.inside(found, x), x), x, atol=1e-5)


def test_factors_have_the_trace_and_the_blocks_of_the_matrix(linear):
  _, diagonal = summed(linear)
  _, state = summed(linear, variant="kronecker")
  kernel, bias = (state.total["head"][name] for name in ("kernel", "bias"))
  np.testing.assert_allclose(np.diag(bias.columns), diagonal.total["head"]["bias"], rtol=1e-4)
  np.testing.assert_allclose(np.diag(kernel.rows), diagonal.total["head"]["kernel"].sum(1), rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(np.diag(kernel.columns), diagonal.total["head"]["kernel"].sum(0), rtol=1e-4)
  np.testing.assert_allclose(bias.columns.sum(0), 0, atol=1e-4)  # logits may all grow alike


def test_the_shift_is_what_two_gradient_flows_differ_by():
  """On losses f x^2 / 2 + c x, whose minima over D and D_r are apart by g / f: both flows from 0 for the time t."""
  f, c, g, t = np.array([2.0, 0.1, 1e-4, 0.0]), -1.0, 0.3, 20.0
  flow = lambda pull: np.array([-pull * ((1 - np.exp(-k * t)) / k if k else t) for k in f])
  np.testing.assert_allclose(fisher.reach(np.float32(f), t) * g, flow(c - g) - flow(c), rtol=1e-4)
  np.testing.assert_array_equal(fisher.reach(np.float32(f), 0.0), 0)


def test_the_shift_forgets_more_than_noise_and_keeps_the_rest(pictures):
  faint = dict(variant="kronecker", alpha=1e-12, limit=1e-3)
  _, state = summed(pictures, **faint)
  ends = [fisher.method(**faint, time=time).finish(state, pictures) for time in (0.0, 300.0)]
  noise, moved = (utility.scores(pictures._replace(subject=one), ("forget", "retain")) for one in ends)
  up = lambda name: moved[f"{name}/nll"].value - noise[f"{name}/nll"].value
  assert up("forget") > 0.1 and up("forget") > 2 * up("retain"), (up("forget"), up("retain"))


@pytest.mark.parametrize("setting, words", [
  (dict(variant="none"), "method.variant = 'none'"),
  (dict(time=1.0), "method.time = 1.0"),
  (dict(variant="kronecker", time=-1.0), "method.time = -1.0"),
  (dict(variant="kronecker", time=float("inf")), "method.time = inf"),
])  # fmt: skip
def test_what_is_not_there_is_refused(setting, words):
  with pytest.raises(Invalid, match=words):
    fisher.method(**setting)

"""Influence unlearning and its reference, on a logistic regression with an L2 penalty, where retraining is exact."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.forget import influence, influence_cg
from ue_jax.models import mlp
from ue_jax.train import loop, losses

DECAY = 1e-2


def loss(model, back, data, rows, flat):
  logits = model.apply(back(flat), data.arrays["image"][rows]).logits
  return jnp.mean(losses.cross_entropy(logits, data.arrays["label"][rows])) + DECAY / 2 * jnp.sum(flat**2)


@pytest.fixture(scope="module")
def convex(pictures):
  """A Request on the minimum over all samples, to forget one; the flat minimum without it; the Hessian there; back."""
  data, model = pictures.data, mlp.model(3, widths=())
  train = data.sets["train"]
  data = Data(data.arrays, {"train": train, "forget": train[17:18], "retain": np.delete(train, 17)}, data.info)
  params, _ = model.init(jax.random.key(0), data.arrays["image"][:1])
  start, back = ravel_pytree(params)
  minima = {}
  for name in ("train", "retain"):
    value = functools.partial(loss, model, back, data, data.sets[name])
    newton = jax.jit(lambda x, f=value: x - jnp.linalg.solve(jax.hessian(f)(x), jax.grad(f)(x)))
    x = start
    for _ in range(12):
      x = newton(x)
    minima[name] = x
  hessian = jax.jit(jax.hessian(functools.partial(loss, model, back, data, data.sets["retain"])))(minima["train"])
  return Request(Subject(model, back(minima["train"])), data), np.asarray(minima["retain"], np.float64), hessian, back


def test_one_solved_step_is_nearly_retraining(convex):
  request, retrained, hessian, _ = convex
  before = np.asarray(ravel_pytree(request.subject.params)[0], np.float64)
  after = ravel_pytree(loop.fit(influence_cg.method(damping=DECAY, steps=60), request, mode="one").params)[0]
  far = np.linalg.norm(before - retrained)
  assert far > 1e-3  # doing nothing would stay there
  assert np.linalg.norm(after - retrained) <= 0.05 * far
  v = np.asarray(ravel_pytree(influence.pull(request))[0], np.float64)
  dense = np.linalg.solve(np.asarray(hessian, np.float64), v)
  np.testing.assert_allclose(after - before, dense, atol=2e-3 * np.abs(dense).max())


def test_the_solver_stops_by_itself_and_then_nothing_moves(convex):
  request = convex[0]
  method = influence_cg.method(damping=DECAY, steps=60, tolerance=1e-2)
  state, step = method.init(jax.random.key(0), request), jax.jit(method.step)
  batch = method.batch(0, request, 0)
  assert method.batch(0, request, 5)["retain"]["image"] is batch["retain"]["image"]
  while not state.done:
    state, metrics = step(state, batch)
  assert 1 < int(state.step) < 60 and float(metrics["residual"]) <= float(jnp.sqrt(state.goal))
  later, _ = step(state, batch)
  jax.tree.map(np.testing.assert_array_equal, later.x, state.x)


def test_without_positive_curvature_it_stops(convex):
  request = convex[0]
  method = influence_cg.method(damping=jnp.float32(-50.0))  # may be traced, so it is not looked at
  state, _ = jax.jit(method.step)(method.init(jax.random.key(0), request), method.batch(0, request, 0))
  assert bool(state.done) and not any(np.any(x) for x in jax.tree.leaves(state.x))


def test_the_pull_is_minus_the_gradient_of_what_is_kept_at_the_minimum(convex):
  request, _, _, back = convex
  flat = ravel_pytree(request.subject.params)[0]
  data = request.data
  slope = jax.jit(jax.grad(functools.partial(loss, request.subject.model, back, data, data.sets["retain"])))(flat)
  v = ravel_pytree(influence.pull(request))[0]
  np.testing.assert_allclose(v, -slope, atol=1e-5)
  assert float(jnp.linalg.norm(v)) > 1e-3


def test_the_recursion_is_the_released_one(convex):
  request = convex[0]
  n, data, model = 6, request.data, request.subject.model
  method = influence.method(alpha=3.0, steps=n)
  flat, back = ravel_pytree(request.subject.params)
  one = jax.jit(jax.grad(lambda x, image, label: losses.cross_entropy(model.apply(back(x), image).logits, label)[0]))
  v = np.asarray(ravel_pytree(influence.pull(request))[0], np.float64)
  k, o = v.copy(), None
  for t in range(n):
    part = method.batch(0, request, t)["retain"]
    g = np.asarray(one(flat, part["image"], part["label"]), np.float64)
    if o is None:
      o = g
      continue
    s = o @ g
    k, o = k - (k @ g) / (n + s) * o, o - s / (n + s) * o
  after = ravel_pytree(loop.fit(method, request, mode="one").params)[0]
  np.testing.assert_allclose(after - flat, 3 * k, atol=2e-3 * np.abs(3 * k).max())
  assert np.abs(k - v).max() > 5e-3 * np.abs(k).max()  # it is not v itself
  assert len(data.sets["forget"]) == 1


def test_the_released_recursion_moves_towards_retraining(convex):
  request, retrained, _, _ = convex
  before = np.asarray(ravel_pytree(request.subject.params)[0], np.float64)
  after = ravel_pytree(loop.fit(influence.method(alpha=1.0, steps=89), request, mode="one").params)[0]
  wanted, got = retrained - before, np.asarray(after, np.float64) - before
  assert wanted @ got > 0.1 * np.linalg.norm(wanted) * np.linalg.norm(got)


def test_a_negative_damping_is_refused():
  with pytest.raises(Invalid, match="method.damping = -1"):
    influence_cg.method(damping=-1)

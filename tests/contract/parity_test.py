"""One step, five ways: jit over a sharded batch, fsdp, pmap and shard_map give the numbers of one device.

Plain SGD, because Adam divides constant factors away; ragged masks, because a mean of means hides in full batches.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.core.tally import Tally
from ue_jax.core.terms import mean_term
from ue_jax.core.tree import shapes
from ue_jax.forget import idk_dpo, npo, rmu, sure, whp
from ue_jax.models import transformer
from ue_jax.parallel import spread
from ue_jax.train import losses
from ue_jax.train.descend import descend, descent_step

MODES = ("jit", "fsdp", "pmap", "shard_map")
STEPS = 5


def normal(key, *shape):
  return jax.random.normal(key, shape) * 0.4


def start(key, problem):
  a, b, c = jax.random.split(key, 3)
  params = {"body": normal(a, 5, 8), "head": normal(b, 8, 3), "embed": normal(c, 11, 5)}
  return params, {"mean": jnp.zeros(8)}, {"teacher": normal(a, 8, 3)}


def classify(params, state, frozen, batch, key):
  """Two terms of different weight, and a running statistic of the hidden layer."""
  hidden = jnp.tanh(batch["x"] @ params["body"])
  seen = jnp.mean(hidden, axis=0)
  logits = hidden @ params["head"]
  terms = {
    "fit": mean_term(losses.cross_entropy(logits, batch["label"]), batch["mask"]),
    "stay": mean_term(losses.kl(hidden @ frozen["teacher"], logits), batch["mask"] * batch["hard"], 0.3),
  }
  return terms, {"mean": 0.9 * state["mean"] + 0.1 * jax.lax.stop_gradient(seen)}


def speak(params, state, frozen, batch, key):
  """Next-token likelihood on nested batches: up on one, down on the other."""
  def term(part, scale):
    hidden = jnp.tanh(jnp.cumsum(params["embed"][part["ids"]], axis=1) @ params["body"])
    logits = hidden @ jnp.concatenate([params["head"]] * 4, axis=1)[:, :11]
    return mean_term(-losses.token_log_probs(logits, part["ids"]), part["mask"], scale)

  return {"retain": term(batch["retain"], 1.0), "forget": term(batch["forget"], -0.2)}, state


def pictures(t, rows=16):
  rng = np.random.default_rng(t)
  mask = (np.arange(rows) < rows - 5).astype(np.float32)  # the last device sees padding only
  return {
    "x": rng.normal(size=(rows, 5)).astype(np.float32), "label": rng.integers(0, 3, rows).astype(np.int32),
    "hard": (rng.random(rows) < 0.4).astype(np.float32), "mask": mask,
  }  # fmt: skip


def tokens(t, rows=8):
  def part(seed, rows):
    rng = np.random.default_rng(seed)
    length = rng.integers(2, 7, rows)[:, None]
    at = np.arange(7)[None]
    mask = ((at > 0) & (at < length)).astype(np.float32)
    return {"ids": rng.integers(0, 11, (rows, 7)).astype(np.int32), "mask": mask}

  return {"retain": part(2 * t, rows), "forget": part(2 * t + 1, rows // 2)}


@pytest.fixture(autouse=True)
def cut_all(monkeypatch):
  """Mode `fsdp` cuts even the small arrays of these tests."""
  monkeypatch.setattr(spread, "WHOLE", 2)


@functools.cache
def trajectory(objective, batch, mode, n, rows):
  """The state after `STEPS` steps, and the metrics of each."""
  procedure = descend(objective, optax.sgd(0.5), start=start, finish=None, batch=None, steps=STEPS)
  run = spread.spread(procedure.step, mode=mode, devices=jax.devices()[:n])
  state, seen = procedure.init(jax.random.key(0), None), []
  for t in range(STEPS):
    state, metrics = run(state, batch(t, rows))
    seen.append(jax.device_get(metrics))
  return state, seen


def close(a, b, **kw):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(np.asarray(x), np.asarray(y), **kw), a, b)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("objective, batch, rows, n", [
  *((classify, pictures, 16, n) for n in (1, 2, 4)), *((speak, tokens, 8, n) for n in (2, 4)),
])  # fmt: skip
def test_all_modes_give_the_parameters_and_metrics_of_one_device(objective, batch, rows, mode, n):
  one, seen_one = trajectory(objective, batch, "one", 1, rows)
  many, seen = trajectory(objective, batch, mode, n, rows)
  assert shapes(many.params) == shapes(one.params)
  close(many.params, one.params, atol=3e-6, rtol=1e-5)
  close(seen, seen_one, atol=3e-6, rtol=1e-5)
  assert int(many.step) == STEPS


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("objective, batch, rows", [(classify, pictures, 13), (speak, tokens, 6)])
def test_batches_that_do_not_divide_are_padded_without_a_trace(objective, batch, rows, mode):
  one, seen_one = trajectory(objective, batch, "one", 1, rows)
  many, seen = trajectory(objective, batch, mode, 4, rows)
  close(many.params, one.params, atol=3e-6, rtol=1e-5)
  close(seen, seen_one, atol=3e-6, rtol=1e-5)


PLAIN = dict(optimizer="sgd", rate=0.1, steps=2, forget_batch=5, retain_batch=6)  # 5 rows on 2 devices: one is padding
METHODS = {  # each with the mode that is hardest on it; to see all, put MODES in the place of these
  "npo": ("fsdp", lambda: npo.method(beta=0.5, retain="kl", **PLAIN)),  # values found by row in an array that is cut
  "idk_dpo": ("pmap", lambda: idk_dpo.method(beta=0.5, refusal=("r",), **PLAIN)),  # values and texts by row
  "sure": ("shard_map", lambda: sure.method(once=False, tau=60.0, **PLAIN)),  # a threshold over what all devices saw
  "whp": ("pmap", lambda: whp.method(reinforce=0.5, hard=False, retain_sets={"retain": 0.5}, **PLAIN)),  # a cond
  "rmu": ("shard_map", lambda: rmu.method(scale=2.0, **PLAIN)),  # what a tap sees
}


@functools.cache
def asked():
  """A request of ragged texts to a decoder of one block."""
  rng = np.random.default_rng(3)
  ids, at = rng.integers(2, 11, (14, 7)).astype(np.int32), np.arange(7)[None]
  begin = rng.integers(1, 4, (14, 1))
  mask = ((at >= begin) & (at < begin + rng.integers(1, 4, (14, 1)))).astype(np.float32)
  arrays = {"ids": np.where(at < begin + 3, ids, 0), "mask": mask, "index": np.arange(14, dtype=np.int32)}
  sets = {"forget": np.arange(5, dtype=np.int32), "retain": np.arange(5, 14, dtype=np.int32)}
  model = transformer.model(11, width=8, depth=1, heads=2, hidden=8)
  params, state = model.init(jax.random.key(1), ids[:1])
  return Request(Subject(model, params, state), Data(arrays, sets, {"vocabulary": [*"<>r", *map(str, range(8))]}))


@functools.cache
def unlearned(name, mode, n):
  """The parameters before the first step and after the last, and the metrics of each."""
  method, request, seen = METHODS[name][1](), asked(), []
  state = method.init(jax.random.key(0), request)
  run = spread.spread(method.step, mode=mode, devices=jax.devices()[:n])
  for t in range(PLAIN["steps"]):
    state, metrics = run(state, method.batch(0, request, t))
    seen.append(jax.device_get(metrics))
  return request.subject.params, jax.device_get(state.params), seen


@pytest.mark.parametrize("name, mode", [(name, mode) for name, (mode, _) in METHODS.items()])
def test_methods_for_language_give_the_parameters_and_metrics_of_one_device(name, mode):
  first, one, seen_one = unlearned(name, "one", 1)
  _, many, seen = unlearned(name, mode, 2)
  assert max(np.abs(a - b).max() for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(first))) > 1e-2
  close(many, one, atol=3e-6, rtol=1e-5)
  close(seen, seen_one, atol=3e-6, rtol=1e-5)


def trapped(state, batch, axis=None):
  """The usual mistakes at once: means per device, and their gradients averaged over devices."""
  def loss(params):
    return classify(params, state.state, state.frozen, batch, None)[0]

  def mean(params):
    return sum(t.scale * t.total / jnp.maximum(t.weight, 1) for t in loss(params).values())

  grads = jax.grad(mean)(state.params)
  grads = jax.tree.map(lambda g: g if axis is None else jax.lax.pmean(g, axis), grads)
  params = jax.tree.map(lambda p, g: p - 0.5 * g, state.params, grads)
  return state._replace(params=params), {}


def summed(objective, tx, state, batch, axis=None):
  """The step whose gradient was summed over devices once too often."""
  new, metrics = descent_step(objective, tx, state, batch, axis)
  twice = lambda old, x: old + spread.allsum(x - old, axis)
  return new._replace(params=jax.tree.map(twice, state.params, new.params)), metrics


@pytest.mark.parametrize("mode", ["pmap", "shard_map"])
@pytest.mark.parametrize("step", [trapped, functools.partial(summed, classify, optax.sgd(0.5))])
def test_the_comparison_catches_means_of_means_and_doubled_sums(step, mode):
  procedure = descend(classify, optax.sgd(0.5), start=start, finish=None, batch=None, steps=STEPS)
  ends = []
  for how, n in (("one", 1), (mode, 2)):
    run, state = spread.spread(step, mode=how, devices=jax.devices()[:n]), procedure.init(jax.random.key(0), None)
    for t in range(STEPS):
      state, _ = run(state, pictures(t))
    ends.append(np.asarray(state.params["head"]))
  assert np.abs(ends[0] - ends[1]).max() > 0.01


@pytest.mark.parametrize("mode", ["pmap", "shard_map"])
def test_model_state_is_the_mean_over_devices_by_what_each_saw(mode):
  many, _ = trajectory(classify, pictures, mode, 2, 16)
  procedure = descend(classify, optax.sgd(0.5), start=start, finish=None, batch=None, steps=STEPS)
  state, step, look = procedure.init(jax.random.key(0), None), jax.jit(procedure.step), jax.jit(classify)
  for t in range(STEPS):
    batch, parts, weights = pictures(t), [], []
    for rows in (slice(0, 8), slice(8, 16)):
      part = {name: x[rows] for name, x in batch.items()}
      terms, new = look(state.params, state.state, state.frozen, part, None)
      parts.append(np.asarray(new["mean"]))
      weights.append(float(terms["fit"].weight + terms["stay"].weight))
    wanted = np.average(parts, axis=0, weights=weights).astype(np.float32)
    state = step(state, batch)[0]._replace(state={"mean": jnp.asarray(wanted)})
  np.testing.assert_allclose(many.state["mean"], wanted, atol=1e-6)


class Noise(NamedTuple):
  """A state of which `delta` is cut over the devices."""

  delta: jax.Array
  total: jax.Array
  step: jax.Array


def craft(state, batch, axis=None):
  """Each slice of the noise moves towards the mean of the batch; `total` sees all slices."""
  pull = jnp.mean(batch["x"], axis=0)
  delta = state.delta + 0.1 * (pull - state.delta) * (1 + state.delta**2)
  everything = spread.gather(delta, axis)
  metrics = {"size": Tally(spread.allsum(jnp.sum(delta**2), axis), jnp.float32(1)), "worst": jnp.max(everything)}
  return Noise(delta, state.total + jnp.sum(everything, axis=0), state.step + 1), metrics


@pytest.mark.parametrize("slices, n", [(8, 4), (6, 4), (5, 4), (8, 1)])
@pytest.mark.parametrize("mode", MODES)
def test_states_cut_over_devices_come_back_whole_and_equal(mode, slices, n):
  first = Noise(jnp.linspace(-1, 1, slices * 3).reshape(slices, 3), jnp.zeros(3), jnp.zeros((), jnp.int32))
  batch = {"x": np.linspace(0, 1, 21, dtype=np.float32).reshape(7, 3)}
  axes, ends = Noise(0, None, None), []
  for how, m in (("one", 1), (mode, n)):
    run, state = spread.spread(craft, mode=how, devices=jax.devices()[:m], axes=axes), first
    for _ in range(STEPS):
      state, metrics = run(state, batch)
    ends.append(jax.device_get((state, metrics)))
  assert ends[1][0].delta.shape == (slices, 3)
  close(ends[0], ends[1], atol=1e-6, rtol=1e-5)

"""Methods on adapters alone: what stays, of what rank the change is, and that every loss keeps its meaning."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import utility
from ue_jax.core import build, tree
from ue_jax.core.errors import Invalid
from ue_jax.forget import graddiff, npo, rmu, shared
from ue_jax.train import loop

PLAIN = dict(optimizer="sgd", retain="none", steps=1)
GRADIENT = [
  f"forget.{name}" for name in (
    "graddiff", "gradient_ascent", "idk_dpo", "kl_min", "neggrad_plus", "npo", "rmu", "satimp", "simnpo", "sure",
    "task_vector", "undial", "whp",
  )
]  # fmt: skip


@pytest.fixture(scope="module")
def changed(tokens):
  """NPO on adapters of rank 3 of the attention and the way down."""
  method = npo.method(
    rate=6e-3, steps=40, forget_batch=16, retain_batch=20, lora=dict(rank=3, alpha=6.0, where="/(q|v|up|down)/kernel")
  )
  return loop.fit(method, tokens, mode="one", steps_per_call=20)


def test_it_forgets_the_persons_asked_for_and_keeps_the_others(tokens, changed):
  before = utility.scores(tokens, ("forget", "retain"))
  after = utility.scores(tokens._replace(subject=changed), ("forget", "retain"))  # ordinary parameters, merged
  assert before["forget/ex"].value > 0.95  # doing nothing would stay there
  assert after["forget/ex"].value <= 0.2 and after["retain/ex"].value >= 0.75


def test_only_adapted_leaves_change_and_by_no_more_than_the_rank(tokens, changed):
  assert tree.shapes(changed.params) == tree.shapes(tokens.subject.params) and changed.model is tokens.subject.model
  adapted = 0
  for (name, old), (_, new) in zip(tree.named_leaves(tokens.subject.params), tree.named_leaves(changed.params)):
    if name.split("/")[-2] not in ("q", "v", "up", "down"):
      assert np.asarray(old).tobytes() == np.asarray(new).tobytes(), name
      continue
    values = np.linalg.svd(np.asarray(new, np.float64) - np.asarray(old, np.float64), compute_uv=False)
    assert values[3] < 1e-4 * values[0] and values[0] > 1e-2, name
    adapted += 1
  assert adapted == 4


def test_the_first_step_is_the_gradient_seen_through_a(bigram):
  """B is zero, so A has no gradient, and W moves by -rate (alpha / rank)^2 A A^T G."""
  rate, scale = 0.5, 8.0 / 2
  method = graddiff.method(rate=rate, lora=dict(rank=2, alpha=8.0, where=""), **PLAIN)
  state, whole = method.init(jax.random.key(0), bigram), graddiff.method(rate=1.0, **PLAIN)
  (adapter,) = state.params.values()
  first = whole.init(jax.random.key(0), bigram)
  slope = np.float64(first.params - jax.jit(whole.step)(first, whole.batch(0, bigram, 0))[0].params)
  after, _ = jax.jit(method.step)(state, method.batch(0, bigram, 0))
  merged = method.finish(after, bigram).params
  a = np.asarray(adapter["a"], np.float64)
  np.testing.assert_allclose(merged - bigram.subject.params, -rate * scale**2 * a @ a.T @ slope, rtol=1e-4, atol=1e-6)
  np.testing.assert_array_equal(next(iter(after.params.values()))["a"], adapter["a"])


@pytest.mark.parametrize("name, loss", [("npo", 20 * np.log(2)), ("undial", None), ("kl_min", None)])
def test_before_unlearning_is_the_model_without_adapters(bigram, name, loss):
  make = lambda **more: build.build("method", f"forget.{name}", optimizer="sgd", rate=0.3, **more)
  plain, low = make(), make(lora=dict(rank=2, where=""))
  seen = {}
  for which, method in (("plain", plain), ("low", low)):
    state, step = method.init(jax.random.key(0), bigram), jax.jit(method.step)
    seen[which] = step(state, method.batch(0, bigram, 0))[1]
  np.testing.assert_allclose(seen["low"]["forget"].total, seen["plain"]["forget"].total, rtol=1e-5)
  if loss is not None:
    np.testing.assert_allclose(seen["low"]["forget"].total / seen["low"]["forget"].weight, loss, rtol=1e-5)


def test_no_weight_or_no_steps_change_no_bit(bigram):
  for more in (dict(lora=dict(rank=2, where="", alpha=0.0), steps=2), dict(lora=dict(rank=2, where=""), steps=0)):
    done = loop.fit(npo.method(**more), bigram, mode="one")
    assert tree.fingerprint(done.params) == tree.fingerprint(bigram.subject.params)


def test_two_beginnings_share_one_program(bigram):
  method, seen = npo.method(lora=dict(rank=2, where=""), optimizer="sgd"), []
  step = jax.jit(lambda state, batch: seen.append(1) or method.step(state, batch))
  ends = [step(method.init(jax.random.key(k), bigram), method.batch(0, bigram, 0))[0] for k in (0, 0, 1)]
  assert len(seen) == 1
  assert tree.fingerprint(ends[0].params) == tree.fingerprint(ends[1].params) != tree.fingerprint(ends[2].params)


def test_it_runs_under_vmap_over_its_weight(bigram):
  def run(alpha):
    method = graddiff.method(rate=0.5, lora=dict(rank=2, alpha=alpha, where=""), **PLAIN)
    state = method.init(jax.random.key(0), bigram)
    return method.finish(method.step(state, method.batch(0, bigram, 0))[0], bigram).params - bigram.subject.params

  small, large = jax.jit(jax.vmap(run))(jnp.array([1.0, 2.0]))
  np.testing.assert_allclose(large, 4 * small, rtol=1e-3, atol=1e-6)


def test_rmu_on_adapters_stops_where_it_is_told_to(tokens):
  more = dict(lora=dict(rank=2), until=dict(score="p", target=2.0, every=1))  # met before the first step
  method = rmu.method(steps=2, forget_batch=8, retain_batch=8, **more)
  state = method.init(jax.random.key(0), tokens)
  assert bool(state.done) and 0.9 < float(state.value) <= 1
  after, metrics = jax.jit(method.step)(state, method.batch(0, tokens, 0))
  assert {"forget", "retain", "forget/p"} <= set(metrics)
  changed = method.finish(after, tokens)
  assert tree.fingerprint(changed.params["embed"]) == tree.fingerprint(tokens.subject.params["embed"])
  assert tree.fingerprint(changed.params["block_0"]) != tree.fingerprint(tokens.subject.params["block_0"])


@pytest.mark.parametrize("name", GRADIENT)
def test_every_gradient_method_takes_all_of_them_from_a_config(name):
  known = inspect.signature(build.find("method", name)).parameters
  assert "lora" in known
  more = {"until": {"score": "ex", "target": 0.1}, "watch": {"every": 2}} if "until" in known else {}
  assert "until" in known or name == "forget.task_vector"  # what is negated at the end has no score on the way
  made = build.build("method", name, lora={"rank": 2}, **more)
  assert made.steps > 0 and made.every == (2 if more else 0)


@pytest.mark.parametrize("settings, named", [
  (dict(lora=dict(rank=0)), "method.lora.rank = 0"), (dict(lora=dict(ranks=3)), "method.lora.ranks"),
  (dict(until=dict(goal=0.1)), "method.until.goal"), (dict(watch=dict(step=2)), "method.watch.step"),
  (dict(until=dict(score="x")), "method.until.score"),
])  # fmt: skip
def test_wrong_settings_are_named(settings, named):
  with pytest.raises(Invalid, match=named):
    npo.method(**settings)


def test_nothing_is_put_around_a_procedure_without_settings():
  procedure = npo.method()
  assert shared.wrapped(procedure) is procedure

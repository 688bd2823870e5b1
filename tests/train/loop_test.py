"""The loop: the same numbers however it is cut, stopped, resumed or spread."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.procedure import Procedure, once
from ue_jax.core.terms import mean_term
from ue_jax.core.tree import fingerprint
from ue_jax.train import batches, loop, losses, optim
from ue_jax.train.checkpoint import Keeper, verify
from ue_jax.train.descend import descend
from ue_jax.train.loop import Diverged, Interrupted, fit

RNG = np.random.default_rng(0)
DATA = Data(
  {"x": RNG.normal(size=(30, 4)).astype(np.float32), "label": RNG.integers(0, 3, 30).astype(np.int32),
   "index": np.arange(30, dtype=np.int32)},
  {"train": np.arange(30, dtype=np.int32)},
)  # fmt: skip
STEPS, EVERY = 23, 10


def objective(params, state, frozen, batch, key):
  noisy = batch["x"] + 0.1 * jax.random.normal(key, batch["x"].shape)
  logits = jnp.tanh(noisy @ params["a"]) @ params["b"]
  return {"ce": mean_term(losses.cross_entropy(logits, batch["label"]), batch["mask"])}, state


def procedure(steps=STEPS, every=EVERY, rate=0.1, convolutional=False, probe=True):
  def start(key, problem):
    a, b = jax.random.split(key)
    return {"a": jax.random.normal(a, (4, 6)), "b": jax.random.normal(b, (6, 3))}, {}, {}

  look = lambda state, problem: {"size": jnp.sum(state.params["a"] ** 2)}
  return descend(
    objective, optim.make("adam", rate, max(steps, 1), schedule="cosine"), start=start, steps=steps,
    finish=lambda params, state, problem: Subject(None, params, state), every=every, convolutional=convolutional,
    batch=batches.epochs("train", 8, ("x", "label")), probe=look if probe else None,
  )  # fmt: skip


@pytest.fixture(scope="module")
def whole():
  return fit(procedure(), DATA, mode="one")


def bits(subject):
  return fingerprint(subject.params), fingerprint(dict(subject.history))


def test_a_procedure_that_runs_again_traces_nothing_and_another_one_is_not_taken_for_it(whole):
  once_more, traced = procedure(), []
  counted = lambda state, batch, axis=None: traced.append(1) or once_more.step(state, batch, axis)
  again = once_more._replace(step=counted)
  first = fit(again, DATA, mode="one")
  before = len(traced)
  assert before and bits(fit(again, DATA, mode="one")) == bits(first) == bits(whole) and len(traced) == before
  assert bits(fit(procedure(rate=0.2), DATA, mode="one")) != bits(whole)


@pytest.mark.parametrize("per_call", [1, 3, 25])
def test_scanned_and_single_steps_give_the_same(whole, per_call):
  out = fit(procedure(), DATA, mode="one", steps_per_call=per_call)
  np.testing.assert_allclose(out.history["loss"], whole.history["loss"], rtol=2e-4, atol=1e-6)
  np.testing.assert_array_equal(out.history["step"], whole.history["step"])


def test_the_loop_takes_the_steps_of_a_plain_python_loop(whole):
  p = procedure()
  state, step = p.init(jax.random.key(0), DATA), jax.jit(p.step)
  for t in range(STEPS):
    state, metrics = step(state, p.batch(0, DATA, t))
    np.testing.assert_allclose(metrics["loss"], whole.history["loss"][t], rtol=2e-4)
  np.testing.assert_allclose(state.params["a"], whole.params["a"], atol=1e-4)


def test_curves_have_one_point_a_step_and_probes_where_they_were_looked_at(whole):
  history = whole.history
  assert history["step"].tolist() == list(range(1, STEPS + 1)) and history["step"].dtype == np.int32
  assert {len(v) for v in history.values()} == {STEPS} and history["loss"].dtype == np.float32
  assert history["step"][~np.isnan(history["size"])].tolist() == [10, 20, 23]
  np.testing.assert_allclose(history["size"][-1], np.sum(np.asarray(whole.params["a"]) ** 2), rtol=1e-5)
  np.testing.assert_array_equal(history["ce"], history["loss"])


def stop_after(calls):
  count = []
  return lambda: count.append(1) or len(count) == calls


@pytest.mark.parametrize("convolutional", [False, True])
@pytest.mark.parametrize("calls, save_every", [(1, 0), (2, 0), (2, 4), (1, 1)])
def test_an_interrupted_and_resumed_run_has_the_same_bits(tmp_path, calls, save_every, convolutional):
  p = procedure(convolutional=convolutional)
  keeper = Keeper(tmp_path)
  with pytest.raises(Interrupted) as caught:
    fit(p, DATA, mode="one", keeper=keeper, save_every=save_every, stop=stop_after(calls))
  assert 0 < caught.value.step < STEPS and keeper.steps()[-1] == caught.value.step
  resumed = fit(p, DATA, mode="one", keeper=keeper, save_every=save_every)
  assert bits(resumed) == bits(fit(p, DATA, mode="one"))


def test_a_run_that_died_goes_on_from_its_last_save(tmp_path, whole):
  class Died(Exception):
    pass

  def die(step, total, metrics):
    if step >= 20:
      raise Died

  keeper = Keeper(tmp_path)
  with pytest.raises(Died):
    fit(procedure(), DATA, mode="one", keeper=keeper, save_every=5, progress=die)
  assert keeper.steps() == [10]
  seen = []
  resumed = fit(procedure(), DATA, mode="one", keeper=keeper, save_every=5, log=lambda step, m: seen.append(step))
  assert seen == [20, 23] and bits(resumed) == bits(whole)
  assert bits(fit(procedure(), DATA, mode="one", keeper=keeper)) == bits(whole)  # and from its end


def test_another_seed_or_procedure_does_not_take_up_a_checkpoint(tmp_path):
  fit(procedure(steps=2), DATA, mode="one", keeper=Keeper(tmp_path), save_every=1)
  with pytest.raises(Invalid, match="seed = 1"):
    fit(procedure(steps=2), DATA, mode="one", seed=1, keeper=Keeper(tmp_path))
  with pytest.raises(Invalid, match="missing|not expected"):
    fit(descending(), 8.0, mode="one", keeper=Keeper(tmp_path))


@pytest.mark.parametrize("mode", ["jit", "shard_map", "pmap"])
def test_the_loop_runs_spread_over_devices(mode):
  # what is random per sample differs between devices, so the descent is looked at and not its bits
  out = fit(procedure(steps=12), DATA, mode=mode, devices=jax.devices()[:2])
  assert len(out.history["loss"]) == 12 and out.history["loss"][-4:].mean() < out.history["loss"][:4].mean()
  assert all(len(x.sharding.device_set) == 1 for x in jax.tree.leaves(out.params))


def test_log_and_progress_are_called_at_the_ends_of_chunks():
  logged, shown = [], []
  fit(procedure(), DATA, mode="one", steps_per_call=5, log=lambda s, m: logged.append((s, sorted(m))),
      progress=lambda s, total, m: shown.append((s, total)))  # fmt: skip
  assert [s for s, _ in logged] == [5, 10, 15, 20, 23] and shown[-1] == (23, 23)
  assert logged[0][1] == ["ce", "loss"] and logged[1][1] == ["ce", "loss", "size"]


@pytest.mark.parametrize("large, taken", [(10**6, 8), (1, 5)])
def test_a_large_state_takes_one_step_a_call_on_cpu_so_that_it_can_be_stopped(large, taken, monkeypatch, tmp_path):
  monkeypatch.setattr(loop, "LARGE", large)
  monkeypatch.setattr(loop, "CHUNK", 4)
  asked = iter([False] * (4 if large == 1 else 1) + [True] * 9)  # when it is asked for the fifth, or the second time
  with pytest.raises(Interrupted):
    fit(procedure(every=0, probe=False), DATA, mode="one", stop=lambda: next(asked), keeper=Keeper(tmp_path))
  assert list(Keeper(tmp_path).steps()) == [taken]


def test_another_seed_gives_another_run(whole):
  other = fit(procedure(), DATA, mode="one", seed=1)
  assert np.abs(other.history["loss"] - whole.history["loss"]).max() > 1e-3


def exploding():
  def init(key, problem):
    return Count(jnp.float32(1), jnp.zeros((), jnp.int32), jnp.zeros((), bool))

  def step(state, batch):
    bad = jnp.where(state.step == 6, jnp.nan, 1.0).astype(jnp.float32)
    return state._replace(step=state.step + 1), {"fine": jnp.float32(1), "kl": bad, "loss": bad + 1}

  return Procedure(init, step, lambda state, problem: None, steps=20)


@pytest.mark.parametrize("per_call", [1, 4])
def test_a_loss_that_is_nan_stops_the_run_and_names_step_and_term(per_call):
  with pytest.raises(Diverged, match="step 7.*'kl'") as caught:
    fit(exploding(), None, mode="one", steps_per_call=per_call)
  assert caught.value.step == 7 and isinstance(caught.value, Invalid)


class Count(NamedTuple):
  x: jax.Array
  step: jax.Array
  done: jax.Array


def descending(steps=50):
  def init(key, problem):
    return Count(jnp.float32(problem), jnp.zeros((), jnp.int32), jnp.zeros((), bool))

  def step(state, batch):
    x = state.x - 1
    return Count(x, state.step + 1, x <= 0), {"x": x}

  finish = lambda state, problem: Subject(None, (float(state.x), int(state.step)))
  return Procedure(init, step, finish, steps=steps)


@pytest.mark.parametrize("per_call", [0, 1, 3])
def test_a_state_that_is_done_stops_at_that_very_step(per_call):
  out = fit(descending(), 8.0, mode="one", steps_per_call=per_call)
  assert out.params == (0.0, 8) and out.history["x"].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]


def test_a_procedure_without_steps_only_finishes():
  assert fit(once(lambda key, problem: problem + 1), 4) == 5


@pytest.mark.parametrize("per_call", [1, 5])
def test_steps_overwrite_the_memory_of_the_state_but_not_what_the_problem_holds(whole, per_call):
  given, seen = {"a": jnp.ones((4, 6)), "b": jnp.ones((6, 3))}, []
  plain = procedure(steps=10, every=5)
  begin = lambda key, problem: plain.init(key, problem)._replace(params=given, frozen={"before": given})
  look = lambda state, problem: seen.append(state) or {}
  first = fit(plain._replace(init=begin, probe=look), DATA, mode="one", steps_per_call=per_call)
  assert seen[0].params["a"].is_deleted() and not seen[1].params["a"].is_deleted()
  np.testing.assert_array_equal(given["a"], np.ones((4, 6)))
  assert (np.asarray(first.params["a"]) != 1).all()


def test_each_chunk_compiles_once():
  traces, p = [], procedure(steps=40, every=20)

  def counted(state, batch, axis=None):
    traces.append(1)
    return p.step(state, batch, axis)

  fit(p._replace(step=counted), DATA, mode="one")
  assert len(traces) == 1


def test_a_full_batch_is_not_copied_for_every_step():
  shapes, full = [], {"x": np.ones((5, 2), np.float32)}

  def step(state, batch):
    shapes.append(batch["x"].shape)
    return state._replace(x=state.x + jnp.sum(batch["x"]), step=state.step + 1), {}

  p = descending(steps=6)._replace(step=step, batch=lambda seed, problem, t: full)
  out = fit(p, 0.0, mode="one", steps_per_call=6)
  assert out.params == (60.0, 6) and set(shapes) == {(5, 2)}


@pytest.mark.parametrize("mode", ["one", "jit", "pmap", "shard_map"])
def test_what_does_not_iterate_runs_in_every_mode(mode):
  assert fit(once(lambda key, problem: problem.n), DATA, mode=mode) == 30


@pytest.mark.parametrize("mode, per_call", [("one", 1), ("one", 5), ("fsdp", 1), ("shard_map", 5)])
def test_what_no_step_changes_is_neither_copied_nor_saved(tmp_path, mode, per_call):
  base, seen = jnp.arange(4096, dtype=jnp.float32).reshape(64, 64) / 4096, []

  def pulled(params, state, frozen, batch, key):
    far = jnp.sum(jnp.square(params["a"] - frozen["before"][:4, :6]))
    terms, state = objective(params, state, frozen, batch, key)
    return terms | {"pull": mean_term(far, jnp.sum(batch["mask"]))}, state

  plain = procedure(steps=10, every=5)
  p = descend(
    pulled, optim.make("sgd", 0.1, 10), start=lambda key, problem: (*plain.init(key, problem)[:2], {"before": base}),
    finish=lambda params, state, problem: Subject(None, params, state), batch=plain.batch, steps=10, every=5,
    probe=lambda state, problem: seen.append(state.frozen["before"]) or {},
  )  # fmt: skip
  run = lambda **more: fit(p, DATA, mode=mode, steps_per_call=per_call, **more)
  whole, keeper = run(), Keeper(tmp_path)
  assert all(x.unsafe_buffer_pointer() == base.unsafe_buffer_pointer() for x in seen) and len(seen) == 2
  with pytest.raises(Interrupted):
    run(keeper=keeper, save_every=5, stop=stop_after(1))
  first, base = base, base.at[-1, -1].add(0.1)
  with pytest.raises(Invalid, match=r"frozen = 'frozen/before float32\[64, 64\]': .*other weights"):
    run(keeper=keeper)
  base = first
  names = {row["name"] for row in verify(keeper.path(keeper.steps()[-1]))["leaves"]}
  assert "params/a" in names and not any("frozen" in name for name in names)
  assert bits(run(keeper=keeper, save_every=5)) == bits(whole)

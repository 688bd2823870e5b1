"""Stopping at the first look at which a score is low enough: where, with which bits, alone and in a sweep."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.models.model import Model, Out
from ue_jax.parallel import sweep
from ue_jax.train import checkpoint, descend, likelihood, loop, optim
from ue_jax.train import until as stopping

ROWS, WORDS = 11, 6


def request():
  """Sequences `a b c` of two targets, some of one, on a table of logits that knows most of them."""
  rng = np.random.default_rng(0)
  table = rng.normal(size=(WORDS, WORDS)).astype(np.float32)
  ids = rng.integers(0, WORDS, (ROWS, 3)).astype(np.int32)
  ids[:, 1] = table.argmax(-1)[ids[:, 0]]
  ids[:, 2] = table.argmax(-1)[ids[:, 1]]
  mask = np.tile(np.float32([0, 1, 1]), (ROWS, 1))
  mask[::3, 2] = 0
  apply = lambda params, ids, *, state={}, **_: Out(params[ids], params[ids], state)
  data = Data({"ids": ids, "mask": mask, "index": np.arange(ROWS, dtype=np.int32)}, {"forget": np.arange(ROWS)})
  return Request(Subject(Model(lambda key, ids: (table, {}), apply), jnp.asarray(table)), data)


ASKED = request()


def ascent(steps=30, rate=0.05):
  """Adam on minus the nll, on four rows a step."""

  def objective(params, state, frozen, batch, key):
    return {"up": likelihood.nll_term(likelihood.logits(frozen["apply"], params, state, batch), batch, -1.0)}, state

  start = lambda key, asked: (
    asked.subject.params, {}, {"apply": likelihood.callable_tree(asked.subject.model.apply)}
  )  # fmt: skip
  return descend.descend(
    objective, optim.make("adam", rate), start=start, steps=steps,
    finish=lambda params, state, asked: Subject(asked.subject.model, params, state),
    batch=lambda seed, asked, t: likelihood.batch_of(asked.data, np.arange(4 * t, 4 * t + 4) % ROWS),
  )


def oracle(params):
  """ex and p in float64, a loop over sequences."""
  table = np.asarray(params, np.float64)
  log_p = table - np.log(np.exp(table).sum(-1, keepdims=True))
  exact, probable = [], []
  for ids, mask in zip(ASKED.data.arrays["ids"], ASKED.data.arrays["mask"]):
    at = np.flatnonzero(mask)
    exact.append(all(table[ids[t - 1]].argmax() == ids[t] for t in at))
    probable.append(np.exp(np.mean([log_p[ids[t - 1], ids[t]] for t in at])))
  return {"ex": np.mean(exact), "p": np.mean(probable)}


@functools.cache
def path():
  """The parameters after 0, 1, ... steps of the uninterrupted run."""
  procedure = ascent()
  state, step = procedure.init(jax.random.split(jax.random.key(0))[0], ASKED), jax.jit(procedure.step)
  seen = [np.asarray(state.params)]
  for t in range(procedure.steps):
    state, _ = step(state, procedure.batch(0, ASKED, t))
    seen.append(np.asarray(state.params))
  return seen


def first(score, target, every):
  """The first look at which the score is at most the target, by the oracle."""
  return next(t for t in range(0, 31, every) if oracle(path()[t])[score] <= target)


@pytest.mark.parametrize("tokens", [4096, 12])  # 12: four rows a look, the last look filled up
def test_the_scores_are_means_over_samples(monkeypatch, tokens):
  monkeypatch.setattr(stopping, "TOKENS", tokens)
  for score in ("ex", "p"):
    state = stopping.until(ascent(), score, -1.0).init(jax.random.key(0), ASKED)
    assert len(state.seen["mask"]) == (1 if tokens > 100 else 3)
    assert float(state.value) == pytest.approx(oracle(ASKED.subject.params)[score], rel=1e-6)


@pytest.mark.parametrize("score, target, every, per_call", [
  ("ex", 0.5, 1, 1), ("ex", 0.3, 4, 5), ("p", 0.12, 3, 1), ("p", 0.2, 5, 7),
])  # fmt: skip
def test_it_stops_at_the_first_look_that_meets_the_target_with_the_bits_of_the_run_that_goes_on(
  score, target, every, per_call
):
  want = first(score, target, every)
  assert every < want < 30, "the case shows nothing"
  run = functools.partial(loop.fit, problem=ASKED, mode="one", steps_per_call=per_call)
  stopped = run(stopping.until(ascent(), score, target, every))
  assert stopped.history["step"].tolist() == list(range(1, want + 1))
  assert tree.fingerprint(stopped.params) == tree.fingerprint(run(ascent(steps=want)).params)
  looks = stopped.history[f"forget/{score}"]
  for t in range(1, want + 1):
    assert looks[t - 1] == pytest.approx(oracle(path()[t - t % every])[score], rel=1e-4)
  assert (looks[:-1] > target).all() and looks[-1] <= target


def test_a_target_out_of_reach_takes_every_step_and_one_that_is_met_takes_none():
  whole = loop.fit(ascent(steps=6), ASKED, mode="one")
  never = loop.fit(stopping.until(ascent(steps=6), "p", -1.0, every=2), ASKED, mode="one")
  assert tree.fingerprint(never.params) == tree.fingerprint(whole.params) and len(never.history["step"]) == 6
  at_once = loop.fit(stopping.until(ascent(steps=6), "ex", 1.0), ASKED, mode="one")
  assert tree.fingerprint(at_once.params) == tree.fingerprint(ASKED.subject.params)


def test_settings_of_a_sweep_stop_each_for_itself():
  targets = [0.5, 0.2, 0.12]
  factory = lambda target: stopping.until(ascent(), "p", target, every=3)
  for target, subject in zip(targets, sweep.sweep(factory, sweep.grid(target=targets), ASKED, mode="vmap")):
    np.testing.assert_allclose(subject.params, path()[first("p", target, 3)], rtol=1e-4, atol=1e-5)


def test_a_score_of_ones_own_and_every_way_of_spreading_stop_alike():
  surprise = lambda logits, batch: likelihood.log_prob(logits, batch)[0]  # falls while the nll rises
  nll = lambda params: float(surprise(params[ASKED.data.arrays["ids"]], ASKED.data.arrays).mean())
  want = next(t for t in range(0, 31, 2) if nll(jnp.asarray(path()[t])) <= -4)
  for mode in ("one", "jit", "pmap", "shard_map"):
    stopped = loop.fit(stopping.until(ascent(), surprise, -4.0, every=2), ASKED, mode=mode, steps_per_call=1)
    assert len(stopped.history["step"]) == want > 2, mode
    assert stopped.history["forget/score"][-1] <= -4


def test_a_killed_run_goes_on_to_the_same_end(tmp_path):
  procedure = stopping.until(ascent(), "p", 0.12, 3)
  whole = loop.fit(procedure, ASKED, mode="one", steps_per_call=2)
  keeper, polls = checkpoint.Keeper(tmp_path), iter("xx")  # says no twice, then yes
  with pytest.raises(loop.Interrupted):
    loop.fit(procedure, ASKED, mode="one", steps_per_call=2, keeper=keeper, stop=lambda: next(polls, None) is None)
  resumed = loop.fit(procedure, ASKED, mode="one", steps_per_call=2, keeper=keeper)
  assert tree.fingerprint(resumed.params) == tree.fingerprint(whole.params)


def test_pictures_are_scored_by_their_label():
  apply = lambda params, image, *, state={}, **_: Out(params[jnp.arange(image.shape[0])], None, state)
  label = np.int32([0, 1, 1, 0])
  arrays = {"image": np.zeros((4, 1, 1, 1), np.uint8), "parity": label, "index": np.arange(4, dtype=np.int32)}
  asked = Request(Subject(Model(None, apply), jnp.float32([[1, 0]] * 4)), Data(arrays, {"bad": np.arange(4)}))
  state = stopping.until(ascent(), "ex", 0.1, on="bad", label="parity").init(jax.random.key(0), asked)
  assert float(state.value) == 0.5


@pytest.mark.parametrize("wrong, named", [
  (dict(score="rouge"), "until.score"), (dict(every=0), "until.every"), (dict(every=2.0), "until.every"),
])  # fmt: skip
def test_wrong_settings_are_named(wrong, named):
  with pytest.raises(Invalid, match=named):
    stopping.until(ascent(), **wrong)


def test_a_set_that_is_not_there_is_named():
  with pytest.raises(Invalid, match="until.on = 'gone'"):
    stopping.until(ascent(), on="gone").init(jax.random.key(0), ASKED)

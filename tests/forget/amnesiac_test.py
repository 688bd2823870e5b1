import jax
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.nouns import Data
from ue_jax.forget import amnesiac
from ue_jax.train import loop, supervised

STEPS = 6  # of 15 samples: an epoch of the 90, so every sample is in one batch


def train(request, rate=1e-3):
  return supervised.train(request.subject.model, steps=STEPS, batch_size=15, rate=rate, optimizer="sgd", momentum=0.0)


@pytest.fixture(scope="module")
def one(pictures):
  """The request to forget one sample that the third batch sees."""
  data = pictures.data
  index = train(pictures).batch(0, data, 2)["index"][4]
  at = np.flatnonzero(data.arrays["index"] == index).astype(np.int32)
  sets = {**data.sets, "forget": at, "retain": np.setdiff1d(data.sets["train"], at)}
  return pictures._replace(data=Data(data.arrays, sets, data.info))


def skipped(request, rate, which):
  """The parameters after training that leaves one batch out."""
  procedure = train(request, rate)
  state, step = procedure.init(jax.random.key(0), request.data), jax.jit(procedure.step)
  for t in range(STEPS):
    new, _ = step(state, procedure.batch(0, request.data, t))
    state = state._replace(step=state.step + 1) if t == which else new
  return state.params


def far(a, b):
  return float(tree.norm(jax.tree.map(lambda x, y: x - y, a, b)))


def test_it_is_training_without_the_batch_up_to_the_square_of_the_rate(one):
  gaps, steps = [], []
  for rate in (1e-1, 1e-2):
    got = loop.fit(amnesiac.method(train(one, rate), repair_steps=0), one, mode="one")
    whole = loop.fit(train(one, rate), one.data, mode="one")
    gaps.append(far(got.params, skipped(one, rate, 2)))
    steps.append(far(got.params, whole.params))
  assert 5 < steps[0] / steps[1] < 20  # what is taken back is of the order of the rate ...
  assert 40 < gaps[0] / gaps[1] < 250 and gaps[1] < 0.1 * steps[1]  # ... and what is missed of that of its square


def test_one_batch_is_touched_and_the_log_is_what_it_did(one):
  method = amnesiac.method(train(one, 0.1))
  assert [float(method.batch(0, one, t)["touched"]) for t in range(STEPS)] == [0, 0, 1, 0, 0, 0]
  state, step, before = method.init(jax.random.key(0), one), jax.jit(method.step), None
  for t in range(STEPS):
    new, _ = step(state, method.batch(0, one, t))
    if t == 2:
      before = jax.tree.map(lambda a, b: a - b, new.inner.params, state.inner.params)
    state = new
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.log, before)
  assert int(state.touched) == 1


def test_where_every_batch_is_touched_the_initialisation_is_left(pictures):
  method = amnesiac.method(train(pictures, 0.1), repair_steps=0)
  after = loop.fit(method, pictures, mode="one", steps_per_call=1)
  start = train(pictures).init(jax.random.key(0), pictures.data).params
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after.params, start)


def test_the_repair_learns_what_is_kept_and_nothing_else(pictures):
  left = [loop.fit(amnesiac.method(train(pictures), repair_steps=n, repair_rate=1e-2), pictures, mode="one")
          for n in (0, 60)]
  of = lambda subject, name: supervised.accuracies(
    subject.model, subject.params, subject.state, pictures.data, "label", (name,))[f"{name}_accuracy"]
  assert of(left[1], "retain") > 0.95 > of(left[0], "retain") and of(left[1], "forget") < 0.2


def test_the_repair_of_a_network_with_convolutions_is_the_same_step_by_step(one, monkeypatch):
  """On a CPU a scan would run them on one core."""
  repair = lambda: loop.fit(amnesiac.method(train(one, 0.1), repair_steps=8), one, mode="one")
  scanned = repair()
  monkeypatch.setattr(amnesiac, "run_scan", None)
  monkeypatch.setattr(amnesiac, "convolves", lambda procedure, problem: True)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), repair().params, scanned.params)

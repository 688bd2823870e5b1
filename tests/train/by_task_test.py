import numpy as np
import pytest

from ue_jax.core.nouns import Data
from ue_jax.models.model import Model, Out
from ue_jax.train import by_task, membership


def test_uniformity_is_one_for_guesses_and_falls_to_its_value_for_certainty():
  k = 10
  assert by_task.uniformity(np.zeros((3, k))).tolist() == pytest.approx([1, 1, 1])
  m = np.full(k, 1 / (2 * k))
  m[0] += 1 / 2
  js = (np.log2(1 / m[0]) + np.sum(np.log2((1 / k) / m) / k)) / 2
  sure = np.zeros(k)
  sure[0] = 500.0
  assert by_task.uniformity(sure) == pytest.approx(1 - js)
  assert by_task.uniformity(sure + 1e4) == pytest.approx(1 - js), "only differences of logits count"


def test_it_is_the_figure_of_the_streams():
  from ue_jax.audit import streams

  logits = np.random.default_rng(0).normal(0, 3, (50, 7))
  p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  assert by_task.uniformity(logits).mean() == pytest.approx(streams.uniformity(p))


def recalled(known, count=3, n=200):
  """A network that is sure of the pictures numbered below n of the tasks `known`, and says the same of all others."""
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (2 * n, 1, 1, 1)).astype(np.uint8)
  image = np.concatenate([np.tile(image, (count, 1, 2, 1)), np.zeros((2 * n * count, 1, 1, 1), np.uint8)], axis=2)
  image[:, 0, 2, 0] = np.tile(np.arange(2 * n) < n, count)  # trained on
  sets = {}
  for i in range(count):
    sets |= {f"task_{i}": 2 * n * i + np.arange(n), f"task_{i}_test": 2 * n * i + n + np.arange(n)}
  label = np.tile(rng.integers(0, 4, 2 * n), count).astype(np.int32)
  image[:, 0, 1, 0] = label
  arrays = {"image": image, "label": label, "index": np.arange(len(label), dtype=np.int32)}
  data = Data(arrays, sets, {"tasks": count, "labels": {"label": list("abcd")}})

  def apply(params, inputs, *, state={}, train=False, key=None, taps={}):
    x = inputs.astype(np.float32)
    sure = x[:, 0, 2, 0] * params["known"][state["task"]]
    each = np.arange(4, dtype=np.float32)
    logits = 8 * sure[:, None] * (x[:, 0, 1, :1] == each).astype(np.float32) + x[:, 0, 0, :1] / 255 * each
    return Out(logits, logits, state)

  params = {"known": np.isin(np.arange(count), known).astype(np.float32)}
  return Model(None, apply), params, {"task": np.int32(0)}, data


def test_the_attack_tells_members_of_what_is_known_and_calls_nobody_of_what_is_not():
  found = by_task.attacked(*recalled(known=(0, 1)), live=(1,), members=100)
  assert found["task_0_member"] > 0.9 and found["task_0_mia"] > 0.85, found
  assert found["task_1_member"] > 0.9 and found["task_1_mia"] > 0.85, "those that it did not learn from"
  assert found["task_2_member"] < 0.4 and abs(found["task_2_mia"] - 0.5) < 0.1, found


def test_the_attack_tells_nothing_where_nothing_is_to_be_told():
  found = by_task.attacked(*recalled(known=()), live=(0, 1), members=100)
  assert all(abs(found[f"task_{i}_mia"] - 0.5) < 0.1 for i in range(3)), found
  assert by_task.attacked(*recalled(known=()), live=()) == {}


def test_nothing_is_asked_about_that_teaches(monkeypatch):
  """Logits 0 and row / 20, so that what the attack gets tells the rows; 20 and 10 a task, of which 8 and 5 teach."""
  n, calls = 90, []
  sets = {}
  for i in range(3):
    sets |= {f"task_{i}": 30 * i + np.arange(20), f"task_{i}_test": 30 * i + 20 + np.arange(10)}
  rows = np.arange(n, dtype=np.int32)
  arrays = {"image": rows.astype(np.uint8).reshape(n, 1, 1, 1), "label": np.zeros(n, np.int32), "index": rows}
  data = Data(arrays, sets, {"tasks": 3, "labels": {"label": ["a", "b"]}})

  def apply(params, inputs, *, state={}, train=False, key=None, taps={}):
    logits = inputs.reshape(-1, 1).astype(np.float32) / 20 * np.arange(2, dtype=np.float32)
    return Out(logits, logits, state)

  def spy(*given):
    calls.append(given)
    return np.zeros(len(given[2]))

  monkeypatch.setattr(membership, "nonmembers", spy)
  by_task.attacked(Model(None, apply), {}, {"task": np.int32(0)}, data, (2, 0), members=8)
  told = [given for given in calls if len(np.unique(given[2])) > 2]  # not whether it is right
  assert len(calls) == 4 and len(told) == 3
  for taught, outside, asked in told:
    assert not np.isin(asked, np.concatenate([taught, outside])).any()
  p = next(given for given in told if given[0].ndim == 2)
  taught, outside, asked = (set(np.rint(20 * np.log(x[:, 1] / x[:, 0])).astype(int).tolist()) for x in p)
  for i in range(3):
    inside, out = (set(sets[name].tolist()) for name in (f"task_{i}", f"task_{i}_test"))
    live = i in (2, 0)
    assert [len(taught & inside), len(outside & out)] == [8 * live, 5 * live]
    assert [len(asked & inside), len(asked & out)] == [12, 5]

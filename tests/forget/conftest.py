"""One tiny trained language model and one tiny trained classifier for the whole room."""

import jax
import numpy as np
import pytest

from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.data import embedded, facts
from ue_jax.models import mlp, transformer
from ue_jax.models.model import Model, Out
from ue_jax.parallel import spread
from ue_jax.train import language, loop, supervised


def few_facts() -> Data:
  """Two short relations of 14 persons (4 to forget, 10 to keep) and 4 persons never trained."""
  full = facts.data("kgtiny")
  relation, person = full.arrays["relation"], full.arrays["person"]
  short = np.isin(relation, np.unique(relation[person >= 0])[:2])
  seen = {name: short & np.isin(np.arange(full.n), full.sets[name]) for name in ("forget", "retain", "holdout")}
  masks = {
    "forget": seen["forget"] & (person < 4),
    "retain": seen["retain"] & (person < 16),
    "holdout": seen["holdout"] & (person < 64),
  }
  sets = {name: np.flatnonzero(mask).astype(np.int32) for name, mask in masks.items()}
  sets["train"] = np.concatenate([sets["forget"], sets["retain"]])
  return Data(full.arrays, sets, full.info)


def blobs() -> Data:
  """Pictures 4x4 of three classes told apart by a bright quadrant; class 2 is to be forgotten."""
  rng = np.random.default_rng(0)
  label = np.arange(120, dtype=np.int32) % 3
  image = rng.integers(0, 90, (120, 4, 4, 1))
  for c in range(3):
    image[label == c, (c // 2) * 2:(c // 2) * 2 + 2, (c % 2) * 2:(c % 2) * 2 + 2] += 150
  rows = np.arange(120)
  train, test = rows[:90].astype(np.int32), rows[90:].astype(np.int32)
  sets = {"train": train, "test": test, "forget": train[label[:90] == 2], "retain": train[label[:90] != 2]}
  info = {"labels": {"label": ["a", "b", "c"]}}
  return Data({"image": image.astype(np.uint8), "label": label, "index": rows.astype(np.int32)}, sets, info)


@pytest.fixture
def bigram(key):
  """A Request of 5 ragged sequences, on a model whose only parameter `[4, 4]` holds the logits of the next token."""
  rng = np.random.default_rng(1)
  mask = np.tile(np.float32([0, 0, 1, 1]), (5, 1))
  mask[0, 3] = 0
  ids = rng.integers(0, 4, (5, 4)).astype(np.int32)
  sets = {"forget": np.array([3, 1], np.int32), "retain": np.array([0, 2, 4], np.int32)}
  apply = lambda params, ids, *, state={}, **_: Out(params[ids], params[ids], state)
  params = jax.random.normal(key, (4, 4))
  data = Data({"ids": ids, "mask": mask, "index": np.arange(5, dtype=np.int32)}, sets)
  return Request(Subject(Model(lambda key, ids: (params, {}), apply), params), data)


@pytest.fixture(scope="session")
def tokens():
  """A Request: a transformer that knows the few facts, to forget four persons."""
  data = few_facts()
  model = transformer.model(len(data.info["vocabulary"]), width=32, depth=1, heads=2, hidden=64)
  train = language.train(model, steps=150, batch_size=56, rate=1e-2)
  return Request(loop.fit(train, data, mode="one", steps_per_call=50), data)


@pytest.fixture(scope="session")
def digits():
  """A Request: digits with a tenth of wrong labels, learned by heart, to forget a random tenth."""
  pytest.importorskip("sklearn")
  data = embedded.data("digits", train=600, test=500, noise=0.1, forget_share=0.1)
  train = supervised.train(mlp.model(10, widths=(256,)), steps=800, batch_size=64, rate=4e-3)
  return Request(loop.fit(train, data, mode="one", steps_per_call=50), data)


@pytest.fixture(scope="session")
def pictures():
  """A Request: a classifier that knows three classes, to forget one."""
  data = blobs()
  model = mlp.model(3, widths=(16,))
  train = supervised.train(model, steps=60, batch_size=30, rate=1e-2)
  return Request(loop.fit(train, data, mode="one", steps_per_call=20), data)


@pytest.fixture
def assert_same_over_devices():
  """Asserts that a method's first steps are the same on one device and, its batches cut, on four."""

  def check(method, request, steps):
    ends = []
    for mode, devices in (("one", 1), ("pmap", 4)):
      run = spread.spread(method.step, mode=mode, devices=jax.devices()[:devices])
      state = method.init(jax.random.key(0), request)
      for t in range(steps):
        state, metrics = run(state, method.batch(0, request, t))
      ends.append(jax.device_get((state.params, metrics)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-6, rtol=1e-5), *ends)

  return check

import functools

import jax
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.forget import ssd
from ue_jax.models import mlp, resnet
from ue_jax.parallel import sweep
from ue_jax.train import loop, supervised

fit = functools.partial(loop.fit, mode="one")


def oracle(request, name, group=1):
  """I of softmax regression, in float64: the gradient of a sample is x (p - y)."""
  data, rows = request.data, np.concatenate([request.data.sets[one] for one in name])
  x = np.float64(data.arrays["image"][rows].reshape(len(rows), -1)) / 255
  head = jax.tree.map(np.float64, request.subject.params["head"])
  z = x @ head["kernel"] + head["bias"]
  slope = np.exp(z) / np.exp(z).sum(1, keepdims=True) - np.eye(3)[data.arrays["label"][rows]]
  each = x[:, :, None] * slope[:, None]
  means = [each[first : first + group].mean(0) for first in range(0, len(rows), group)]
  return np.mean(np.square(means), axis=0)


@pytest.fixture(scope="module")
def linear(pictures):
  """A softmax regression; all training rows in the order of the data."""
  model = mlp.model(3, widths=())
  params, state = model.init(jax.random.key(3), pictures.data.arrays["image"][:1])
  return pictures._replace(subject=Subject(model, params, state))


@pytest.mark.parametrize("group", [1, 7, 64])
def test_importances_are_means_of_squares_of_samples_or_of_batches(linear, group):
  """30 are to be forgotten, of 90: 7 leaves a last group that is smaller, 64 is more than there are."""
  state = ssd.method(group=group).init(jax.random.key(0), linear)
  np.testing.assert_allclose(state.forget["head"]["kernel"], oracle(linear, ("forget",), group), rtol=1e-4, atol=1e-9)
  whole = linear._replace(data=linear.data._replace(sets={"train": np.arange(90)}))
  np.testing.assert_allclose(state.whole["head"]["kernel"], oracle(whole, ("train",), group), rtol=1e-4, atol=1e-9)


def test_what_is_selected_shrinks_by_the_rule_and_all_else_keeps_its_bits(linear):
  mine, all = oracle(linear, ("forget",)), oracle(linear, ("forget", "retain"))
  before = np.asarray(linear.subject.params["head"]["kernel"])
  for alpha, weight in ((1.5, 1.0), (1.5, 0.3), (0.5, 1.0)):
    after = np.asarray(fit(ssd.method(alpha=alpha, weight=weight), linear).params["head"]["kernel"])
    chosen = mine > alpha * all
    assert 0 < chosen.mean() < 1
    want = before * np.where(chosen, np.minimum(weight * all / np.where(chosen, mine, 1), 1), 1)
    np.testing.assert_allclose(after, want, rtol=1e-4)
    np.testing.assert_array_equal(after[~chosen], before[~chosen])


def test_nothing_grows_and_nothing_becomes_nan():
  x, mine, all = np.float32([2, 2, -2, 2]), np.float32([1, 0, 4, 3]), np.float32([4, 0, 1, 0])
  np.testing.assert_allclose(ssd.dampened(x, mine, all, 0.2, 1.0), [2, 2, -0.5, 0])  # the first would have quadrupled


def test_the_class_is_forgotten_and_the_others_are_kept_where_pruning_them_all_loses_everything(pictures):
  share = lambda subject, name: supervised.accuracies(
    subject.model, subject.params, subject.state, pictures.data, "label", (name,)
  )[f"{name}_accuracy"]
  after, none = fit(ssd.method(weight=0.3), pictures), fit(ssd.method(alpha=1e-9, weight=0.0), pictures)
  assert share(pictures.subject, "forget") > 0.9 and share(pictures.subject, "retain") > 0.9
  assert share(after, "forget") < 0.1 and share(after, "retain") > 0.9
  assert share(none, "retain") < 0.7


def test_settings_run_as_one_program(pictures):
  grid = sweep.grid(alpha=[1.0, 2.0], weight=[0.5, 1.0])
  many = sweep.sweep(ssd.method, grid, pictures, mode="vmap")
  for i, found in enumerate(many):
    alone = fit(ssd.method(alpha=float(grid["alpha"][i]), weight=float(grid["weight"][i])), pictures)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found.params, alone.params)


def test_a_network_with_batch_statistics_is_dampened_and_they_stay():
  rng, rows = np.random.default_rng(0), np.arange(64, dtype=np.int32)
  arrays = {"image": rng.integers(0, 256, (64, 8, 8, 3), np.uint8), "label": rows % 3, "index": rows}
  data = Data(arrays, {"train": rows, "forget": rows[:32], "retain": rows[32:]}, {"labels": {"label": ["a", "b", "c"]}})
  model = resnet.model(3, depth=20, width=2)
  params, state = model.init(jax.random.key(0), arrays["image"][:1])
  assert jax.tree.leaves(state)
  after = fit(ssd.method(alpha=1.2), Request(Subject(model, params, state), data))
  assert tree.fingerprint(after.state) == tree.fingerprint(state)
  moved = [np.mean(np.asarray(a) != np.asarray(b)) for a, b in zip(*map(jax.tree.leaves, (after.params, params)))]
  assert 0 < np.mean(moved) < 1


def test_what_can_select_nothing_or_makes_no_sense_is_refused(pictures):
  with pytest.raises(Invalid, match="give less than 3,"):
    ssd.method(alpha=3.0).init(jax.random.key(0), pictures)
  ssd.method(alpha=3.0, group=8).init(jax.random.key(0), pictures)  # squares of batches have no such bound
  for settings, field in ((dict(alpha=0), "alpha"), (dict(weight=-1.0), "weight"), (dict(group=0), "group")):
    with pytest.raises(Invalid, match=f"method.{field}"):
      ssd.method(**settings)

"""Error-minimising noise: what a step does exactly, and that the harm is tied to the labelling it was made for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.tree import fingerprint
from ue_jax.data import synthetic
from ue_jax.models import mlp
from ue_jax.parallel import spread
from ue_jax.protect import error_min, noise
from ue_jax.train import loop, supervised

EPS = 24 / 255
MODEL = mlp.model(classes=4, widths=(64,))
PUBLISHED = dict(kind="sample", noise_steps=20, network_steps=10)


@pytest.fixture(scope="module")
def data():
  """Noisy pictures whose colour and texture are independent of each other."""
  return synthetic.data(n=768, test=256, size=16, noise=0.1)


def procedure(**kw):
  return error_min.protect(MODEL, **{"label": "colour", "eps": EPS, "steps": 200, "rate": 3e-3, **kw})


@pytest.fixture(scope="module")
def made(data):
  return {kind: loop.fit(procedure(kind=kind, noise_steps=5), data, mode="one") for kind in error_min.KINDS}


@pytest.fixture(scope="module")
def clean(data):
  return {label: accuracy(data, label, data) for label in ("colour", "texture")}


def accuracy(given, label, clean):
  trained = loop.fit(supervised.train(MODEL, label=label, steps=250, rate=3e-3), given, mode="one", seed=1)
  return float(supervised.accuracies(MODEL, trained.params, {}, clean, label, ("test",))["test_accuracy"])


@pytest.mark.parametrize("kind", error_min.KINDS)
def test_the_harm_is_tied_to_the_labelling_and_is_not_that_of_random_noise(kind, data, made, clean):
  drop = {label: clean[label] - accuracy(made[kind], label, data) for label in clean}
  assert drop["colour"] > 0.15 and drop["texture"] < drop["colour"] / 2, drop
  if kind == "sample":
    random = loop.fit(noise.protect("sample", eps=EPS), data)
    assert clean["colour"] - accuracy(random, "colour", data) < drop["colour"] / 2


def test_patterns_are_those_of_classes_or_of_pictures_and_lie_within_the_budget(data, made):
  train, test, label = data.sets["train"], data.sets["test"], data.arrays["colour"]
  for kind, found in made.items():
    before, after = data.arrays["image"].astype(int), found.arrays["image"].astype(int)
    assert np.abs(after[train] - before[train]).max() == 24
    copies = after[found.sets["test_protected"]] - before[test]
    assert (np.abs(copies).max() > 0) == (kind == "class")
    if kind == "class":
      for c in range(4):
        moved = np.concatenate([(after[train] - before[train])[label[train] == c], copies[label[test] == c]])
        cut = np.concatenate([after[train][label[train] == c], after[found.sets["test_protected"]][label[test] == c]])
        free = np.where((cut > 0) & (cut < 255), moved, np.nan)  # what was cut at black or white says nothing
        assert (np.nanmax(free, 0) == np.nanmin(free, 0)).all()


def test_the_published_schedule_ends_soon_and_pictures_without_noise_do_not_get_there(data):
  def course(eps):
    seen = []
    run = procedure(**PUBLISHED, eps=eps, steps=56)  # four rounds
    loop.fit(run, data, mode="one", steps_per_call=14, progress=lambda t, n, m: seen.append((t, float(m["accuracy"]))))
    return seen

  with_noise, without = course(EPS), course(0.0)
  assert with_noise[-1][0] < 56 and with_noise[-1][1] >= 0.99
  assert without[-1][0] == 56 and without[len(with_noise) - 1][1] < 0.8


def test_a_round_trains_the_network_alone_and_then_goes_once_over_all_pictures(data):
  run = procedure(network_steps=2, batch_size=200, kind="sample", stop=-1.0)
  state, step, rows = run.init(jax.random.key(0), data), jax.jit(run.step), []
  for t in range(5):  # 512 pictures: two steps of the network, three batches of noise
    batch = run.batch(0, data, t)
    new, _ = step(state, batch)
    same = {name: fingerprint(getattr(new, name)) == fingerprint(getattr(state, name)) for name in ("params", "delta")}
    assert same == {"params": t >= 2, "delta": t < 2}
    rows += list(batch["row"][batch["mask"] > 0]) if t >= 2 else []
    state = new
  np.testing.assert_array_equal(np.sort(rows), data.sets["train"])
  assert (jnp.abs(state.delta).max((1, 2, 3)) > 0).all() and int(state.seen) == 0
  assert set(run.batch(0, data, 5)["row"]) != set(run.batch(0, data, 0)["row"])


def test_the_pass_that_is_judged_counts_every_picture_once(data):
  run = procedure(network_steps=1, batch_size=200, kind="sample", stop=0.5)
  state, step = run.init(jax.random.key(0), data), jax.jit(run.step)
  for t in range(3):
    state, _ = step(state, run.batch(0, data, t))
  assert int(state.seen) == 400 and not bool(state.done)
  for right, done in ((100, False), (300, True)):  # of 512; the last batch adds at most 112
    assert bool(step(state._replace(right=jnp.float32(right)), run.batch(0, data, 3))[0].done) == done


def test_a_pattern_is_the_mean_of_what_its_pictures_ask_for():
  delta = jnp.asarray([0.5, 0.25, -0.25]).reshape(3, 1, 1, 1)
  moved = jnp.asarray([0.2, -0.1, -0.3, 0.4, 9.0]).reshape(5, 1, 1, 1)
  group, mask = jnp.asarray([0, 0, 0, 1, 1]), jnp.asarray([1.0, 1.0, 1.0, 1.0, 0.0])
  found = error_min.settle(delta, group, moved, mask)
  np.testing.assert_allclose(found.ravel(), [-0.2 / 3, 0.4, -0.25], atol=1e-7)  # the third has no picture
  none = error_min.settle(delta, group, moved, 0 * mask)
  np.testing.assert_array_equal(none, delta)


def test_noise_alone_lowers_the_loss_of_a_network_that_stands_still(data):
  run = procedure(kind="sample", batch_size=512, noise_steps=2, optimizer="sgd", rate=1e-12, stop=-1.0)
  state, step, seen = run.init(jax.random.key(0), data), jax.jit(run.step), []
  for t in range(6):
    state, metrics = step(state, run.batch(0, data, t))
    seen.append(float(metrics["loss"].total / metrics["loss"].weight))
  assert all(b < a for a, b in zip(seen[:5], seen[1:])) and seen[-1] < seen[0] - 0.1
  assert float(jnp.abs(state.delta).max()) <= EPS + 1e-7


@pytest.mark.parametrize("mode, kind", [("jit", "sample"), ("pmap", "class"), ("shard_map", "sample")])
def test_four_devices_give_what_one_gives(kind, mode, data):
  run = procedure(kind=kind, batch_size=30, optimizer="sgd", rate=0.1, noise_steps=2)
  state, batch = run.init(jax.random.key(0), data), run.batch(0, data, 0)
  one, expected = spread.spread(run.step, mode="one")(state, batch)
  many, metrics = spread.spread(run.step, mode=mode)(state, batch)
  assert float(jnp.mean(jnp.abs(many.delta - one.delta) > 1e-6)) < 1e-3  # a sign may turn where a slope is nearly 0
  for a, b in zip(jax.tree.leaves((one.params, expected)), jax.tree.leaves((many.params, metrics))):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("bad, field", [
  ({"kind": "pixel"}, "protect.kind"), ({"eps": 2.0}, "protect.eps"), ({"noise_steps": 0}, "protect.noise_steps"),
  ({"network_steps": -1}, "protect.network_steps"), ({"steps": -1}, "protect.steps"),
  ({"batch_size": 0}, "protect.batch_size"), ({"label": "taste"}, "protect.label.*colour"),
])  # fmt: skip
def test_values_out_of_range_are_named(bad, field, data):
  with pytest.raises(Invalid, match=field):
    procedure(**bad).init(jax.random.key(0), data)


def test_a_network_of_other_classes_is_named(data):
  with pytest.raises(Invalid, match="model.classes = 7.*colour.*4"):
    error_min.protect(mlp.model(classes=7, widths=(4,)), label="colour").init(jax.random.key(0), data)

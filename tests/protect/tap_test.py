"""Targeted adversarial poisons: the crafting network is fooled, who trains on them learns shifted classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.pictures import to_float
from ue_jax.core.tree import fingerprint
from ue_jax.data import synthetic
from ue_jax.models import mlp
from ue_jax.models.model import Model
from ue_jax.parallel import spread
from ue_jax.protect import noise, publish, tap
from ue_jax.train import checkpoint, loop, losses, supervised

EPS = 16 / 255
MODEL = mlp.model(classes=4, widths=(64,))


@pytest.fixture(scope="module")
def data():
  return synthetic.data(n=768, test=256, size=16, noise=0.1)


@pytest.fixture(scope="module")
def few(data):
  """40 of them in `train` and 10 in `test`."""
  arrays = {name: array[:50] for name, array in data.arrays.items()}
  return Data(arrays, {"train": np.arange(40, dtype=np.int32), "test": np.arange(40, 50, dtype=np.int32)}, data.info)


def train(given, seed=0):
  return loop.fit(supervised.train(MODEL, label="colour", steps=250, rate=3e-3), given, mode="one", seed=seed)


@pytest.fixture(scope="module")
def subject(data):
  return train(data)


def craft(subject, data, seed=0, **kw):
  run = tap.protect(subject, **{"label": "colour", "eps": EPS, "steps": 40, "parts": 3, **kw})
  return loop.fit(run, data, seed=seed, mode="one", steps_per_call=1)


@pytest.fixture(scope="module")
def made(subject, data):
  return craft(subject, data)


def logits(subject, data, name):
  return jnp.asarray(supervised.predict(MODEL, subject.params, {}, data.arrays["image"][data.sets[name]])[0])


def share(subject, data, name, shift=0):
  wanted = (data.arrays["colour"][data.sets[name]] + shift) % 4
  return float((logits(subject, data, name).argmax(1) == wanted).mean())


def test_the_crafting_network_sees_the_next_class_and_random_noise_does_not_do_it(subject, data, made):
  random = loop.fit(noise.protect("sample", eps=EPS), data)
  assert share(subject, made, "train", 1) >= 0.95 and share(subject, made, "test_protected", 1) >= 0.95
  assert share(subject, random, "train", 1) <= 0.05


def test_who_trains_on_them_is_wrong_about_clean_pictures_more_often_than_by_chance(data, made):
  victim = train(made, seed=1)
  assert share(victim, data, "test") < 0.2 < 0.25  # the diagonal of the confusion matrix
  assert share(victim, made, "train") > 0.95 and share(victim, made, "test_protected") > 0.9
  random = train(loop.fit(noise.protect("sample", eps=EPS), data), seed=1)
  assert share(random, data, "test") > 0.9


def test_perturbations_stay_within_the_budget_and_differ(subject, few):
  for norm, eps, most in (("linf", EPS, 16), ("l2", 0.5, 0.5 * 255)):
    out = craft(subject, few, norm=norm, eps=eps, step_size=eps / 4, steps=5, parts=1)
    delta = out.arrays["image"].astype(np.float64) - np.concatenate([few.arrays["image"], few.arrays["image"][40:]])
    assert (delta[40:50] == 0).all() and (np.abs(np.delete(delta, slice(40, 50), 0)).max((1, 2, 3)) > 0).all()
    size = np.abs(delta) if norm == "linf" else np.sqrt((delta**2).sum((1, 2, 3)))
    assert 0.8 * most < size.max() <= most + (0 if norm == "linf" else 0.5 * np.sqrt(delta[0].size))


@pytest.mark.parametrize("kw, better", [
  (dict(offset=3), lambda z, f, y, c: -losses.cross_entropy(z, (y + 3) % 4)),
  (dict(target="true"), lambda z, f, y, c: -losses.cross_entropy(z, y)),
  (dict(loss="features"), lambda z, f, y, c: -((f - c[(y + 1) % 4]) ** 2).mean(1)),
  (dict(target="away", loss="features"), lambda z, f, y, c: ((f - c[y]) ** 2).mean(1)),
])  # fmt: skip
def test_every_goal_is_approached_in_every_picture(kw, better, subject, few):
  see = lambda image: supervised.predict(MODEL, subject.params, {}, image)
  y, before = jnp.asarray(few.arrays["colour"][:40]), few.arrays["image"][:40]
  centers = np.stack([see(before)[1][y == c].mean(0) for c in range(4)])
  made = craft(subject, few, steps=8, start="zeros", copies=False, parts=1, **kw).arrays["image"]
  assert (made[50:] == few.arrays["image"][40:]).all()
  after = made[:40]
  gain = better(*see(after), y, centers) - better(*see(before), y, centers)
  assert float(gain.mean()) > 0 and float((gain > -1e-3).mean()) == 1


def test_of_several_runs_each_picture_keeps_the_best(subject, few):
  def far(restarts):
    run = tap.protect(subject, label="colour", eps=EPS, steps=2, parts=1, start="zeros", restarts=restarts)
    state, step = run.init(jax.random.key(0), few), jax.jit(run.step)
    for t in range(run.steps):
      state, _ = step(state, run.batch(0, few, t))
    moved = to_float(few.arrays["image"]) + np.asarray(state.best)
    return losses.cross_entropy(MODEL.apply(subject.params, moved).logits, (few.arrays["colour"] + 1) % 4), state

  one, _ = far(1)
  many, state = far(4)
  assert (many <= one + 1e-6).all() and (many < one - 0.01).any()
  np.testing.assert_allclose(many, -state.value, atol=1e-5)


def test_a_stopped_run_goes_on_with_the_same_bits(subject, few, tmp_path):
  run = tap.protect(subject, label="colour", eps=EPS, steps=4, restarts=2, parts=2, start="uniform")
  whole = loop.fit(run, few, mode="one", steps_per_call=1)
  keeper = checkpoint.Keeper(tmp_path)
  with pytest.raises(loop.Interrupted):
    loop.fit(run, few, mode="one", steps_per_call=1, keeper=keeper, stop=lambda: True)
  resumed = loop.fit(run, few, mode="one", steps_per_call=1, keeper=keeper)
  assert fingerprint(dict(whole.arrays)) == fingerprint(dict(resumed.arrays))


def test_augmentations_are_looked_through_and_differentiated_and_parts_do_not_matter(subject, few):
  mirrored = lambda params, x, **kw: MODEL.apply(params, x[:, :, ::-1], **kw)
  through = craft(subject, few, augment=("flip:1",), steps=3, start="zeros", parts=7)
  direct = craft(Subject(Model(MODEL.init, mirrored), subject.params), few, steps=3, start="zeros", parts=1)
  plain = craft(subject, few, steps=3, start="zeros", parts=7)
  np.testing.assert_array_equal(through.arrays["image"], direct.arrays["image"])
  assert (through.arrays["image"] != plain.arrays["image"]).any()


@pytest.fixture(scope="module")
def points(data):
  """Three points of one training: a shorter run of the same seed is the beginning of a longer one."""
  run = lambda steps: supervised.train(MODEL, label="colour", steps=steps, rate=3e-3)
  return [loop.fit(run(steps), data, mode="one", seed=5) for steps in (25, 50, 100)]


@pytest.mark.parametrize("loss", tap.LOSSES)
def test_a_step_against_several_points_follows_the_mean_of_their_gradients(loss, points, few):
  x, y = to_float(few.arrays["image"]), jnp.asarray(few.arrays["colour"], jnp.int32)
  centers = [supervised.predict(MODEL, net.params, {}, few.arrays["image"][:40])[1] for net in points]
  centers = [jnp.stack([seen[few.arrays["colour"][:40] == c].mean(0) for c in range(4)]) for seen in centers]

  def far(x):
    outs = [MODEL.apply(net.params, x) for net in points]
    by_logits = [losses.cross_entropy(out.logits, (y + 2) % 4) for out in outs]
    by_features = [jnp.mean((out.features - c[(y + 2) % 4]) ** 2, 1) for out, c in zip(outs, centers)]
    return jnp.sum(jnp.stack(by_logits if loss == "cross_entropy" else by_features))

  kw = dict(loss=loss, offset=2, start="zeros", steps=1, step_size=EPS / 4, parts=1)
  run = tap.protect(points[-1], label="colour", eps=EPS, checkpoints=points[:-1], **kw)
  state = run.init(jax.random.key(0), few)
  state, _ = jax.jit(run.step)(state, run.batch(0, few, 0))
  slope = jax.jit(jax.grad(far))(x)
  clear = (jnp.abs(slope) > 1e-5 * jnp.abs(slope).max()) & (x > EPS) & (x < 1 - EPS)
  np.testing.assert_allclose(state.delta[clear], -jnp.sign(slope)[clear] * EPS / 4, rtol=1e-5)


def test_against_several_points_the_mean_over_them_is_fooled_more_than_against_the_last_alone(points, few):
  def far(made):
    x, aim = made.arrays["image"][:40], (jnp.asarray(few.arrays["colour"][:40], jnp.int32) + 2) % 4
    return float(jnp.mean(jnp.stack([losses.cross_entropy(MODEL.apply(net.params, x).logits, aim) for net in points])))

  alone = craft(points[-1], few, offset=2, parts=1)
  together = craft(points[-1], few, offset=2, parts=1, checkpoints=points[:-1])
  assert far(together) < far(alone) - 0.02 and share(points[-1], together, "train", 2) == 1


def test_checkpoints_of_another_network_are_named(points, few):
  other = mlp.model(classes=4, widths=(8,))
  stranger = Subject(other, other.init(jax.random.key(0), few.arrays["image"][:1])[0])
  with pytest.raises(Invalid, match="protect.checkpoints"):
    tap.protect(points[-1], label="colour", checkpoints=[stranger]).init(jax.random.key(0), few)


@pytest.mark.parametrize("mode", ["jit", "shard_map"])
def test_four_devices_give_what_one_gives(mode, subject, few):
  run = tap.protect(subject, label="colour", steps=2, parts=2, start="zeros", norm="l2", eps=0.5)
  state = run.init(jax.random.key(0), few)
  batch = run.batch(0, few, 0)
  one, expected = spread.spread(run.step, mode="one")(state, batch)
  many, metrics = spread.spread(run.step, mode=mode)(state, batch)
  for a, b in zip(jax.tree.leaves((one.delta, one.best, expected)), jax.tree.leaves((many.delta, many.best, metrics))):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bad, field", [
  ({"target": "own"}, "protect.target"), ({"loss": "hinge"}, "protect.loss"), ({"eps": 2.0}, "protect.eps"),
  ({"steps": 0}, "protect.steps"), ({"parts": 0}, "protect.parts"), ({"restarts": 0}, "protect.restarts"),
  ({"offset": 4}, "protect.offset"), ({"start": "sign"}, "protect.start"), ({"label": "taste"}, "protect.label"),
  ({"augment": ("blur",)}, "augment.*flip"),
])  # fmt: skip
def test_what_does_not_fit_is_named(bad, field, subject, data):
  with pytest.raises(Invalid, match=field):
    tap.protect(subject, **{"label": "colour", **bad}).init(jax.random.key(0), data)


def test_a_surrogate_of_other_classes_is_named(data):
  model = mlp.model(classes=7, widths=(4,))
  stranger = Subject(model, model.init(jax.random.key(0), data.arrays["image"][:1])[0])
  with pytest.raises(Invalid, match="protect.surrogate.*7 classes.*colour.*4"):
    tap.protect(stranger, label="colour").init(jax.random.key(0), data)


def test_what_is_published_is_the_finished_grey_levels(subject, few):
  run = tap.protect(subject, label="colour", eps=EPS, steps=2, parts=1)
  state = run.init(jax.random.key(0), few)
  done = np.random.default_rng(0).uniform(-EPS, EPS, state.finished.shape).astype(np.float32)
  out = run.finish(state._replace(finished=jnp.asarray(done)), few)
  whole = np.round(done[:40].astype(float) * 255).astype(np.int16)
  np.testing.assert_array_equal(out.arrays["image"][:40], publish.add(few.arrays["image"][:40], whole))

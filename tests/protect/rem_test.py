"""Robust error-minimising noise: its gradient exactly, its budget, and what it takes from a trainer that is robust."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.core.tree import fingerprint
from ue_jax.data import synthetic
from ue_jax.models import mlp
from ue_jax.parallel import spread
from ue_jax.protect import error_min, noise, rem
from ue_jax.train import adversarial, checkpoint, loop, losses, supervised

EPS = 32 / 255
MODEL = mlp.model(classes=4, widths=(32,))
FEW = dict(noise_steps=3, samples=2, attack_steps=2, steps=4, rate=3e-3)


@pytest.fixture(scope="module")
def data():
  """Noisy pictures whose colour and texture are independent of each other."""
  return synthetic.data(n=640, test=128, size=16, noise=0.1)


@pytest.fixture(scope="module")
def net(data):
  return MODEL.init(jax.random.key(0), data.arrays["image"][:1])[0]


@pytest.fixture(scope="module")
def batch(data):
  """Twelve pictures far from black and white, and their classes."""
  x = 0.3 + 0.4 * jnp.asarray(data.arrays["image"][:12], jnp.float32) / 255
  return x, jnp.asarray(data.arrays["colour"][:12], jnp.int32)


def procedure(model=MODEL, **kw):
  return rem.protect(model, **{"label": "colour", "eps": EPS, "augment": (), **FEW, **kw})


def small(n=20, shape=(9, 6, 1), classes=4):
  """Pictures of an odd size, a few of them test pictures."""
  draw = np.random.default_rng(0)
  arrays = {
    "image": draw.integers(0, 256, (n, *shape)).astype(np.uint8), "colour": (np.arange(n) % classes).astype(np.int32),
    "index": np.arange(n, dtype=np.int32),
  }  # fmt: skip
  names = {"labels": {"colour": [str(c) for c in range(classes)]}}
  return Data(arrays, {"train": np.arange(n - 5, dtype=np.int32), "test": np.arange(n - 5, n, dtype=np.int32)}, names)


def slope(how, net, batch, delta, key):
  """The gradient that a step of the noise follows."""
  x, labels = batch
  return jax.jit(jax.grad(lambda delta: jnp.sum(rem.robust_loss(how, net, {}, x, labels, delta, key))))(delta)


@jax.jit
def plain(net, x, labels):
  """The gradient of the cross entropy by the pictures that the network sees."""
  return jax.grad(lambda x: jnp.sum(losses.cross_entropy(MODEL.apply(net, x).logits, labels)))(x)


def test_without_attacks_and_transforms_a_step_is_that_of_error_minimising_noise(data):
  faint = Data({**data.arrays, "image": 64 + data.arrays["image"] // 2}, data.sets, data.info)  # nothing is cut
  run = error_min.protect(MODEL, kind="sample", label="colour", eps=EPS, batch_size=32)
  state, batch = run.init(jax.random.key(0), faint), run.batch(0, faint, 0)
  after, _ = jax.jit(run.step)(state, batch)
  how = rem.Recipe(MODEL, None, 0.0, state.eps / 10, 1, 1, attack_steps=1, start="zeros")
  x = jnp.asarray(batch["image"], jnp.float32) / 255
  found = jax.jit(lambda x: rem.craft(how, state.params, {}, x, batch["label"], state.eps, jax.random.key(0)))(x)
  expected = after.delta[state.groups[batch["row"]]]
  assert float(jnp.abs(expected).max()) > 0
  np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_the_gradient_is_pulled_back_through_the_transform_and_not_through_the_attack(net, batch):
  x, labels = 1 - 0.05 * batch[0], batch[1]  # nearly white: attacks are cut at 1, and yet are constants
  matrix = jax.nn.softmax(jax.random.normal(jax.random.key(1), (16, 16)))  # rows become mixtures of rows
  through = lambda key, images, targets: (jnp.einsum("ij,bjwc->biwc", matrix, images), targets)
  radius = 0.05
  how = rem.Recipe(MODEL, through, radius, samples=1, attack_steps=3)
  delta, key = -0.01 * jnp.ones_like(x), jax.random.key(2)
  key_attack = jax.random.split(jax.random.split(key, 1)[0])[1]
  seen, onehot = jnp.einsum("ij,bjwc->biwc", matrix, x + delta), jax.nn.one_hot(labels, 4)
  attack = jax.jit(lambda seen: adversarial.perturb(MODEL, net, {}, seen, onehot, radius, key_attack, None, 3))(seen)
  assert abs(float(-attack.min()) - radius) < 1e-6 and float((seen + attack == 1).mean()) > 0.1
  expected = jnp.einsum("ij,biwc->bjwc", matrix, plain(net, seen + attack, labels))  # the transposed matrix
  np.testing.assert_allclose(slope(how, net, (x, labels), delta, key), expected, rtol=1e-4, atol=1e-7)


def test_a_mirror_sends_the_gradient_back_to_where_it_came_from_and_draws_are_averaged(net, batch):
  x, labels = batch
  half = lambda key, images, targets: (jnp.where(jax.random.bernoulli(key), images, images[:, :, ::-1]), targets)
  how, key = rem.Recipe(MODEL, half, 0.0, samples=6, attack_steps=1), jax.random.key(3)
  drawn = [bool(jax.random.bernoulli(jax.random.split(k)[0])) for k in jax.random.split(key, 6)]
  assert 0 < sum(drawn) < 6
  straight, mirrored = plain(net, x, labels), plain(net, x[:, :, ::-1], labels)[:, :, ::-1]
  expected = (sum(drawn) * straight + (6 - sum(drawn)) * mirrored) / 6
  np.testing.assert_allclose(slope(how, net, batch, jnp.zeros_like(x), key), expected, rtol=1e-3, atol=1e-7)


def test_the_attack_makes_the_loss_larger_than_no_attack_and_than_random_steps(net, batch):
  x, labels = batch
  loss = jax.jit(lambda radius: jnp.mean(rem.robust_loss(
    rem.Recipe(MODEL, None, radius, samples=4), net, {}, x, labels, jnp.zeros_like(x), jax.random.key(0)
  )))  # fmt: skip
  signs = 0.05 * jax.random.rademacher(jax.random.key(1), (16, *x.shape), jnp.float32)
  random = jnp.mean(jax.jit(jax.vmap(lambda a: losses.cross_entropy(MODEL.apply(net, x + a).logits, labels)))(signs))
  assert loss(0.05) > loss(0.0) + 0.1 and loss(0.05) > random + 0.1


def test_a_crop_sends_the_gradient_back_to_the_pixels_that_were_cut_out(net, batch):
  x, labels = batch
  shift = lambda key, images, targets: (jnp.pad(images, ((0, 0), (3, 0), (0, 2), (0, 0)))[:, :16, 2:], targets)
  how, zeros = rem.Recipe(MODEL, shift, 0.0, samples=1, attack_steps=1), jnp.zeros_like(x)
  seen = plain(net, jnp.pad(x[:, :13, 2:], ((0, 0), (3, 0), (0, 2), (0, 0))), labels)
  expected = jnp.pad(seen[:, 3:, :14], ((0, 0), (0, 3), (2, 0), (0, 0)))  # nothing for what fell off the edge
  np.testing.assert_allclose(slope(how, net, batch, zeros, jax.random.key(0)), expected, rtol=1e-4, atol=1e-7)


def test_crafted_noise_lowers_the_loss_under_attack_and_random_noise_does_not(net, batch):
  x, labels = batch
  how = rem.Recipe(MODEL, None, 0.04, noise_steps=8, samples=2, attack_steps=5)
  judge = jax.jit(lambda delta: jnp.mean(rem.robust_loss(how, net, {}, x, labels, delta, jax.random.key(9))))
  made = jax.jit(lambda x: rem.craft(how, net, {}, x, labels, EPS, jax.random.key(0)))(x)
  random = EPS * jax.random.rademacher(jax.random.key(1), x.shape, jnp.float32)
  assert judge(made) < judge(jnp.zeros_like(x)) - 0.1 < judge(random)


@pytest.mark.parametrize("eps, most", [(0.0, 0), (10.4 / 255, 10), (1.0, 255)])
def test_what_is_published_lies_within_the_budget_in_whole_levels(eps, most):
  given, cheap = small(), dict(noise_steps=2, samples=1, attack_steps=1, batch_size=5)
  run = procedure(eps=eps, augment=("crop:2", "flip") if eps == 1 else (), **cheap)
  found = run.finish(run.init(jax.random.key(0), given), given).arrays["image"].astype(int)
  before = given.arrays["image"].astype(int)
  change = np.abs(found - np.concatenate([before, before[15:]]))
  assert (change[15:20] == 0).all(), "test pictures stay"
  assert change[:15].max() <= most and change[20:].max() <= most
  assert most == 0 or (change[:15].max((1, 2, 3)) >= min(most, 5)).all()


def test_the_same_key_gives_the_same_bytes_and_a_stopped_run_goes_on_with_them(tmp_path):
  given = small()
  run = procedure(batch_size=5, augment=("crop:2",), noise_steps=1, samples=1, attack_steps=1)
  fit = lambda **kw: loop.fit(run, given, mode="one", steps_per_call=1, **kw)
  whole, keeper = fit(), checkpoint.Keeper(tmp_path)
  with pytest.raises(loop.Interrupted):
    fit(keeper=keeper, stop=lambda: True)
  resumed = fit(keeper=keeper)
  assert fingerprint(dict(whole.arrays)) == fingerprint(dict(resumed.arrays))
  other = run.finish(run.init(jax.random.key(1), given), given)
  assert (other.arrays["image"] != run.finish(run.init(jax.random.key(0), given), given).arrays["image"]).any()


def test_the_noise_of_the_end_is_that_of_the_finished_network_for_train_and_test_pictures(data):
  run = procedure(batch_size=256, noise_steps=8, radius=0.0)
  state = run.init(jax.random.key(0), data)
  out, before = run.finish(state, data), data.arrays["image"]
  params = state.network.params
  hits = jax.jit(lambda image, labels: losses.cross_entropy(MODEL.apply(params, image).logits, labels).mean())
  for name in ("train", "test"):
    rows, copies = data.sets[name], out.sets["test_protected" if name == "test" else "train"]
    labels = jnp.asarray(data.arrays["colour"][rows], jnp.int32)
    assert hits(out.arrays["image"][copies], labels) < hits(before[rows], labels) - 0.3


def test_the_noise_of_a_picture_does_not_depend_on_where_it_stands_or_on_the_size_of_a_batch():
  given = small(n=23)._replace(sets={"train": np.arange(18)})
  how = dict(augment=("crop:1", "flip"), noise_steps=1, samples=2, attack_steps=1, steps=0)
  state = procedure(**how).init(jax.random.key(0), given)
  make = lambda data, size: procedure(batch_size=size, **how).finish(state, data).arrays["image"]
  turned = Data({name: a[::-1] for name, a in given.arrays.items()}, {"train": np.arange(5, 23)}, given.info)
  whole = make(given, 18)[:18].astype(int)
  for other in (make(given, 5)[:18], make(turned, 7)[::-1][:18]):
    assert (np.abs(other - whole) > 1).mean() < 0.01  # sums of other shapes are rounded otherwise: a sign may turn


def test_one_class_alone_asks_for_nothing():
  given = small(classes=1)
  run = procedure(mlp.model(classes=1, widths=(8,)), batch_size=5, start="zeros", steps=1)
  np.testing.assert_array_equal(loop.fit(run, given, mode="one").arrays["image"][:20], given.arrays["image"])


@pytest.mark.parametrize("mode", ["shard_map"])
def test_four_devices_give_what_one_gives(mode, data):
  run = procedure(batch_size=30, optimizer="sgd", rate=0.1, augment=(), radius=0.0, start="zeros", noise_steps=1)
  state, batch = run.init(jax.random.key(0), data), run.batch(0, data, 0)
  one, expected = spread.spread(run.step, mode="one")(state, batch)
  many, metrics = spread.spread(run.step, mode=mode)(state, batch)
  for a, b in zip(jax.tree.leaves((one.network.params, expected)), jax.tree.leaves((many.network.params, metrics))):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_it_takes_more_from_a_training_than_random_noise_of_its_size(data):
  def accuracy(given):
    found = loop.fit(supervised.train(MODEL, label="colour", steps=200, rate=3e-3), given, mode="one", seed=1)
    return float(supervised.accuracies(MODEL, found.params, {}, data, "colour", ("test",))["test_accuracy"])

  made = loop.fit(procedure(radius=4 / 255, steps=75, samples=1), data, mode="one")
  random = loop.fit(noise.protect("sample", eps=EPS), data)
  clean, by_chance, found = accuracy(data), accuracy(random), accuracy(made)
  assert clean > 0.95 and by_chance > 0.9 and found < by_chance - 0.1, (clean, by_chance, found)


@pytest.mark.parametrize("bad, field", [
  ({"eps": 2.0}, "protect.eps"), ({"radius": -0.1}, "protect.radius"), ({"noise_steps": 0}, "protect.noise_steps"),
  ({"samples": 0}, "protect.samples"), ({"attack_steps": 0}, "protect.attack_steps"), ({"steps": -1}, "protect.steps"),
  ({"batch_size": 0}, "protect.batch_size"), ({"start": "sign"}, "protect.start"), ({"augment": ("spin",)}, "augment"),
  ({"label": "taste"}, "protect.label.*colour"),
])  # fmt: skip
def test_values_out_of_range_are_named(bad, field, data):
  with pytest.raises(Invalid, match=field):
    procedure(**bad).init(jax.random.key(0), data)


def test_what_does_not_fit_the_data_is_named(data):
  with pytest.raises(Invalid, match="model.classes = 7.*colour.*4"):
    procedure(mlp.model(classes=7, widths=(4,))).init(jax.random.key(0), data)
  with pytest.raises(Invalid, match="train"):
    procedure().init(jax.random.key(0), Data(data.arrays, {"test": data.sets["test"]}, data.info))

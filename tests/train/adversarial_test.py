"""Adversarial training: what a robust network is worth, and that without a budget it is plain training."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.build import build
from ue_jax.core.errors import Invalid
from ue_jax.core.pictures import to_float
from ue_jax.core.tree import fingerprint
from ue_jax.data import embedded
from ue_jax.models import cnn, mlp
from ue_jax.models.model import Model
from ue_jax.parallel import spread
from ue_jax.train import adversarial, supervised
from ue_jax.train.loop import fit

EPS = {"linf": 20 / 255, "l2": 0.6}
MODEL = mlp.model(widths=(64,))


@pytest.fixture(scope="module")
def data():
  return embedded.data("digits", train=600, test=300)


def train(fn=adversarial.train, **kw):
  return fn(MODEL, **{"steps": 200, "batch_size": 100, "rate": 3e-3, **kw})


@pytest.fixture(scope="module")
def plain(data):
  return fit(train(supervised.train), data, mode="one")


def accuracies(subject, data, norm, key):
  """Accuracy on test pictures as they are and under attack."""
  rows = data.sets["test"]
  images, labels = data.arrays["image"][rows], data.arrays["label"][rows]
  delta = jax.jit(adversarial.perturb, static_argnames=("model", "steps", "norm", "restarts"))(
    MODEL, subject.params, subject.state, images, labels, EPS[norm], key, steps=20, norm=norm, restarts=2
  )
  x = to_float(images)
  assert float((x + delta).min()) >= -1e-6 and float((x + delta).max()) <= 1 + 1e-6
  size = jnp.abs(delta).max() if norm == "linf" else jnp.sqrt((delta**2).sum((1, 2, 3))).max()
  assert 0.5 * EPS[norm] < float(size) < EPS[norm] * (1 + 1e-5)
  right = lambda x: float((MODEL.apply(subject.params, x).logits.argmax(1) == labels).mean())
  return right(x), right(x + delta)





@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_network_trained_on_attacked_pictures_keeps_more_under_attack(norm, data, plain, key):
  robust = fit(train(eps=EPS[norm], norm=norm, attack_steps=5), data, mode="one")
  before, after = accuracies(plain, data, norm, key), accuracies(robust, data, norm, key)
  assert before[0] > 0.9 and after[0] > before[0] - 0.1
  assert after[1] > before[1] + 0.15, (before, after)


@pytest.mark.parametrize("augment", [(), ("crop:1", "flip")])
def test_without_a_budget_it_is_plain_training_bit_by_bit(augment, data):
  short = dict(steps=12, augment=augment, every=6)
  a, b = (fit(train(fn, **short, **more), data, mode="one") for fn, more in (
    (supervised.train, {}), (adversarial.train, {"eps": 0.0, "attack_steps": 2})))  # fmt: skip
  assert fingerprint(a.params) == fingerprint(b.params)
  assert fingerprint(dict(a.history)) == fingerprint(dict(b.history))


def test_the_network_is_attacked_in_evaluation_mode_and_trained_in_training_mode(data):
  seen = []

  def apply(params, x, *, state={}, train=False, key=None, taps={}):
    seen.append((train, x.dtype, key is None))
    return MODEL.apply(params, x, state=state)

  run = adversarial.train(Model(MODEL.init, apply), batch_size=8, attack_steps=2)
  state = run.init(jax.random.key(0), data)
  seen.clear()
  jax.eval_shape(run.step, state, run.batch(0, data, 0))
  assert {(False, jnp.dtype("float32"), True), (True, jnp.dtype("float32"), False)} == set(seen)
  assert [train for train, *_ in seen].index(True) == len(seen) - 1


def test_the_loss_that_is_minimised_is_that_of_the_attacked_pictures(data, plain):
  first = lambda run: jax.jit(run.step)(run.init(jax.random.key(0), data), run.batch(0, data, 0))[1]["loss"]
  losses = [float(first(train(start=plain, eps=eps))) for eps in (0.0, 0.02, 0.1)]
  assert losses[0] < losses[1] < losses[2] and losses[2] > losses[0] + 0.5


def test_budgets_may_be_traced_and_convolutions_are_served(data):
  model = cnn.model(widths=(4,))

  def first(eps):
    run = adversarial.train(model, eps=eps, batch_size=8, attack_steps=1)
    return run.step(run.init(jax.random.key(0), data), run.batch(0, data, 0))[1]["loss"]

  many = jax.jit(jax.vmap(first))(jnp.asarray([0.0, 0.1]))
  np.testing.assert_allclose(many[1], jax.jit(lambda: first(0.1))(), rtol=1e-4)
  assert adversarial.train(model._replace(convolutional=True)).convolutional and many[1] > many[0]


def test_devices_share_the_work(data):
  run = train(eps=0.0, batch_size=30, optimizer="sgd", rate=0.1, attack_steps=1)
  state, batch = run.init(jax.random.key(0), data), run.batch(0, data, 0)
  one, _ = spread.spread(run.step, mode="one")(state, batch)
  for mode in ("jit", "pmap", "shard_map"):
    many, _ = spread.spread(run.step, mode=mode)(state, batch)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(many.params)):
      np.testing.assert_allclose(a, b, atol=1e-6)


def test_it_takes_the_arguments_of_plain_training_and_names_what_it_does_not_know(data):
  own, of = (inspect.signature(fn).parameters for fn in (adversarial.train, supervised.train))
  assert all(own[name].default == p.default for name, p in of.items())
  assert build("train", "train.adversarial", model=MODEL, steps=7, rate=0.1).steps == 7
  with pytest.raises(Invalid, match="train.stepz"):
    build("train", "train.adversarial", model=MODEL, stepz=7)


def test_augmentations_come_before_the_attack_and_blended_targets_reach_the_loss(data):
  a = fit(train(supervised.train, steps=3, augment=("mixup",)), data, mode="one")
  b = fit(train(steps=3, augment=("mixup",), eps=0.0, attack_steps=1), data, mode="one")
  np.testing.assert_allclose(a.history["loss"], b.history["loss"], rtol=1e-5)


@pytest.mark.parametrize("kw, field", [
  ({"eps": -0.1}, "train.eps"), ({"norm": "l1"}, "train.norm"), ({"attack_steps": 0}, "train.attack_steps"),
  ({"restarts": 0}, "train.restarts"), ({"label": "taste"}, "train.label"), ({"batch_size": 0}, "train.batch_size"),
])  # fmt: skip
def test_what_does_not_fit_is_named(kw, field, data):
  with pytest.raises(Invalid, match=field):
    train(**kw).init(jax.random.key(0), data)


def test_the_attack_draws_from_a_key_of_its_own(monkeypatch, data):
  keys, words = {}, lambda key: jax.random.key_data(key).tolist()
  net = mlp.model(classes=10, widths=(4,))

  def apply(params, x, *, state={}, train=False, key=None, taps={}):
    if train:
      keys["network"] = words(key)
    return net.apply(params, x, state=state, train=train, key=key, taps=taps)

  def change(key, images, targets):
    keys["pictures"] = words(key)
    return images, targets

  def perturb(model, params, state, images, targets, eps, key, *rest):
    keys["attack"] = words(key)
    return jnp.zeros_like(images)

  monkeypatch.setattr(adversarial, "perturb", perturb)
  run = adversarial.train(Model(net.init, apply), steps=1, batch_size=8, augment=(change,))
  plain = supervised.train(Model(net.init, apply), steps=1, batch_size=8, augment=(change,))
  state = run.init(jax.random.key(0), data)
  run.step(state, run.batch(0, data, 0))
  ours = dict(keys)
  plain.step(state, plain.batch(0, data, 0))
  assert len({str(key) for key in ours.values()}) == 3
  assert ours["pictures"] == keys["pictures"] and ours["network"] == keys["network"]

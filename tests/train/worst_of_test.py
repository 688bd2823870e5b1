"""Training on the worst of several copies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.core.tree import fingerprint
from ue_jax.data import augment
from ue_jax.models import mlp
from ue_jax.train import losses, supervised, worst_of
from ue_jax.train.loop import fit

RNG = np.random.default_rng(0)
N = 60
LABEL = (np.arange(N) % 3).astype(np.int32)
IMAGE = (RNG.integers(0, 120, (N, 4, 4, 1)) + 60 * LABEL[:, None, None, None]).astype(np.uint8)
DATA = Data(
  {"image": IMAGE, "label": LABEL, "index": np.arange(N, dtype=np.int32)},
  {"train": np.arange(40, dtype=np.int32), "test": np.arange(40, N, dtype=np.int32)},
  {"labels": {"label": ["a", "b", "c"]}},
)
MODEL = mlp.model(classes=3, widths=(8,))
HOW = dict(steps=20, batch_size=20, rate=0.01)


def noisy(key, images, targets):
  return images + jax.random.uniform(key, images.shape), targets


def test_one_copy_is_plain_training_with_the_same_augmentation():
  plain = fit(supervised.train(MODEL, augment=(noisy,), **HOW), DATA, mode="one")
  worst = fit(worst_of.train(MODEL, copies=1, augment=(noisy,), **HOW), DATA, mode="one")
  assert fingerprint(worst.params) == fingerprint(plain.params)


def test_one_copy_that_is_not_augmented_is_plain_training():
  plain = fit(supervised.train(MODEL, **HOW), DATA, mode="one")
  worst = fit(worst_of.train(MODEL, copies=1, augment=(), **HOW), DATA, mode="one")
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), worst.params, plain.params)
  many = fit(worst_of.train(MODEL, copies=3, augment=(), **HOW), DATA, mode="one")
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), many.params, plain.params)


def batch(mask):
  return {"image": jnp.asarray(IMAGE[:6]), "label": jnp.asarray(LABEL[:6]), "mask": jnp.asarray(mask, jnp.float32)}


def test_the_loss_is_the_mean_of_the_largest_of_each_picture(key):
  params, _ = MODEL.init(key, IMAGE[:1])
  first = jax.random.split(key)[0]
  seen = [noisy(k, IMAGE[:6] / np.float32(255), None)[0] for k in (first, jax.random.fold_in(first, 1))]
  objective = jax.jit(worst_of.objective(MODEL, 2, noisy))
  term = objective(params, {}, {}, batch([1, 1, 1, 1, 1, 0]), key)[0]["cross_entropy"]
  alone = jax.jit(lambda x: losses.cross_entropy(MODEL.apply(params, x).logits, LABEL[:6]))
  each = np.stack([alone(x) for x in seen])
  assert not np.array_equal(seen[0], seen[1])
  assert set(each.argmax(0)[:5]) == {0, 1}, "neither copy is the worse one for all"
  np.testing.assert_allclose(term.total, each.max(0)[:5].sum(), rtol=1e-5)
  assert float(term.weight) == 5


def test_the_gradient_is_that_of_the_worst_copy(key):
  params, _ = MODEL.init(key, IMAGE[:1])
  black = lambda key, x, y: (jnp.where(jax.random.bernoulli(key, 0.5), jnp.zeros_like(x), x), y)
  total = lambda p, copies, how: worst_of.objective(MODEL, copies, how)(
    p, {}, {}, batch(np.eye(6)[0]), key)[0]["cross_entropy"].total
  either = jax.jit(lambda p: jax.grad(total)(p, 8, black))(params)
  hows = (augment.build([]), lambda k, x, y: (jnp.zeros_like(x), y))
  values, options = zip(*(jax.jit(lambda p, how=how: jax.value_and_grad(total)(p, 1, how))(params) for how in hows))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), either, options[int(np.argmax(values))])


def test_ueraser_by_name_learns():
  out = fit(worst_of.train(MODEL, copies=2, steps=60, batch_size=20, rate=0.02), DATA, mode="one")
  assert out.history["loss"][-10:].mean() < out.history["loss"][:5].mean()


@pytest.mark.parametrize("kw, words", [
  (dict(copies=0), "train.copies"), (dict(augment=("blur",)), "augment"), (dict(steps=-1), "train.steps"),
])  # fmt: skip
def test_what_does_not_fit_is_named(kw, words):
  with pytest.raises(Invalid, match=words):
    worst_of.train(MODEL, **kw)

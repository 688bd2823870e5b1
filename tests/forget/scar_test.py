import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.forget import scar
from ue_jax.train import loop, supervised

fit = functools.partial(loop.fit, mode="one")
FEW = dict(forget_batch=10, retain_batch=12, optimizer="sgd")


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def oracle(features, labels, kept, power, diagonal, others):
  """Means of powers and inverse covariances in float64, entry by entry."""
  means, inverses = [], []
  for c in kept:
    x = np.float64(features)[labels == c] ** power
    cov = np.cov(x.T)
    off = [cov[i, j] for i in range(len(cov)) for j in range(len(cov)) if i != j and cov[i, j] != 0]
    more = np.where(np.eye(len(cov)) > 0, diagonal * np.diag(cov).mean(), others * np.mean(off))
    cov = cov + more
    cov = cov / np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
    means.append(x.mean(0))
    inverses.append(np.linalg.pinv(cov))
  return np.stack(means), np.stack(inverses)


def far(features, mean, inv, power):
  d = unit(np.float64(features) ** power) - unit(mean)
  return np.einsum("bi,ij,bj->b", d, inv, d)


@pytest.mark.parametrize("power, diagonal, others", [(0.5, 3.0, 3.0), (0.8, 1.0, 0.2)])
def test_the_distributions_are_the_formula_with_a_feature_that_is_never_there(power, diagonal, others):
  rng = np.random.default_rng(0)
  features = rng.gamma(2.0, size=(40, 5)).astype(np.float32) * (np.arange(5) != 3)
  labels = rng.integers(0, 3, 40)
  want = oracle(features, labels, (0, 2), power, diagonal, others)
  got = scar.distributions(features, labels, np.array([0, 2]), power, diagonal, others)
  for a, b in zip(got, want):
    np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3 * np.abs(b).max())


def test_no_distance_is_below_0_where_shrinking_leaves_no_covariance():
  """Two features that move against each other, and two that are never there: the pseudo-inverse has a negative side."""
  x = np.random.default_rng(0).random((30, 1))
  features = np.concatenate([1 + x, 3 - x, 0 * x, 0 * x], axis=1).astype(np.float32)
  _, want = oracle(features, np.zeros(30), (0,), 1.0, 0.2, 3.0)
  assert np.linalg.eigvalsh(want[0]).min() < -0.02
  _, got = scar.distributions(features, np.zeros(30, int), np.array([0]), 1.0, 0.2, 3.0)
  assert np.linalg.eigvalsh(np.float64(got[0])).min() > -1e-5


def test_the_power_keeps_signs_and_has_slopes_that_are_finite_at_0():
  x = jnp.array([4.0, -9.0, 0.0])
  np.testing.assert_allclose(scar.raised(x, 0.5), [2, -3, 0])
  np.testing.assert_allclose(jax.jit(jax.grad(lambda x: jnp.sum(scar.raised(x, 0.5))))(x), [0.25, 1 / 6, 0], rtol=1e-6)


def test_no_sample_goes_to_its_own_class(pictures):
  """Of samples of all three classes, with all three kept: their own would be the nearest of nearly all."""
  subject, data = pictures.subject, pictures.data
  rows, label = data.sets["train"], data.arrays["label"]
  some = pictures._replace(data=Data(data.arrays, {**data.sets, "forget": rows[:12], "retain": rows[12:]}, data.info))
  features = supervised.predict(subject.model, subject.params, subject.state, data.arrays["image"][rows])[1]
  means, inverses = oracle(features[12:], label[rows[12:]], (0, 1, 2), 0.5, 3.0, 3.0)
  apart = np.stack([far(features[:12], *pair, 0.5) for pair in zip(means, inverses)], axis=1)
  assert (apart.argmin(-1) == label[rows[:12]]).mean() > 0.9
  apart[np.arange(12), label[rows[:12]]] = np.inf
  found = scar.aims(some, 3, 0.5, 3.0, 3.0)
  np.testing.assert_array_equal(found["to"], apart.argmin(-1))
  assert not np.asarray(found["gone"]).any()


def test_the_loss_is_the_formula_with_ragged_weights_and_its_numbers_may_be_traced(pictures):
  make = lambda *n: scar.method(n[0], n[1], "test", *n[2:], **FEW)
  data, apply, params = pictures.data, pictures.subject.model.apply, pictures.subject.params
  batch, rng = make(1, 1, 0.5, 3, 3).batch(0, pictures, 0), np.random.default_rng(0)
  for part in batch.values():
    part["mask"] = rng.random(len(part["mask"])).astype(np.float32) * (rng.random(len(part["mask"])) < 0.8)

  look = lambda image: [np.float64(x) for x in (lambda out: (out.features, out.logits))(apply(params, image))]
  kept, label = look(data.arrays["image"][data.sets["retain"]])[0], data.arrays["label"][data.sets["retain"]]
  settings = ((1.0, 5.0, 0.5, 3.0, 3.0), (0.7, 1.3, 0.8, 1.0, 0.5))
  hp = np.float32(settings).T
  states = jax.vmap(lambda *n: make(*n).init(jax.random.key(0), pictures))(*hp)
  traced = jax.jit(jax.vmap(lambda state, *n: make(*n).step(state, batch)[1]["loss"]))(states, *hp)
  for (pull, alpha, power, diagonal, others), got in zip(settings, traced):
    f, s = batch["forget"], batch["surrogate"]
    pairs = zip(*oracle(kept, label, (0, 1), power, diagonal, others))
    apart = np.stack([far(look(f["image"])[0], *pair, power) for pair in pairs]).min(0)
    before = look(s["image"])[1]
    stays, target = before.argmax(-1) != 2, before.copy()
    target[:, 2] = before.min(-1)  # class 2 is to be forgotten
    log = lambda z: z - np.log(np.exp(z).sum(-1, keepdims=True))
    kl = np.sum(np.exp(log(target)) * (log(target) - log(before)), axis=-1)
    assert 0 < stays.sum() < len(stays)
    want = pull * np.average(apart, weights=f["mask"]) + alpha * np.average(kl, weights=s["mask"] * stays)
    assert float(got) == pytest.approx(want, rel=2e-3)


@pytest.mark.parametrize("source", scar.MADE)
def test_surrogates_are_made_of_what_is_to_be_forgotten_alone(pictures, source):
  data = pictures.data
  method = scar.method(source=source, forget_batch=10, retain_batch=64)
  one, again, other = (method.batch(0, pictures, t)["surrogate"]["image"] for t in (3, 3, 4))
  np.testing.assert_array_equal(one, again)
  assert one.dtype == np.uint8 and one.shape == (64, 4, 4, 1) and (one != other).any()
  spoiled = data.arrays["image"].copy()
  spoiled[data.sets["retain"]] = 7
  asked = pictures._replace(data=data._replace(arrays={**data.arrays, "image": spoiled}))
  np.testing.assert_array_equal(method.batch(0, asked, 3)["surrogate"]["image"], one)
  seen = data.arrays["image"][data.sets["forget"]] / 255
  if source == "noise":
    assert abs(one.mean() / 255 - seen.mean()) < 0.03 and abs(one.std() / 255 - seen.std()) < 0.05
  else:  # the same pixels, elsewhere
    values = {tuple(x) for x in np.sort(seen.reshape(len(seen), -1), axis=1)}
    assert {tuple(x) for x in np.sort(one.reshape(64, -1) / 255, axis=1)} == values


def test_the_class_is_forgotten_and_distilling_keeps_the_others(pictures):
  subject, data = pictures.subject, pictures.data
  look = lambda s, name: supervised.predict(s.model, s.params, s.state, data.arrays["image"][data.sets[name]])[0]
  right = lambda s, name: np.mean(look(s, name).argmax(-1) == data.arrays["label"][data.sets[name]])
  apart = lambda s: np.abs(look(s, "retain") - look(subject, "retain"))[:, :2].mean()
  run = lambda alpha: fit(scar.method(alpha=alpha, source="retain", steps=60, rate=1e-2, forget_batch=30), pictures)
  assert right(subject, "forget") > 0.9  # doing nothing stays there
  after, alone = run(5.0), run(0.0)
  assert right(after, "forget") < 0.1 and right(after, "retain") > 0.95
  assert apart(after) < 0.5 * apart(alone)


def test_what_makes_no_sense_is_refused(pictures):
  for field, options in {
    "power": dict(power=np.float32(2)), "source": dict(source="forget"), "pull": dict(pull=-1),
    "others": dict(others=-1),
  }.items():  # fmt: skip
    with pytest.raises(Invalid, match=f"method.{field}"):
      scar.method(**options)
  with pytest.raises(Invalid, match="elsewhere"):
    scar.method(source="elsewhere").init(jax.random.key(0), pictures)
  sets = {**pictures.data.sets, "retain": pictures.data.sets["retain"][:1]}
  with pytest.raises(Invalid, match="one point"):
    scar.method().init(jax.random.key(0), pictures._replace(data=pictures.data._replace(sets=sets)))

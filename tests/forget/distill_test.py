import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.forget import distill, pseudo_label
from ue_jax.train import loop, supervised

KEY = jax.random.key(0)
FEW = dict(passes=2, forget_steps=1, retain_steps=2, forget_batch=10, retain_batch=12)
FAR = {  # the distances between two sets of features, of which each row has its part
  "similarity": distill.similarity, "squared": functools.partial(distill.similarity, squared=True),
  "relation": functools.partial(distill.relation, angle=0.7), "features": distill.features,
}  # fmt: skip
fit = functools.partial(loop.fit, mode="one")


def unit(x):
  return x / np.where(np.linalg.norm(x, axis=-1) > 0, np.linalg.norm(x, axis=-1), 1)[..., None]


def huber(x):
  return np.where(np.abs(x) < 1, x * x / 2, np.abs(x) - 0.5)


def oracle(kind, before, now, w, angle=0.7):
  """Entry by entry, in float64, over the rows that count."""
  before, now, w = np.float64(before)[w > 0], np.float64(now)[w > 0], np.float64(w)[w > 0]
  n, rows = w.sum(), range(len(w))
  if kind == "features":
    return np.average(np.mean((now - before) ** 2, axis=-1), weights=w)
  if kind != "relation":
    gram = lambda x: np.stack([g / (np.sqrt(np.sum(w * g * g)) or 1) for g in x @ x.T])
    square = sum(w[i] * w[j] * (gram(now) - gram(before))[i, j] ** 2 for i in rows for j in rows)
    return (square if kind == "squared" else np.sqrt(square)) / n**2
  far, cosine = [], []
  for x in (unit(before), unit(now)):
    ways = np.stack([[x[j] - x[i] for j in rows] for i in rows])
    length = np.linalg.norm(ways, axis=-1)
    pairs = [(w[i] * w[j], length[i, j]) for i in rows for j in rows if i != j]
    far.append(length / np.average([d for _, d in pairs], weights=[p for p, _ in pairs]))
    cosine.append(np.stack([unit(way) @ unit(way).T for way in ways]))
  ij, ijk = np.einsum("i,j->ij", w, w) / n**2, np.einsum("i,j,k->ijk", w, w, w) / n**3
  return np.sum(ij * huber(far[1] - far[0])) + angle * np.sum(ijk * huber(cosine[1] - cosine[0]))


def some(seed=0):
  """Features of 8 samples before and now, the latter with two that coincide and one that is 0, and ragged weights."""
  rng = np.random.default_rng(seed)
  before, now = rng.normal(size=(2, 8, 5)).astype(np.float32)
  now[3], now[5] = now[2], 0
  return before, now, np.float32([1, 0, 0.5, 1, 1, 0.3, 0, 1])


@functools.cache
def compiled(kind):
  """The distance of two sets of features, and its slope by the second."""
  return jax.jit(jax.value_and_grad(lambda x, before, w: jnp.sum(w * FAR[kind](before, x, w)) / jnp.sum(w)))


@pytest.mark.parametrize("kind", FAR)
def test_the_distance_is_the_formula_with_ragged_weights_and_padding_changes_nothing(kind):
  before, now, w = some()
  value, slope = compiled(kind)(now, before, w)
  assert float(value) == pytest.approx(oracle(kind, before, now, w), rel=1e-5)
  spoiled = np.where(w[:, None] > 0, now, 1e3).astype(np.float32)
  assert float(compiled(kind)(spoiled, before, w)[0]) == pytest.approx(float(value), rel=1e-6)
  assert not np.asarray(slope)[w == 0].any()


@pytest.mark.parametrize("kind", FAR)
def test_its_slope_is_that_of_differences_and_bounded_where_features_coincide(kind):
  before, now, w = some()
  slope = np.asarray(compiled(kind)(now, before, w)[1])
  assert np.isfinite(slope).all() and np.abs(slope).max() < 10
  free = [0, 4, 7]  # the others coincide or are 0 or do not count
  way = np.zeros_like(now)
  way[free] = np.random.default_rng(1).normal(size=(3, 5))
  ends = [oracle(kind, before, np.float64(now) + h * way, w) for h in (1e-4, -1e-4)]
  assert np.sum(slope * way) == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-3)
  for x in (now, 0 * now):  # nothing has moved, and all are in one place
    value, slope = compiled(kind)(x, x, w)
    assert value < 1e-9 and np.abs(slope).max() < 1e-6


def test_relations_see_neither_a_turn_nor_a_factor_and_features_see_both():
  before, now, w = some()
  turn = np.linalg.qr(np.random.default_rng(2).normal(size=(5, 5)))[0].astype(np.float32)
  for kind in FAR:
    value, turned, longer = (float(compiled(kind)(x, before, w)[0]) for x in (now, now @ turn, 3 * now))
    seen = [abs(other - value) / value for other in (turned, longer)]
    assert min(seen) > 0.05 if kind == "features" else max(seen) < 1e-5
  far = lambda x: distill.distances(distill.beside(before), distill.beside(x), w)  # without a common length
  np.testing.assert_allclose(far(now), far(3 * now), rtol=1e-4)
  assert not np.allclose(far(now), far(now * np.linspace(1, 3, 8, dtype=np.float32)[:, None]), rtol=0.05)


def nll(z, label):
  return np.mean(np.log(np.exp(z).sum(-1)) - z[np.arange(len(z)), label])


@pytest.mark.parametrize("forget, distil", [
  ("ascent", "similarity"), ("pseudo_label", "relation"), ("random_labels", "features"), ("ascent", "outputs"),
])  # fmt: skip
def test_both_passes_are_the_formula_and_their_numbers_may_be_traced(pictures, forget, distil):
  own = dict(relation=lambda t: dict(angle=0.7), outputs=lambda t: dict(temperature=t)).get(distil, lambda t: {})
  make = lambda push, gamma, alpha, t: distill.method(
    forget, distil, push=push, gamma=gamma, alpha=alpha, **own(t), **FEW)  # fmt: skip
  method, apply, first = make(1.0, 1.0, 1.0, 1.0), pictures.subject.model.apply, pictures.subject.params
  state = method.init(KEY, pictures)
  state = state._replace(params=jax.tree.map(lambda x: x * 0.6, state.params))
  step = jax.jit(lambda batch, *numbers: make(*numbers).step(state, batch)[1]["loss"])
  look = lambda params, part: [np.float64(x) for x in apply(params, part["image"])[:2]]
  for push, gamma, alpha, t in ((1.0, 10.0, 10.0, 1.0), (0.6, 0.3, 2.0, 2.0)):
    up, down = method.batch(0, pictures, 0), method.batch(0, pictures, 1)
    f, r = up["forget"], down["retain"]
    aim = pseudo_label.targets(pictures, 3)[f["row"]] if forget == "pseudo_label" else f["label"]
    want = push * nll(look(state.params, f)[0], aim) * (-1 if forget == "ascent" else 1)
    assert float(step(up, push, gamma, alpha, t)) == pytest.approx(want, rel=1e-4)
    (z, x), (z_now, x_now) = look(first, r), look(state.params, r)
    if distil == "outputs":
      p, q = (np.exp(y / t) / np.exp(y / t).sum(-1, keepdims=True) for y in (z, z_now))
      far = t * t * np.mean(np.sum(p * np.log(p / q), axis=-1))
    else:
      far = oracle(distil, x, x_now, r["mask"])
    want = gamma * nll(z_now, r["label"]) + alpha * far
    assert float(step(down, push, gamma, alpha, t)) == pytest.approx(want, rel=1e-4)


def test_the_passes_take_turns_and_random_labels_are_of_all_classes_and_drawn_at_every_step(pictures):
  method = distill.method("random_labels", **FEW | dict(passes=30, forget_batch=30))
  batches = [method.batch(0, pictures, t) for t in range(method.steps)]
  turns = [[name for name in ("forget", "retain") if batch[name]["mask"].any()] for batch in batches]
  assert turns == [["forget"], ["retain"], ["retain"]] * 30
  drawn = np.stack([b["forget"]["label"] for b in batches[::3]])  # all 30 samples, in an order of each epoch
  rows = np.stack([b["forget"]["row"] for b in batches[::3]])
  own = drawn[np.arange(30)[:, None], np.argsort(rows, axis=1)]
  assert (own[0] != own[1]).any() and drawn.dtype == np.int32
  np.testing.assert_allclose(np.bincount(own.ravel()) / 900, 1 / 3, atol=0.06)
  kept = pictures.data.arrays["label"][pictures.data.sets["retain"]]
  np.testing.assert_array_equal(batches[1]["retain"]["label"], kept[batches[1]["retain"]["row"]])


@pytest.mark.parametrize("distil", ["similarity", "relation"])
def test_over_devices_the_relations_are_those_of_the_whole_batch(assert_same_over_devices, pictures, distil):
  more = FEW | dict(forget_batch=11, retain_batch=7, retain_steps=1)
  method = distill.method("ascent", distil, alpha=300.0, rate=0.05, momentum=0.0, **more)
  assert_same_over_devices(method, pictures, steps=2)


def test_the_class_is_forgotten_the_others_are_kept_and_distilling_holds_the_features(pictures):
  subject, data = pictures.subject, pictures.data
  look = lambda s, name: supervised.predict(s.model, s.params, s.state, data.arrays["image"][data.sets[name]])
  right = lambda s, name: np.mean(look(s, name)[0].argmax(-1) == data.arrays["label"][data.sets[name]])
  apart = lambda s: np.mean((look(s, "retain")[1] - look(subject, "retain")[1]) ** 2)
  more = dict(passes=4, forget_steps=2, retain_steps=8, forget_batch=30, retain_batch=30, gamma=1.0, optimizer="adam")
  run = lambda alpha: fit(distill.method("ascent", "features", alpha=alpha, rate=1e-2, **more), pictures)
  assert right(subject, "forget") > 0.9  # doing nothing stays there
  after, alone = run(3.0), run(0.0)
  assert right(after, "forget") < 0.1 and right(after, "retain") > 0.95
  assert apart(after) < 0.5 * apart(alone)


def test_what_makes_no_sense_is_refused(pictures):
  for field, options in {
    "forget": dict(forget="descent"), "distil": dict(distil="nothing"), "alpha": dict(alpha=-1.0),
    "temperature": dict(temperature=0), "passes": dict(passes=0), "retain_steps": dict(retain_steps=0),
    "squared": dict(distil="features", squared=True), "angle": dict(distil="similarity", angle=2.0),
  }.items():  # fmt: skip
    with pytest.raises(Invalid, match=f"method.{field}"):
      distill.method(**options)
  with pytest.raises(Invalid, match="method.temperature"):  # not read, so not refused for its value alone
    distill.method(distil="relation", temperature=2.0)
  with pytest.raises(Invalid, match="elsewhere"):
    distill.method(keep=("elsewhere",)).init(KEY, pictures)

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Subject, check_data
from ue_jax.core.tree import fingerprint
from ue_jax.models import cnn
from ue_jax.parallel import spread
from ue_jax.protect import budget, noise, publish
from ue_jax.protect import unlearnable_clusters as uc
from ue_jax.train import optim

K, EPS = 4, 16 / 255


def pictures(n=300, size=16):
  """Textured pictures with a faint square in one of four corners, and a label that has nothing to do with it."""
  rng = np.random.default_rng(0)
  corner, label = rng.integers(0, 4, n), rng.integers(0, 3, n)
  image = rng.uniform(0.35, 0.45, (n, size, size, 3)) + 0.01 * label[:, None, None, None]
  for i, c in enumerate(corner):
    image[i, (c // 2) * 8 + 2 : (c // 2) * 8 + 6, (c % 2) * 8 + 2 : (c % 2) * 8 + 6] += 0.08
  arrays = {
    "image": np.round(np.clip(image, 0, 1) * 255).astype(np.uint8),
    "label": label.astype(np.int32),
    "corner": corner.astype(np.int32),
    "index": np.arange(n, dtype=np.int32),
  }
  return Data(arrays, {"train": np.arange(240, dtype=np.int32), "test": np.arange(240, n, dtype=np.int32)})


@pytest.fixture(scope="module")
def data():
  return pictures()


@pytest.fixture(scope="module")
def subject(data):
  """A small network trained on the corners for a moment."""
  model = cnn.model(classes=4, widths=(8, 16))
  x, y = jnp.asarray(data.arrays["image"][:240]), jnp.asarray(data.arrays["corner"][:240])
  params, _ = model.init(jax.random.key(1), x[:1])
  tx = optim.make("adam", 3e-3)

  @jax.jit
  def train(params, opt):
    loss = lambda p: optax.softmax_cross_entropy_with_integer_labels(model.apply(p, x).logits, y).mean()
    updates, opt = tx.update(jax.grad(loss)(params), opt)
    return optax.apply_updates(params, updates), opt

  opt = tx.init(params)
  for _ in range(60):
    params, opt = train(params, opt)
  assert float((jax.jit(model.apply)(params, x).logits.argmax(1) == y).mean()) > 0.9
  return Subject(model, params)


def craft(procedure, data, steps, seed=0):
  state = procedure.init(jax.random.key(seed), data)
  step = jax.jit(procedure.step)
  for t in range(steps):
    state, metrics = step(state, procedure.batch(seed, data, t))
  return state, metrics


@pytest.fixture(scope="module")
def crafted(subject, data):
  procedure = uc.protect(subject, k=K, eps=EPS, batch_size=64)
  state, _ = craft(procedure, data, 80)
  return procedure, state, procedure.finish(state, data)


def kl_and_redirect(subject, state, image, labels, whole):
  """By cluster, on bytes: KL to the centre of the next cluster, and who lands there."""
  centers = np.asarray(state.centers, np.float64)
  soft = lambda z: np.exp(z - z.max(-1, keepdims=True)) / np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True)
  kl, redirect = [], []
  for i in range(K):
    moved = publish.add(image, whole[i])
    features = np.asarray(jax.jit(subject.model.apply)(subject.params, jnp.asarray(moved)).features, np.float64)
    q, p = soft(centers[(i + 1) % K]), soft(features)
    kl.append((q * (np.log(q) - np.log(p))).sum(1).mean())
    nearest = ((features[labels == i][:, None] - centers) ** 2).sum(-1).argmin(1)
    redirect.append((nearest == (i + 1) % K).mean())
  return np.array(kl), np.array(redirect)


def test_every_cluster_is_dragged_to_the_next_and_random_signs_do_not_do_it(crafted, subject, data):
  _, state, _ = crafted
  image, labels = data.arrays["image"][:240], np.asarray(state.labels)[:240]
  zero = np.zeros(state.delta.shape, np.int16)
  kl_0, redirect_0 = kl_and_redirect(subject, state, image, labels, zero)
  kl, redirect = kl_and_redirect(subject, state, image, labels, uc.grey_levels(state))
  signs = 16 * np.asarray(noise.signs(jax.random.key(5), jnp.arange(K), state.delta.shape[1:]), np.int16)
  kl_r, redirect_r = kl_and_redirect(subject, state, image, labels, signs)
  assert (kl <= 0.5 * kl_0).all(), kl / kl_0
  assert (kl_r >= 0.9 * kl_0).all(), kl_r / kl_0
  assert redirect.mean() >= 0.8 and redirect_r.mean() <= 0.2 and redirect_0.mean() <= 0.05


def test_there_are_exactly_k_perturbations_within_the_budget_before_and_after_rounding(crafted, data):
  _, state, out = crafted
  check_data(out)
  delta = np.asarray(state.delta)
  assert len(np.unique(delta.reshape(K, -1), axis=0)) == K
  assert np.abs(delta).max() <= EPS + 1e-6
  for name, source in (("train", "train"), ("test_protected", "test")):
    before, after = data.arrays["image"][data.sets[source]], out.arrays["image"][out.sets[name]]
    found = budget.audit(before, after)
    assert found["distinct"] == K and found["linf"].max() <= EPS + 1e-6
    labels = np.asarray(state.labels)[data.sets[source]]
    np.testing.assert_array_equal(after, publish.add(before, np.round(delta * 255).astype(np.int16)[labels]))
  np.testing.assert_array_equal(out.arrays["image"][data.sets["test"]], data.arrays["image"][data.sets["test"]])


def test_labels_do_not_matter_and_keys_decide(subject, data):
  other = Data({**data.arrays, "label": data.arrays["label"][::-1], "corner": 3 - data.arrays["corner"]}, data.sets)
  none = Data({k: data.arrays[k] for k in ("image", "index")}, data.sets)
  procedure = uc.protect(subject, k=K, eps=EPS, batch_size=32, start="sign")
  made = [procedure.finish(craft(procedure, d, 3, s)[0], d).arrays["image"]
          for d, s in ((data, 0), (data, 0), (other, 0), (none, 0), (data, 1))]  # fmt: skip
  for same in made[1:4]:
    np.testing.assert_array_equal(made[0], same)
  assert (made[0] != made[4]).any()
  one, other = (np.asarray(procedure.init(jax.random.key(s), data).delta) for s in (0, 1))
  assert (one != other).any() and (one[0] != one[1]).any() and np.abs([one, other]).max() == np.float32(EPS)


def test_k_vmapped_runs_equal_runs_one_after_another(subject, data):
  procedure = uc.protect(subject, k=K, eps=EPS, batch_size=32, start="sign")
  together, metrics = craft(procedure, data, 3)
  for i in range(K):
    state = procedure.init(jax.random.key(0), data)
    sliced = {name: getattr(state, name)[i : i + 1] for name in ("which", "targets", "aims", "carry", "delta")}
    state = state._replace(**sliced)
    step = jax.jit(procedure.step)
    for t in range(3):
      state, one = step(state, procedure.batch(0, data, t))
    np.testing.assert_allclose(state.delta[0], together.delta[i], atol=1e-6)
    np.testing.assert_allclose(one["kl"][0], metrics["kl"][i], rtol=1e-4)


def test_passes_in_blocks_of_clusters_equal_one_vmap(subject, data):
  a, _ = craft(uc.protect(subject, k=K, batch_size=16, start="sign"), data, 2)
  b, _ = craft(uc.protect(subject, k=K, batch_size=16, start="sign", chunk=3), data, 2)
  np.testing.assert_allclose(a.delta, b.delta, atol=1e-6)


@pytest.mark.parametrize("split", ["batch", "clusters"])
def test_four_devices_give_what_one_gives(subject, data, split):
  procedure = uc.protect(subject, k=K, eps=EPS, batch_size=30, start="sign", split=split, step_size=1e-3, norm="l2")
  state = procedure.init(jax.random.key(0), data)
  batch = procedure.batch(0, data, 0)
  one, expected = spread.spread(procedure.step, mode="one")(state, batch)
  for mode in ("jit", "pmap", "shard_map"):
    many, metrics = spread.spread(procedure.step, mode=mode, axes=procedure.axes)(state, batch)
    np.testing.assert_allclose(many.delta, one.delta, atol=1e-6)
    for got, wanted in zip(jax.tree.leaves(metrics), jax.tree.leaves(expected)):
      np.testing.assert_allclose(got, wanted, rtol=1e-4)


def test_padding_changes_nothing(subject, data):
  procedure = uc.protect(subject, k=K, batch_size=20, start="sign", augment=True)
  state = procedure.init(jax.random.key(0), data)
  batch = procedure.batch(0, data, 0)
  padded = {k: np.concatenate([v, 0 * v[:5] if k == "mask" else v[:5]]) for k, v in batch.items()}
  a, b = jax.jit(procedure.step)(state, batch), jax.jit(procedure.step)(state, padded)
  np.testing.assert_allclose(a[1]["kl"], b[1]["kl"], rtol=1e-5)
  np.testing.assert_allclose(a[1]["redirect"], b[1]["redirect"], rtol=1e-5)


def test_a_generator_lowers_the_divergence_within_the_budget(subject, data):
  procedure = uc.protect(
    subject, k=2, eps=EPS, param="generator", steps=15, rate=3e-3, batch_size=32, generator_width=4,
    generator_blocks=1,
  )  # fmt: skip
  state = procedure.init(jax.random.key(0), data)
  first = procedure.probe(state, data)
  state, _ = craft(procedure, data, 15)
  assert float(procedure.probe(state, data)["kl"]) < 0.8 * float(first["kl"])
  assert np.abs(state.delta).max() <= EPS + 1e-6 and np.abs(state.delta[0] - state.delta[1]).max() > 0.01
  out = procedure.finish(state, data)
  assert budget.audit(data.arrays["image"], out.arrays["image"][:300])["linf"].max() <= EPS + 1e-6


def test_the_probe_reports_what_an_independent_measurement_finds(crafted, subject, data):
  procedure, state, _ = crafted
  probed = procedure.probe(state, data)
  kl, redirect = kl_and_redirect(
    subject, state, data.arrays["image"][:240], np.asarray(state.labels)[:240], uc.grey_levels(state)
  )
  shares = np.bincount(np.asarray(state.labels)[:240], minlength=K) / 240
  assert float(probed["kl"]) == pytest.approx(kl.mean(), rel=0.05)
  assert float(probed["redirect"]) == pytest.approx((shares * redirect).sum(), abs=0.02)


def test_l2_perturbations_keep_their_norm(subject, data):
  state, _ = craft(uc.protect(subject, k=K, eps=0.5, norm="l2", batch_size=32), data, 6)
  norms = np.sqrt((np.asarray(state.delta) ** 2).sum((1, 2, 3)))
  assert (norms <= 0.5 * (1 + 1e-5)).all() and (norms > 0.2).all()


def test_the_control_shares_the_clusters_exactly(crafted, subject, data):
  control = noise.protect("cluster", surrogate=subject, k=K).init(jax.random.key(9), data)
  np.testing.assert_array_equal(control.groups, crafted[1].labels)


def test_clusters_follow_what_the_surrogate_sees(crafted, data):
  from ue_jax.cluster import scores

  labels = np.asarray(crafted[1].labels)
  assert scores.nmi(data.arrays["corner"], labels) > 0.5 > 0.1 > scores.nmi(data.arrays["label"], labels)


def test_the_painter_protects_pictures_of_any_size_within_the_budget(crafted, data):
  _, state, out = crafted
  paint = uc.painter(state, data)
  np.testing.assert_array_equal(paint(data.arrays["image"][7], 7), out.arrays["image"][7])
  rng = np.random.default_rng(1)
  for shape in ((24, 24, 3), (100, 37, 3), (9, 200, 3)):
    picture = rng.integers(0, 256, shape).astype(np.uint8)
    painted = paint(picture, 3)
    assert painted.shape == shape and painted.dtype == np.uint8
    assert 1 <= np.abs(painted.astype(int) - picture).max() <= 16
  with pytest.raises(Invalid, match="data"):
    uc.painter(state, pictures(310))


@pytest.mark.parametrize("mode, side", [("noise", 16), ("img", 24)])
def test_a_surrogate_of_another_size_is_served(data, mode, side):
  model = cnn.model(classes=4, widths=(8,), head="mean")
  params, _ = model.init(jax.random.key(0), jnp.zeros((1, 24, 24, 3)))
  procedure = uc.protect(Subject(model, params), k=2, size=24, mode=mode, batch_size=8, start="sign")
  state, _ = craft(procedure, data, 1)
  assert state.delta.shape == (2, 24, 24, 3)
  out = check_data(procedure.finish(state, data))
  assert out.arrays["image"].shape[1:] == (side, side, 3)


def test_a_step_keeps_shapes_and_equal_states_give_equal_bits(subject, data):
  procedure = uc.protect(subject, k=K, batch_size=8, augment=True)
  a, b = (craft(procedure, data, 2)[0] for _ in range(2))
  assert fingerprint(a) == fingerprint(b) and int(a.step) == 2
  start = procedure.init(jax.random.key(0), data)
  shapes = functools.partial(jax.tree.map, lambda x: (x.shape, x.dtype))
  assert shapes(start) == shapes(a)


@pytest.mark.parametrize(
  "bad, field",
  [
    ({"eps": 1.5}, "eps"), ({"eps": -0.01}, "eps"), ({"k": 1}, "k"), ({"offset": 8}, "offset"),
    ({"norm": "l1"}, "norm"), ({"param": "pixels"}, "param"), ({"temperature": 0.0}, "temperature"),
    ({"size": 4}, "size"), ({"feature": "pixels"}, "feature"), ({"batch_size": 0}, "batch_size"),
  ],
)  # fmt: skip
def test_values_out_of_range_are_named(bad, field, subject):
  with pytest.raises(Invalid, match=f"protect.{field}"):
    uc.protect(subject, **{"k": K, **bad})


def test_more_clusters_than_pictures_are_named(subject, data):
  with pytest.raises(Invalid, match="protect.k"):
    uc.protect(subject, k=241).init(jax.random.key(0), data)

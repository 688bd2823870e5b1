import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.cluster import scores, tell
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.core.procedure import run_scan
from ue_jax.parallel import spread

SEEDS = (0, 1, 2)


def data_of(x, **arrays):
  index = np.arange(len(x), dtype=np.int32)
  return Data({"x": x.astype(np.float32), **arrays, "index": index}, {"some": index[: len(x) // 2]})


@pytest.fixture(scope="module")
def digits():
  from sklearn.datasets import load_digits

  x, y = load_digits(return_X_y=True)
  return (x / 16).astype(np.float32), y


@pytest.fixture(scope="module")
def directions(digits):
  """Digits in their 20 main directions, scaled to length one."""
  x = digits[0] - digits[0].mean(0)
  x = x @ np.linalg.svd(x, full_matrices=False)[2][:20].T
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def train(procedure, data, seeds=SEEDS):
  """The states before and after, with a leading axis of seeds: all runs in one vmapped scan over the batches."""
  first = [procedure.init(jax.random.key(seed), data) for seed in seeds]
  first = jax.tree.map(lambda *leaf: jnp.stack(leaf), *first)
  stacked = [procedure.batch(0, data, t) for t in range(procedure.steps)]
  stacked = jax.tree.map(lambda *leaf: np.stack(leaf), *stacked)
  run = jax.jit(lambda states, batches: jax.vmap(lambda s: run_scan(procedure, s, batches)[0])(states))
  return first, run(first, stacked)


def chord(x, centers):
  return np.mean(2 - 2 * np.max(x @ centers.T, axis=1))


def lloyd(x, centers):
  """Spherical k-means to its end."""
  labels = None
  while True:
    new = np.argmax(x @ centers.T, axis=1)
    if labels is not None and (new == labels).all():
      return chord(x, centers)
    labels = new
    for c in np.unique(labels):
      centers = centers.copy()
      centers[c] = x[labels == c].sum(0)
      centers[c] /= np.linalg.norm(centers[c])


def test_without_an_encoder_it_ends_where_spherical_lloyd_ends(directions):
  procedure = tell.cluster(10, "identity", "x", steps=420, centre_rate=0.1, schedule="linear", start="rows")
  first, last = train(procedure, data_of(directions))
  for a, b in zip(np.asarray(first.params["centers"]), np.asarray(last.params["centers"])):
    assert chord(directions, a) > 0.85
    assert chord(directions, b) <= 1.02 * lloyd(directions, a)
    np.testing.assert_allclose(np.linalg.norm(b, axis=1), 1, rtol=1e-5)


def test_one_pass_in_the_order_of_the_stream_is_within_a_tenth_of_lloyd(directions):
  settings = dict(steps=56, batch_size=32, centre_rate=0.3, schedule="linear", shuffle=False, start="rows")
  procedure = tell.cluster(10, "identity", "x", **settings)
  data = data_of(directions)
  np.testing.assert_array_equal(procedure.batch(5, data, 3)["x"], directions[96:128])
  first, last = train(procedure, data)
  for a, b in zip(np.asarray(first.params["centers"]), np.asarray(last.params["centers"])):
    assert chord(directions, b) <= 1.10 * lloyd(directions, a)


@pytest.fixture(scope="module")
def joint(digits):
  """A small network on 800 digits: procedure, data, states before and after."""
  x = digits[0][:800]
  settings = dict(steps=240, batch_size=100, widths=(64,), rate=0.005, reseed=True)
  procedure = tell.cluster(10, "mlp", "x", **settings)
  return procedure, data_of(x), *train(procedure, data_of(x), SEEDS[:1])


def test_training_with_an_encoder_finds_the_digits(digits, joint):
  procedure, data, first, last = joint
  y = digits[1][:800]
  before, after = (procedure.finish(jax.tree.map(lambda leaf: leaf[0], s), data) for s in (first, last))
  assert scores.accuracy(y, after.labels) >= scores.accuracy(y, before.labels) + 0.2
  assert len(np.unique(after.labels)) == 10 and after.cost < 0.6 * before.cost
  assert after.labels.dtype == np.int32 and after.centers.shape == (10, 10)


def test_centres_move_in_even_epochs_and_the_encoder_follows_in_odd_ones(joint):
  procedure, data, first, _ = joint
  state = jax.tree.map(lambda leaf: leaf[0], first)
  model = tell.network("mlp", 10, (64,), 0.0, "sigmoid", "float32")
  even, odd = procedure.batch(0, data, 0), procedure.batch(0, data, 8)  # 8 batches an epoch
  assert (even["centres"], even["encoder"], odd["centres"], odd["encoder"]) == (1, 0, 0, 1)
  assert even["begins"] == odd["begins"] == 1 and procedure.batch(0, data, 9)["begins"] == 0

  @jax.jit
  def gradient(batch, lam):
    def loss(params):
      terms, _ = tell.objective(model, lam)(params, state.state, {}, batch, jax.random.key(0))
      return sum(t.scale * t.total / t.weight for t in terms.values())

    return jax.grad(loss)(state.params)

  alone, together, drawn = gradient(even, 0.0), gradient(even, 1.0), gradient(odd, 1.0)
  jax.tree.map(np.testing.assert_array_equal, alone["net"], together["net"])
  assert float(jnp.abs(together["centers"]).max()) > 1e-3
  assert (np.asarray(drawn["centers"]) == 0).all()
  part = lambda tree: np.asarray(tree["net"]["encode_0"]["kernel"])
  assert np.abs(part(drawn) - part(gradient(odd, 0.0))).max() > 1e-3
  step = jax.jit(procedure.step)
  rested, moved = step(state, odd)[0].params["centers"], step(state, even)[0].params["centers"]
  np.testing.assert_array_equal(rested, state.params["centers"])
  assert float(jnp.abs(moved - state.params["centers"]).max()) > 0.01


def test_the_terms_equal_numpy_and_padding_counts_nothing():
  rng = np.random.default_rng(0)
  x, u = rng.normal(size=(12, 5)), rng.normal(size=(4, 5))
  z, u = x / np.linalg.norm(x, axis=1, keepdims=True), u / np.linalg.norm(u, axis=1, keepdims=True)
  mask = (np.arange(12) < 9).astype(np.float32)
  batch = {"x": x.astype(np.float32), "mask": mask, "centres": 1.0, "encoder": 0.0, "begins": 1.0}
  params = {"net": {}, "centers": jnp.asarray(u, jnp.float32)}
  state = {"net": {}, "used": jnp.ones(4)}
  terms, after = tell.objective(tell.IDENTITY, 0.3)(params, state, {}, jax.tree.map(jnp.asarray, batch), None)
  best = (z @ u.T)[:9]
  assert float(terms["clustering"].total) == pytest.approx(np.sum(1 - best.max(1)), rel=1e-5)
  assert float(terms["clustering"].weight) == 9 and terms["clustering"].scale == 0.3
  np.testing.assert_array_equal(after["used"], np.bincount(best.argmax(1), minlength=4))


@pytest.mark.parametrize("compat", [False, True])
def test_a_centre_takes_the_step_that_is_asked_or_the_published_one(compat):
  rng = np.random.default_rng(1)
  u = rng.normal(size=(3, 4))
  u /= np.linalg.norm(u, axis=1, keepdims=True)
  tx = tell.centre_steps(0.2, lambda count: 1.0, compat)
  ours, state = jnp.asarray(u, jnp.float32), tx.init(jnp.asarray(u, jnp.float32))
  w, seen, moved = 2 * tell.SCALE * u, np.zeros((3, 4)), np.zeros((3, 4))
  for _ in range(3):
    g = rng.normal(size=(3, 4)) * 1e-3
    g[2] = 0
    updates, state = tx.update(jnp.asarray(g, jnp.float32), state, ours)
    ours = ours + updates
    way = 0.2 * g / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-30)
    if compat:  # Adadelta with rate 1, rho 0.9, eps 1e-6 on rows of length 2 SCALE
      way = tell.SCALE * way
      seen = 0.9 * seen + 0.1 * way**2
      change = np.sqrt(moved + 1e-6) / np.sqrt(seen + 1e-6) * way
      moved = 0.9 * moved + 0.1 * change**2
      way = change
    w = w - way * (1 if compat else 2 * tell.SCALE)
    w = 2 * tell.SCALE * w / np.linalg.norm(w, axis=1, keepdims=True)
    np.testing.assert_allclose(ours, w / (2 * tell.SCALE), atol=1e-5)
  np.testing.assert_array_equal(ours[2], jnp.asarray(u[2], jnp.float32))


def test_unused_centres_move_to_the_farthest_codes_when_an_epoch_begins_on_any_number_of_devices():
  rng = np.random.default_rng(2)
  x = np.concatenate([rng.normal(size=(30, 3)) * 0.1 + [1, 0, 0], [[0, 0, 1.0]], [[0, 1.0, 0.0]]]).astype(np.float32)
  procedure = tell.cluster(4, "identity", "x", steps=4, batch_size=32, centre_rate=0.0, reseed=True)
  state = procedure.init(jax.random.key(0), data_of(x))
  used = jnp.asarray([3.0, 0.0, 0.0, 5.0])
  centers = jnp.asarray([[1.0, 0, 0], [-1.0, 0, 0], [-1.0, 0, 0], [1.0, 0.1, 0]])
  state = state._replace(params={"net": {}, "centers": tell.unit(centers)}, state={"net": {}, "used": used})
  batch, ends = procedure.batch(0, data_of(x), 0), []
  modes = (("one", 1), ("shard_map", 2))
  runs = [spread.spread(procedure.step, mode=mode, devices=jax.devices()[:n]) for mode, n in modes]
  for run in runs:
    after, _ = run(state, batch)
    ends.append(np.asarray(after.params["centers"]))
  for end in ends:
    np.testing.assert_allclose(end[[0, 3]], tell.unit(centers)[jnp.asarray([0, 3])], atol=1e-6)
    assert sorted(end[1:3].argmax(1).tolist()) == [1, 2] and (end[1:3].max(1) > 0.999).all()
    np.testing.assert_allclose(end, ends[0], atol=1e-6)
  still, _ = runs[0](state, {**batch, "begins": np.float32(0)})
  np.testing.assert_allclose(still.params["centers"], state.params["centers"], atol=1e-6)


def test_centres_can_be_looked_at_and_rows_assigned(digits, joint):
  procedure, data, _, last = joint
  last = jax.tree.map(lambda leaf: leaf[0], last)
  found = procedure.finish(last, data)
  model = tell.network("mlp", 10, (64,), 0.0, "sigmoid", "float32")
  network = tell.Network(model, last.params["net"], {}, jnp.asarray(found.centers), (64,))
  labels, codes = tell.assign(network, data.arrays["x"])
  np.testing.assert_array_equal(labels, found.labels)
  np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, rtol=1e-5)
  shown = tell.decoded(network)  # a centre looks like the mean of its cluster, and like that of no other
  means = np.stack([data.arrays["x"][labels == c].mean(0) for c in range(10)])
  near = ((shown[:, None] - means) ** 2).sum(-1).argmin(1)
  assert (near == np.arange(10)).mean() >= 0.8


def test_fitting_rows_gives_the_clustering_and_the_network(key):
  x = np.random.default_rng(3).normal(size=(60, 4))
  found, network = tell.fit(x, 3, key=key, encoder="identity", steps=25, batch_size=20)
  np.testing.assert_array_equal(tell.assign(network, x)[0], found.labels)
  assert found.centers.shape == (3, 4) and network.shape == (4,)


def test_centres_without_an_encoder_are_shown_in_the_shape_of_the_input():
  net = tell.Network(tell.IDENTITY, {}, {}, jnp.arange(8.0).reshape(2, 4), (2, 2, 1))
  assert tell.decoded(net).shape == (2, 2, 2, 1)


def test_a_set_is_trained_on_and_every_row_is_labelled(key):
  x = np.random.default_rng(4).normal(size=(40, 3))
  x[20:] += 100
  data = data_of(x)
  procedure = tell.cluster(2, "identity", "x", data_set="some", steps=2, batch_size=64)
  batch = procedure.batch(0, data, 1)
  assert len(batch["x"]) == 20 and batch["x"].max() < 50
  assert procedure.finish(procedure.init(key, data), data).labels.shape == (40,)


@pytest.mark.parametrize("field, kwargs", [
  ("k", dict(k=0)), ("k", dict(k=99)), ("encoder", dict(encoder="x")), ("start", dict(start="x")),
  ("array", dict(array="y")), ("data_set", dict(data_set="none")), ("steps", dict(steps=0)),
])  # fmt: skip
def test_wrong_settings_are_named(field, kwargs, key):
  with pytest.raises(Invalid, match=f"cluster.{field}"):
    tell.cluster(**{"encoder": "identity", "array": "x", **kwargs}).init(key, data_of(np.ones((30, 2))))


def test_rows_that_cannot_be_trained_on_are_named(key):
  for x in (np.full((9, 2), np.nan), np.array([["a"]]), np.zeros(3)):
    with pytest.raises(Invalid, match="cluster.x"):
      tell.fit(x, 2, key=key)

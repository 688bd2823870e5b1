import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.core.pictures import to_float
from ue_jax.defend import orthogonal
from ue_jax.models import mlp
from ue_jax.train import supervised
from ue_jax.train.loop import fit

RNG = np.random.default_rng(0)


def patched(n=480, classes=4, height=40):
  """Grey noise that says nothing, plus a pattern of signs that is the class's own."""
  label = (np.arange(n) % classes).astype(np.int32)
  patterns = RNG.choice([-1, 1], (classes, 8, 8, 1)) * height
  image = np.clip(RNG.normal(128, 30, (n, 8, 8, 1)) + patterns[label], 0, 255).astype(np.uint8)
  arrays = {"image": image, "label": label, "index": np.arange(n, dtype=np.int32)}
  rows = np.arange(n, dtype=np.int32)
  return Data(arrays, {"train": rows[:400], "test": rows[400:]}, {"labels": {"label": list("abcd")}})


DATA = patched()
DEFENCE = orthogonal.defend(steps=80, batch_size=200)


@pytest.fixture(scope="module")
def weights():
  state = DEFENCE.init(jax.random.key(0), DATA)
  step = jax.jit(DEFENCE.step)
  for t in range(80):
    state, _ = step(state, DEFENCE.batch(0, DATA, t))
  return state.params["weights"]


@pytest.fixture(scope="module")
def after():
  return fit(DEFENCE, DATA, mode="one")


def linear_accuracy(data):
  """Of a linear softmax trained and tried on the pictures of train: what it can read there."""
  model = mlp.model(classes=4, widths=())
  train = supervised.train(model, steps=80, batch_size=200, rate=0.1, optimizer="sgd", probe_sets=("train",))
  return fit(train, data, mode="one").history["train_accuracy"][-1]


def test_the_basis_is_orthonormal_and_spans_the_weights(weights):
  q = orthogonal.basis(weights)
  assert q.shape == (64, 4) and q.dtype == np.float32
  np.testing.assert_allclose(q.T @ q, np.eye(4), atol=1e-6)
  np.testing.assert_allclose(q @ (q.T @ np.asarray(weights)), weights, atol=1e-5)


def test_projected_pictures_have_nothing_in_the_span_and_keep_all_else(weights):
  q, x = orthogonal.basis(weights), to_float(DATA.arrays["image"][:400])
  found = np.asarray(orthogonal.project(jnp.asarray(x), q))
  assert np.abs(found.reshape(400, -1) @ q).max() < 1e-5 < np.abs(x.reshape(400, -1) @ q).max()
  removed = (x - found).reshape(400, -1)
  np.testing.assert_allclose(removed @ q @ q.T, removed, atol=1e-5)
  np.testing.assert_allclose(orthogonal.project(found, q), found, atol=1e-5)


def test_a_mean_that_is_given_back_is_the_same_for_all_pictures(weights):
  q, x = orthogonal.basis(weights), jnp.asarray(to_float(DATA.arrays["image"][:50]))
  back = np.asarray(orthogonal.project(x, q, jnp.arange(4.0)) - orthogonal.project(x, q)).reshape(50, -1)
  np.testing.assert_allclose(back, np.broadcast_to(q @ np.arange(4.0), (50, 64)), atol=1e-5)


def test_class_wise_patches_are_read_before_and_at_chance_after(after):
  assert linear_accuracy(DATA) > 0.95
  assert linear_accuracy(after) < 0.4  # of four classes


def test_the_bytes_keep_little_of_the_span_and_say_how_much(after):
  assert after.arrays["image"].dtype == np.uint8
  assert 0 <= after.info["orthogonal"]["left"] < 0.02
  assert after.info["orthogonal"]["cut"] < 0.05


def test_centred_pictures_keep_the_mean_of_the_span_and_others_lose_it(weights):
  q, rows = orthogonal.basis(weights), DATA.sets["train"]
  mean = lambda data: to_float(data.arrays["image"][rows]).reshape(400, -1).mean(0) @ q
  kept, lost = (mean(orthogonal.published(DATA, q, centre, False)) for centre in (True, False))
  np.testing.assert_allclose(kept, mean(DATA), atol=2e-3)
  np.testing.assert_allclose(lost, 0, atol=2e-3)
  assert np.abs(mean(DATA)).max() > 0.02


def test_the_other_rows_stay_unless_asked_for(after, weights):
  rows = DATA.sets["test"]
  np.testing.assert_array_equal(after.arrays["image"][rows], DATA.arrays["image"][rows])
  both = orthogonal.published(DATA, orthogonal.basis(weights), True, True).arrays["image"]
  assert not np.array_equal(both[rows], DATA.arrays["image"][rows])


def test_the_same_key_gives_the_same_bytes(after):
  np.testing.assert_array_equal(fit(DEFENCE, DATA, mode="one").arrays["image"], after.arrays["image"])


def test_what_does_not_fit_is_named():
  for bad in ({"steps": 0}, {"batch_size": 0}):
    with pytest.raises(Invalid, match=f"defend.{next(iter(bad))}"):
      orthogonal.defend(**bad)
  tiny = Data({**DATA.arrays, "image": DATA.arrays["image"][:, :2, :2]}, DATA.sets, DATA.info)
  with pytest.raises(Invalid, match="defend.label"):
    DEFENCE.init(jax.random.key(0), tiny)
  with pytest.raises(Invalid, match="defend.label"):
    orthogonal.defend(label="nose").init(jax.random.key(0), DATA)

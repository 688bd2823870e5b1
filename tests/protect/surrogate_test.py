import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Subject
from ue_jax.models import cnn
from ue_jax.models.model import Model, Out
from ue_jax.protect import surrogate, tap


def brightness():
  """A surrogate that sees the mean of each channel, and remembers whether it was asked in training mode."""

  def apply(params, x, *, state={}, train=False, key=None, taps={}):
    assert not train
    mean = jnp.mean(x, axis=(1, 2)) * params["gain"]
    return Out(mean[:, :1], mean, state)

  return Subject(Model(None, apply), {"gain": jnp.float32(10)})


@pytest.fixture
def data():
  rng = np.random.default_rng(0)
  level = np.array([30, 120, 210])[np.arange(45) % 3]
  image = np.clip(rng.normal(level[:, None, None, None], 5, (45, 8, 8, 3)), 0, 255).astype(np.uint8)
  sets = {"train": np.arange(30, dtype=np.int32), "test": np.arange(30, 45, dtype=np.int32)}
  return Data({"image": image, "index": np.arange(45, dtype=np.int32)}, sets)


def test_features_in_blocks_are_those_of_the_whole(data):
  for feature, width in (("features", 3), ("logits", 1)):
    view = surrogate.View(feature=feature)
    whole = surrogate.features(brightness(), data.arrays["image"], view, 100)
    np.testing.assert_allclose(surrogate.features(brightness(), data.arrays["image"], view, 7), whole, rtol=1e-6)
    expected = (data.arrays["image"] / 255).mean((1, 2)) * 10
    np.testing.assert_allclose(whole, expected[:, :width], rtol=1e-5)


@pytest.mark.parametrize("normalise", [False, True])
def test_all_rows_get_the_cluster_of_what_the_surrogate_sees(data, normalise):
  found = surrogate.group(data, brightness(), 3, normalise=normalise)
  labels = np.asarray(found.labels)
  assert len({tuple(labels[c::3]) for c in range(3)}) == 3 and all(len(set(labels[c::3])) == 1 for c in range(3))
  center = surrogate.features(brightness(), data.arrays["image"], surrogate.View())[:30][labels[:30] == 0].mean(0)
  np.testing.assert_allclose(found.centers[0] * found.scale + found.mean, center, rtol=1e-3)


def test_test_rows_do_not_move_the_centres(data):
  moved = data.arrays["image"].copy()
  moved[30:] = 255
  other = Data({**data.arrays, "image": moved}, data.sets)
  a, b = surrogate.group(data, brightness(), 3), surrogate.group(other, brightness(), 3)
  np.testing.assert_allclose(a.centers, b.centers, rtol=1e-6)


def test_crops_do_not_depend_on_the_place_in_the_batch(data):
  view, key = surrogate.View(size=16, augment=True), jax.random.key(3)
  image, index = jnp.asarray(data.arrays["image"][:6]), jnp.arange(6)
  a = surrogate.look(image, view, key, index)
  b = surrogate.look(image[::-1], view, key, index[::-1])
  np.testing.assert_allclose(a, b[::-1], atol=1e-6)
  assert a.shape == (6, 16, 16, 3) and float(jnp.abs(a - surrogate.look(image, view)).max()) > 0.005


def test_features_that_are_not_finite_are_named(data):
  broken = brightness()._replace(params={"gain": jnp.float32(np.nan)})
  with pytest.raises(Invalid, match="protect.surrogate"):
    surrogate.group(data, broken, 3)


def flat(side):
  model = cnn.model(classes=3, widths=(4, 4), head="flatten")
  return Subject(model, *model.init(jax.random.key(0), np.zeros((1, side, side, 3), np.uint8)))


def test_a_flat_surrogate_of_another_picture_size_is_named_with_both_sizes_and_what_to_do(data):
  with pytest.raises(Invalid, match=r"protect\.surrogate.*32x32x3.*sees 8x8x3.*train it on pictures of 8x8x3.*size=32"):
    surrogate.group(data, flat(32), 2, surrogate.View())
  with pytest.raises(Invalid, match="protect.surrogate.*32x32.*8x8"):
    labelled = data._replace(arrays={**data.arrays, "label": np.arange(45, dtype=np.int32) % 3})
    tap.protect(flat(32)).init(jax.random.key(0), labelled)
  assert surrogate.group(data, flat(8), 2, surrogate.View()).centers.shape == (2, 2 * 2 * 4)
  assert surrogate.group(data, flat(32), 2, surrogate.View(size=32)).centers.shape == (2, 8 * 8 * 4)


def test_a_surrogate_that_averages_over_space_fits_any_size():
  model = cnn.model(classes=3, widths=(4,), head="mean")
  made = Subject(model, *model.init(jax.random.key(0), np.zeros((1, 8, 8, 3), np.uint8)))
  surrogate.check_size(made, (5, 40, 24, 3))
  with pytest.raises(Invalid, match="made for 8x8x3 pictures, sees 8x8x1.*of any size[^;]*$"):
    surrogate.check_size(made, (5, 8, 8, 1))  # no size mends other channels

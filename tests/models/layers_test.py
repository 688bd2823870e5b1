import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.models import layers


class Net(nn.Module):
  @nn.compact
  def __call__(self, x, train, taps):
    x = nn.relu(nn.Conv(32, (3, 3), name="conv")(x))
    x = layers.batch_norm(train, "norm")(x)
    x = nn.Dropout(0.5, deterministic=not train)(x)
    x = x.reshape(x.shape[0], -1)
    return nn.Dense(50, name="head")(x), x


NET = layers.wrap(Net(), stateful=True)
IMAGE = jnp.ones((2, 4, 4, 16))


def test_weights_have_the_documented_deviation_and_are_cut_at_two_of_them(key):
  params, state = NET.init(key, IMAGE)
  for name, std in [("conv", np.sqrt(2 / (9 * 16))), ("head", np.sqrt(1 / 512))]:
    kernel = np.asarray(params[name]["kernel"])
    np.testing.assert_allclose(kernel.std(), std, rtol=0.05)
    assert abs(kernel.mean()) < 4 * std / np.sqrt(kernel.size)
    assert abs(kernel).max() <= 2 * std / layers.TRUNCATED_STD + 1e-6
    assert not params[name]["bias"].any()
  assert (params["norm"]["scale"] == 1).all() and not params["norm"]["bias"].any()
  assert (state["norm"]["var"] == 1).all() and not state["norm"]["mean"].any()


def test_leaves_are_different_cuts_of_the_draw(key):
  params, _ = NET.init(key, IMAGE)
  conv, head = (np.asarray(params[name]["kernel"]).ravel() for name in ("conv", "head"))
  assert not np.intersect1d(conv / np.abs(conv).max(), head / np.abs(head).max()).size > 5
  assert abs(np.corrcoef(conv, head[: conv.size])[0, 1]) < 0.1


def test_init_vmaps_over_keys():
  keys = jax.random.split(jax.random.key(3), 2)
  both = jax.vmap(lambda key: NET.init(key, IMAGE)[0])(keys)
  one, _ = NET.init(keys[1], IMAGE)
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b), both, one)


def test_dropout_follows_the_key_and_only_while_training(key):
  params, state = NET.init(key, IMAGE)
  both = {
    train: jax.jit(lambda key, train=train: NET.apply(params, IMAGE, state=state, train=train, key=key).logits)
    for train in (False, True)
  }
  run = lambda seed, train: both[train](jax.random.key(seed))
  assert (run(0, True) == run(0, True)).all()
  assert not np.allclose(run(0, True), run(1, True))
  assert (run(0, False) == run(1, False)).all()


def test_batch_statistics_without_a_state_are_refused(key):
  params, _ = NET.init(key, IMAGE)
  with pytest.raises(Invalid, match="state"):
    NET.apply(params, IMAGE)


def test_normalised_pictures_have_the_statistics_removed():
  mean, std = layers.NORMALISE["cifar10"]
  image = np.broadcast_to(np.float32(mean) + 2 * np.float32(std), (1, 2, 2, 3))
  np.testing.assert_allclose(layers.pictures(image, "cifar10"), 2, rtol=1e-4)
  np.testing.assert_allclose(layers.pictures(np.full((1, 2, 2, 1), 255, np.uint8), "half"), 1)
  np.testing.assert_allclose(layers.pictures(np.full((1, 2, 2, 1), 51, np.uint8)), 0.2, rtol=1e-6)


def test_three_channel_statistics_repeat_a_grey_picture():
  grey = np.full((1, 2, 2, 1), 100, np.uint8)
  np.testing.assert_array_equal(
    layers.pictures(grey, "imagenet"), layers.pictures(np.repeat(grey, 3, -1), "imagenet")
  )


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "8", (4, 0)])
def test_sizes_must_be_whole_and_positive(value):
  with pytest.raises(Invalid, match="model.width"):
    layers.check_positive(width=value)


def test_names_and_rates_out_of_range_are_refused():
  with pytest.raises(Invalid, match="imagenet"):
    layers.check_normalise("imagnet")
  with pytest.raises(Invalid, match="model.dropout"):
    layers.check_rate(1.0)


def test_equal_modules_are_one_model_and_other_settings_another():
  one = layers.wrap(Net(), stateful=True)
  assert one is layers.wrap(Net(), stateful=True) is not layers.wrap(Net(), stateful=True, std=layers.lecun)
  small, large = (one.init(jax.random.key(0), np.zeros((1, n, n, 3), np.float32))[0] for n in (4, 6))
  assert small["head"]["kernel"].shape == (512, 50) and large["head"]["kernel"].shape == (1152, 50)

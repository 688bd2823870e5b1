import jax
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.models import vae

ROWS = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


def test_without_a_key_it_decodes_the_mean_as_numpy_does(key):
  net = vae.model(latent=2, widths=(4,), output="sigmoid")
  params, state = net.init(key, ROWS)
  params = jax.tree.map(lambda p: np.asarray(p) + np.float32(0.1), params)  # so that the biases count
  out = net.apply(params, ROWS, state=state)
  layer = lambda name, x: x @ params[name]["kernel"] + params[name]["bias"]
  h = np.maximum(layer("encode_0", ROWS), 0)
  mean = layer("mean", h)
  back = layer("head", np.maximum(layer("decode_0", mean), 0))
  np.testing.assert_allclose(out.features, np.concatenate([mean, layer("spread", h)], 1), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(out.logits, 1 / (1 + np.exp(-back)), rtol=1e-4, atol=1e-5)


def test_with_a_key_z_has_the_spread_that_the_features_say(key):
  net = vae.model(latent=1, widths=(), output="linear")
  params, _ = net.init(key, ROWS)
  params["head"] = {"kernel": np.ones((1, 6), np.float32), "bias": np.zeros(6, np.float32)}
  many = np.repeat(ROWS[:1], 4000, axis=0)
  out = net.apply(params, many, key=key)
  z, (mean, s) = np.asarray(out.logits)[:, 0], np.asarray(out.features)[0]
  assert abs(z.mean() - mean) < 0.1 * np.exp(s / 2) and abs(z.std() / np.exp(s / 2) - 1) < 0.05


def test_settings_out_of_range_are_refused():
  with pytest.raises(Invalid, match="latent"):
    vae.model(latent=0)
  with pytest.raises(Invalid, match="output"):
    vae.model(output="tanh")

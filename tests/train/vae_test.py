import jax
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import vae as networks
from ue_jax.models.model import Model, Out
from ue_jax.train import vae


def test_the_loss_is_squared_error_plus_the_weighted_divergence(key):
  rows = np.float32([[1, 2], [0, -1]])
  mean, s = np.float32([[0.5], [-1]]), np.float32([[0.2], [-0.4]])
  net = Model(None, lambda params, x, *, key: Out(np.zeros_like(x), np.concatenate([mean, s], 1)))
  sigma2 = np.exp(np.float64(s))
  kl = -0.5 * np.sum(np.log(sigma2) + 1 - np.float64(mean) ** 2 - sigma2, axis=1)
  wanted = np.mean(np.sum(rows**2, axis=1) + 0.3 * kl)
  np.testing.assert_allclose(vae.loss(net, {}, rows, key, 0.3), wanted, rtol=1e-5)


def test_it_learns_the_line_that_rows_lie_on_and_calls_other_rows_unlikely(key):
  rng = np.random.default_rng(0)
  rows = (rng.normal(size=(200, 1)) * [1.0, -1.0, 2.0, 0.5]).astype(np.float32)
  net = networks.model(latent=2, widths=(16,), output="linear")
  params, curve = vae.fit(net, rows, key, steps=400, rate=1e-2)
  assert curve[-20:].mean() < 0.3 * curve[:5].mean()
  error = lambda x: float(np.mean(np.sum((np.asarray(net.apply(params, x).logits) - x) ** 2, axis=1)))
  assert error(rows) < 0.1 * error(rng.normal(size=(200, 4)).astype(np.float32) * 2)


def test_equal_keys_give_equal_bits_and_a_large_batch_takes_all_rows(key):
  rows = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
  net = networks.model(latent=1, widths=(2,))
  first, again = (vae.fit(net, rows, key, steps=3, batch_size=32)[0] for _ in range(2))
  other, _ = vae.fit(net, rows, jax.random.key(9), steps=3, batch_size=32)
  assert tree.fingerprint(first) == tree.fingerprint(again) != tree.fingerprint(other)
  with pytest.raises(Invalid, match="row"):
    vae.fit(net, rows[:0], key)

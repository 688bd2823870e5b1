import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.models import denoiser


def test_it_begins_with_no_noise_and_then_hears_the_time_and_all_places(key):
  net = denoiser.denoiser(width=4, blocks=1)
  x, times = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32), jnp.array([0.1, 0.7])
  params, state = net.init(key, (x, times))
  apply = jax.jit(net.apply)
  assert not state and not np.any(apply(params, (x, times)).logits)
  params = jax.tree.map(lambda leaf: leaf + 0.1, params)
  run = lambda x, times: apply(params, (x, times)).logits
  out = run(x, times)
  assert out.shape == x.shape and np.any(run(x, times[::-1]) != out)
  np.testing.assert_allclose(run(x[::-1], times[::-1])[::-1], out, atol=1e-5)
  assert np.all(np.any(run(x + 1.0 * (np.arange(7) == 6)[:, None], times)[:, :, 0] != out[:, :, 0], axis=(1, 2)))


def test_waves_by_hand():
  found = np.asarray(denoiser.waves(jnp.array([0.0, 0.5])))
  np.testing.assert_allclose(found[0], [0] * 16 + [1] * 16, atol=1e-6)
  np.testing.assert_allclose(found[1, [0, 15, 16]], [np.sin(0.5), np.sin(500), np.cos(0.5)], atol=1e-3)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"blocks": 1.5}])
def test_sizes_are_checked(wrong):
  with pytest.raises(Invalid, match="model"):
    denoiser.denoiser(**wrong)

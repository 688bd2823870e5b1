"""The text-modulated generator: its arithmetic against numpy, its start without text, and what the text then does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import modulated

RNG = np.random.default_rng(0)
TEXT, LATENT = (RNG.normal(size=(3, n)).astype(np.float32) for n in (6, 5))
NETS = {m: modulated.generator(2, 2, 3, modulation=m) for m in modulated.MODULATIONS}


@functools.cache
def made(modulation):
  return NETS[modulation].init(jax.random.key(0), (TEXT, LATENT))


@functools.cache
def woken(modulation):
  """Parameters in which what begins at zero is not."""
  wake = lambda name, x: x + (0.3 if name.endswith(("gamma_out/kernel", "beta_out/bias", "reach")) else 0.0)
  return tree.named_map(wake, made(modulation)[0])


@functools.partial(jax.jit, static_argnums=0)
def run(modulation, params, state, text, latent):
  return NETS[modulation].apply(params, (text, latent), state=state).features


@pytest.mark.parametrize("modulation", modulated.MODULATIONS)
def test_at_the_beginning_the_text_says_nothing_and_afterwards_it_does(modulation):
  params, state = made(modulation)
  out = run(modulation, params, state, TEXT, LATENT)
  assert out.shape == (3, 6, 6, 3) and (np.abs(out) < 1).all() and out.std() > 0.05
  np.testing.assert_array_equal(out, run(modulation, params, state, TEXT[::-1], LATENT))
  assert np.abs(out[0] - out[1]).max() > 0.05  # latents differ
  changed = run(modulation, woken(modulation), state, TEXT, LATENT)
  other = run(modulation, woken(modulation), state, TEXT[::-1], LATENT)
  assert np.abs(changed[0] - other[0]).max() > 1e-3
  np.testing.assert_allclose(changed[1], other[1], atol=1e-6)  # the middle text stayed where it was


def test_the_affine_equals_its_formula():
  h = RNG.normal(size=(3, 4, 4, 2)).astype(np.float32) * 3 + 1
  mask = RNG.uniform(size=(3, 4, 4, 1)).astype(np.float32)
  module = modulated.Affine()
  params = module.init(jax.random.key(0), h, TEXT, mask, True)["params"]
  params = jax.tree.map(lambda x: x + 0.1, params)
  mean, var = np.array([0.5, -1.0], np.float32), np.array([4.0, 0.25], np.float32)
  stats = {"norm": {"mean": mean, "var": var}}
  got = jax.jit(lambda params: module.apply({"params": params, "batch_stats": stats}, h, TEXT, mask, False))(params)
  dense = lambda name, x: x @ params[name]["kernel"] + params[name]["bias"]
  gamma, beta = (dense(f"{n}_out", np.maximum(dense(f"{n}_in", TEXT), 0))[:, None, None] for n in ("gamma", "beta"))
  want = (1 + mask * gamma) * (h - mean) / np.sqrt(var + 1e-5) + mask * beta
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_in_evaluation_a_text_does_not_depend_on_others_and_in_training_it_does():
  params, state = woken("sscbn"), made("sscbn")[1]
  whole = run("sscbn", params, state, TEXT, LATENT)
  np.testing.assert_allclose(whole[:1], run("sscbn", params, state, TEXT[:1], LATENT[:1]), atol=1e-4)
  train = jax.jit(lambda text, latent: NETS["sscbn"].apply(params, (text, latent), state=state, train=True))
  out = train(TEXT, LATENT)
  assert np.abs(out.features[:2] - train(TEXT[:2], LATENT[:2]).features).max() > 1e-3
  moved = [np.abs(a - b).max() for a, b in zip(jax.tree.leaves(out.state), jax.tree.leaves(state))]
  assert min(moved) > 0


def test_the_published_size_is_seven_blocks_to_256_pixels():
  net = modulated.generator(64)
  inputs = (jax.ShapeDtypeStruct((2, 512), np.float32), jax.ShapeDtypeStruct((2, 100), np.float32))
  params, state = jax.eval_shape(net.init, jax.random.key(0), inputs)
  assert params["in"]["kernel"].shape == (100, 4 * 4 * 512)
  wide = [params[f"block_{i}"]["conv_1"]["kernel"].shape[-1] // 64 for i in range(7)]
  assert wide == [8, 8, 8, 8, 4, 2, 1] and "short" not in params["block_3"] and "short" in params["block_4"]
  assert params["block_0"]["affine_0"]["gamma_in"]["kernel"].shape == (512, 256)
  out = jax.eval_shape(lambda p, s, x: net.apply(p, x, state=s), params, state, inputs)
  assert out.features.shape == (2, 256, 256, 3)


def test_a_mask_of_zero_leaves_the_text_out():
  params = tree.named_map(
    lambda name, x: jnp.full_like(x, -100.0) if "mask" in name and name.endswith("out/bias") else x, woken("ssa-mask"))
  state = made("ssa-mask")[1]
  a, b = (run("ssa-mask", params, state, text, LATENT) for text in (TEXT, TEXT[::-1]))
  np.testing.assert_allclose(a, b, atol=1e-6)


def test_bilinear_resizing_keeps_the_corners():
  x = RNG.normal(size=(1, 3, 2, 1)).astype(np.float32)
  got = np.asarray(modulated.corners(x, 6, 4))[0, ..., 0]
  rows = np.stack([np.interp(np.linspace(0, 2, 6), range(3), x[0, :, j, 0]) for j in range(2)], 1)
  want = np.stack([np.interp(np.linspace(0, 1, 4), range(2), row) for row in rows])
  np.testing.assert_allclose(got, want, atol=1e-6)
  np.testing.assert_allclose(modulated.corners(x[:, :1], 2, 2)[0, 0], modulated.corners(x[:, :1], 2, 2)[0, 1])


@pytest.mark.parametrize("wrong", [{"blocks": 8}, {"blocks": 0}, {"width": 0}, {"channels": 2}, {"modulation": "film"}])
def test_settings_out_of_range_are_named(wrong):
  with pytest.raises(Invalid, match=f"model.{next(iter(wrong))}"):
    modulated.generator(**wrong)


@pytest.mark.parametrize("inputs", [TEXT, (TEXT, LATENT[:2]), (TEXT, LATENT[0])])
def test_inputs_that_are_no_pair_are_named(inputs):
  with pytest.raises(Invalid, match="inputs"):
    NETS["sscbn"].init(jax.random.key(0), inputs)

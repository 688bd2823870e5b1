"""Rounding as an attack: which leaves it touches, what survives, and that small changes vanish under it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import quantize, utility
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import quantizers
from ue_jax.train import likelihood, loop

BITS = 4


def fit(procedure, request):
  return loop.fit(procedure, request, mode="one")


def exact(subject, request):
  return fit(utility.measure(), request._replace(subject=subject))["forget/ex"].value


def test_linear_maps_of_the_blocks_are_rounded_and_nothing_else(request_tokens):
  before = request_tokens.subject
  after = fit(quantize.attack(bits=3), request_tokens)
  for (name, old), (_, new) in zip(tree.named_leaves(before.params), tree.named_leaves(after.params)):
    inner = name.startswith("block_") and name.endswith("kernel")
    assert bool((old == new).all()) != inner, name
    if inner:
      np.testing.assert_array_equal(new, quantizers.quantize(old, bits=3).values)
      assert max(len(np.unique(column)) for column in np.asarray(new).T) <= 8
  assert after.model is before.model and tree.fingerprint(before.state) == tree.fingerprint(after.state)


def test_the_pattern_can_take_in_the_embedding(request_tokens):
  before = request_tokens.subject.params
  after = fit(quantize.attack(where="embed"), request_tokens).params
  assert tree.fingerprint(after["block_0"]) == tree.fingerprint(before["block_0"])
  assert tree.fingerprint(after["embed"]) != tree.fingerprint(before["embed"])
  with pytest.raises(Invalid, match="quantize.where = 'nothing'"):
    fit(quantize.attack(where="nothing"), request_tokens)


def test_a_trained_model_survives_8_bits_and_not_2(request_tokens):
  whole = exact(request_tokens.subject, request_tokens)
  assert exact(fit(quantize.attack(bits=8), request_tokens), request_tokens) == whole > 0.8
  assert exact(fit(quantize.attack(bits=2), request_tokens), request_tokens) < 0.8 * whole


def test_what_was_forgotten_inside_cells_comes_back(request_tokens):
  """The paper's failure in its purest form: ascent that may not leave the cells of a grid that the weights lie on."""
  subject, data = request_tokens.subject, request_tokens.data
  rounded = jax.jit(lambda params: quantize.tree(params, bits=BITS))
  released = rounded(subject.params)
  batch = likelihood.batch_of(data, data.sets["forget"])
  loss = lambda params: -likelihood.log_prob(likelihood.logits(subject.model.apply, params, {}, batch), batch)[0].mean()
  slope = jax.jit(jax.grad(loss))(released)

  def move(name, leaf, slope):
    if not (name.startswith("block_") and name.endswith("kernel")):
      return leaf
    made = quantizers.quantize(leaf, bits=BITS)
    # The largest of a column carries the scale, so it stays.
    free = (jnp.abs(made.codes[0]) < 2 ** (BITS - 1) - 1).astype(jnp.float32)
    return leaf + 0.49 * made.scale[0] * free * jnp.sign(slope)

  slopes = dict(tree.named_leaves(slope))
  moved = jax.jit(lambda params: tree.named_map(lambda name, leaf: move(name, leaf, slopes[name]), params))(released)
  assert quantize.changed(moved, released, bits=BITS) == 0 and quantize.changed(moved, released, bits=8) > 0.5
  back = rounded(moved)
  for (name, x), (_, y) in zip(tree.named_leaves(back), tree.named_leaves(released)):
    np.testing.assert_allclose(x, y, atol=1e-6, err_msg=name)
  forgot, again = (exact(subject._replace(params=p), request_tokens) for p in (moved, back))
  assert forgot < 0.3 and again == 1.0


def test_scales_are_stored_as_float16_if_asked_for(request_tokens):
  how = dict(kind="minmax", per="group", group=32)
  half, whole = (fit(quantize.attack(half=half, **how), request_tokens).params for half in (True, False))
  kernel = lambda params: np.asarray(params["block_0"]["q"]["kernel"])
  old = request_tokens.subject.params["block_0"]["q"]["kernel"]
  np.testing.assert_array_equal(kernel(half), quantizers.quantize(old, half=True, **how).values)
  assert 0 < np.abs(kernel(half) - kernel(whole)).max() < 1e-2


def test_changed_counts_codes_over_all_that_is_rounded(request_tokens):
  params = request_tokens.subject.params
  other = jax.tree.map(lambda x: x, params)
  other["block_0"]["q"]["kernel"] = -params["block_0"]["q"]["kernel"]
  made = quantizers.quantize(params["block_0"]["q"]["kernel"])
  total = sum(x.size for n, x in tree.named_leaves(params) if n.startswith("block_") and n.endswith("kernel"))
  assert quantize.changed(params, params) == 0
  assert float(quantize.changed(params, other)) == pytest.approx(int(jnp.sum(made.codes != 0)) / total)


def test_pictures_are_attacked_too(request_pictures):
  after = fit(quantize.attack("nf4", per="group"), request_pictures)
  assert tree.shapes(after.params) == tree.shapes(request_pictures.subject.params)
  assert tree.fingerprint(after.params) != tree.fingerprint(request_pictures.subject.params)


def test_a_wrong_setting_is_named_when_the_attack_is_made():
  with pytest.raises(Invalid, match="quantize.bits = 9: give 4"):
    quantize.attack("fp4", bits=9)
  with pytest.raises(Invalid, match="quantize.half = 16: give True"):
    quantize.attack(half=16)

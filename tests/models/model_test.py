"""What every model keeps: pure, deterministic, one random draw, vmappable, tapped for free."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.pictures import to_float
from ue_jax.models import cnn, from_latent, generator, mlp, model, resnet, transformer

IMAGE = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
IDS = np.random.default_rng(1).integers(0, 11, (2, 5)).astype(np.int32)

# name -> (model, inputs, sites)
CASES = {
  "mlp": (mlp.model(widths=(8, 6)), IMAGE, ["block_0", "block_1", "features"]),
  "cnn": (cnn.model(widths=(4, 6)), IMAGE, ["block_0", "block_1", "features"]),
  "resnet18": (resnet.model(depth=18, width=4), IMAGE, ["stem", *(f"block_{i}" for i in range(8)), "features"]),
  "generator": (generator.model(4, 1), to_float(IMAGE), ["block_0", "features"]),
  "from_latent": (from_latent.generator((6, 5, 3), 4), to_float(IMAGE[:, 0, :, 0]), ["block_0", "block_1", "features"]),
  "transformer": (
    transformer.model(11, 8, 2, 2, 1, 12), IDS,
    [*(f"block_{i}/{s}" for i in range(2) for s in transformer.SITES), "embed"],
  ),
}
each = pytest.mark.parametrize("name", CASES)


@functools.cache
def start(name):
  net, inputs, _ = CASES[name]
  return net.init(jax.random.key(0), inputs)


@functools.cache
def compiled(name):
  net = CASES[name][0]
  return jax.jit(lambda params, inputs, state: net.apply(params, inputs, state=state))


def assert_same(a, b, tolerance=1e-5):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance), a, b)


def draws(jaxpr):
  count = 0
  for equation in jaxpr.eqns:
    count += equation.primitive.name == "random_bits"
    for value in equation.params.values():
      inner = getattr(value, "jaxpr", value)
      count += draws(inner) if hasattr(inner, "eqns") else 0
  return count


@each
def test_init_is_a_function_of_the_key_and_gives_plain_float32_dicts(name):
  net, inputs, _ = CASES[name]
  params, state = start(name)
  assert type(params) is dict and type(state) is dict
  assert {leaf.dtype for leaf in jax.tree.leaves((params, state))} == {jnp.dtype("float32")}
  assert tree.fingerprint((params, state)) == tree.fingerprint(net.init(jax.random.key(0), inputs))
  other, other_state = net.init(jax.random.key(1), inputs)
  assert tree.fingerprint(other) != tree.fingerprint(params)
  assert tree.fingerprint(other_state) == tree.fingerprint(state)


@each
def test_init_draws_once_and_reads_only_the_shape_of_the_inputs(name):
  net, inputs, _ = CASES[name]
  abstract = jax.ShapeDtypeStruct(inputs.shape, inputs.dtype)
  assert draws(jax.make_jaxpr(lambda key: net.init(key, abstract))(jax.random.key(0)).jaxpr) == 1


@each
def test_vmap_over_two_parameter_sets_is_two_calls(name):
  net, inputs, _ = CASES[name]
  params, state = start(name)
  other, _ = net.init(jax.random.key(1), inputs)
  both = jax.tree.map(lambda a, b: jnp.stack([a, b]), params, other)
  out = jax.jit(jax.vmap(lambda p: net.apply(p, inputs, state=state)[:2]))(both)
  assert_same(jax.tree.map(lambda x: x[0], out), compiled(name)(params, inputs, state)[:2], 1e-4)
  assert_same(jax.tree.map(lambda x: x[1], out), compiled(name)(other, inputs, state)[:2], 1e-4)


@each
def test_jit_is_eager_and_the_state_is_given_back_when_not_training(name):
  net, inputs, sites = CASES[name]
  params, state = start(name)
  seen = []
  taps = {site: lambda x, site=site: seen.append(site) or x for site in sites}
  out = net.apply(params, inputs, state=state, taps=taps)
  assert_same(out, compiled(name)(params, inputs, state), 1e-4)
  assert out.state is state
  assert sorted(seen) == sorted(sites)  # every site is reached, once
  assert out.logits.dtype == out.features.dtype == jnp.float32


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[1].dtype == np.uint8])
def test_bytes_and_floats_are_the_same_picture(name):
  params, state = start(name)
  assert_same(compiled(name)(params, IMAGE, state), compiled(name)(params, to_float(IMAGE), state))


@each
def test_a_tap_changes_what_comes_after_it(name):
  net, inputs, sites = CASES[name]
  params, state = start(name)
  out = compiled(name)(params, inputs, state)
  tapped = jax.jit(lambda p: net.apply(p, inputs, state=state, taps={sites[0]: jnp.zeros_like}))(params)
  assert not np.allclose(out.features, tapped.features, atol=1e-4)


@each
def test_an_unknown_site_is_refused_with_the_list_of_sites(name):
  net, inputs, sites = CASES[name]
  with pytest.raises(Invalid, match=sites[0]):
    net.apply(start(name)[0], inputs, state=start(name)[1], taps={"nowhere": lambda x: x})


def test_a_site_without_a_tap_is_left_alone():
  value = jnp.ones(3)
  assert model.tap({}, "here", value) is value
  assert model.tap({"there": jnp.zeros_like}, "here", value) is value
  assert float(model.tap({"here": jnp.zeros_like}, "here", value).sum()) == 0

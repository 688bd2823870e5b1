"""Adapters: nothing at the start, the adapted forward pass by hand, gradients, the way back, orthogonal beginnings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import lora, transformer

IDS = np.random.default_rng(0).integers(0, 13, (2, 6)).astype(np.int32)
NET = transformer.model(13, 16, 2, 4, 2, 12)


@functools.cache
def base():
  return NET.init(jax.random.key(0), IDS)[0]


@functools.cache
def trained(start="uniform"):
  """Adapters with a B that is not zero, as after training."""
  made = lora.init(jax.random.key(1), base(), 3, start=start)
  return {name: {"a": x["a"], "b": jax.random.normal(jax.random.key(2), x["b"].shape)} for name, x in made.items()}


run = jax.jit(lambda params: NET.apply(params, IDS).logits)


def test_new_adapters_change_no_bit_and_adapt_the_seven_linear_maps_of_each_block():
  made = lora.init(jax.random.key(1), base(), 3)
  assert len(made) == 14 and {name.split("/")[1] for name in made} == {"q", "k", "v", "o", "gate", "up", "down"}
  assert made["block_1/down/kernel"]["a"].shape == (12, 3) and made["block_1/down/kernel"]["b"].shape == (3, 16)
  assert tree.fingerprint(lora.merge(base(), made, 2.0)) == tree.fingerprint(base())
  a = made["block_0/q/kernel"]["a"]
  assert abs(a).max() <= 0.25 and abs(a).max() > 0.2 and abs(a - made["block_1/q/kernel"]["a"]).max() > 0.1
  assert tree.fingerprint(lora.merge(base(), trained(), 0.0)) == tree.fingerprint(base())


def test_merged_weights_are_the_adapted_map():
  x = np.random.default_rng(1).normal(size=(5, 16))
  merged = lora.merge(base(), trained(), 2.0)
  w, ab = np.asarray(base()["block_0"]["q"]["kernel"], np.float64), trained()["block_0/q/kernel"]
  wanted = x @ w + 2.0 * (x @ np.asarray(ab["a"], np.float64)) @ np.asarray(ab["b"], np.float64)
  np.testing.assert_allclose(x @ np.asarray(merged["block_0"]["q"]["kernel"]), wanted, rtol=1e-5, atol=1e-5)
  assert merged["embed"]["embedding"] is base()["embed"]["embedding"]
  assert abs(run(merged) - run(base())).max() > 0.1


def test_a_step_by_gradients_lowers_the_loss_through_adapters_alone():
  def loss(adapters, scale):
    log_p = jax.nn.log_softmax(NET.apply(lora.merge(base(), adapters, scale), IDS).logits[:, :-1])
    return -jnp.mean(jnp.take_along_axis(log_p, IDS[:, 1:, None], 2))

  slope = jax.jit(jax.value_and_grad(loss))
  adapters, seen = lora.init(jax.random.key(1), base(), 3), []
  for _ in range(6):
    value, g = slope(adapters, 2.0)
    seen.append(float(value))
    adapters = jax.tree.map(lambda x, d: x - 0.5 * d, adapters, g)
  assert seen[-1] < seen[0] - 0.1
  first = slope(lora.init(jax.random.key(1), base(), 3), 2.0)[1]["block_0/q/kernel"]
  assert abs(first["a"]).max() == 0 and abs(first["b"]).max() > 0  # B is zero at first


@pytest.mark.parametrize("start", lora.STARTS)
def test_split_is_the_way_back(start):
  merged = lora.merge(base(), trained(start), 0.5)
  back = lora.split(merged, base(), 3, 0.5)
  again = lora.merge(base(), back, 0.5)
  for (name, x), (_, y) in zip(tree.named_leaves(again), tree.named_leaves(merged)):
    np.testing.assert_allclose(x, y, atol=2e-5, err_msg=name)
  smaller = lora.merge(base(), lora.split(merged, base(), 1, 0.5), 0.5)["block_0"]["q"]["kernel"]
  change = np.asarray(merged["block_0"]["q"]["kernel"] - base()["block_0"]["q"]["kernel"])
  lost = np.linalg.norm(merged["block_0"]["q"]["kernel"] - smaller)
  np.testing.assert_allclose(lost, np.linalg.norm(np.linalg.svd(change)[1][1:]), rtol=1e-3)


def test_orthogonal_adapters_read_from_nothing_that_earlier_ones_read_from(key):
  one = lora.init(key, base(), 3, start="orthogonal")
  for x in one.values():
    np.testing.assert_allclose(x["a"].T @ x["a"], np.eye(3), atol=1e-5)
  two = lora.init(jax.random.key(5), base(), 4, start="orthogonal", beside=[one, trained()])
  free = lora.init(jax.random.key(5), base(), 4)
  assert lora.overlap(two, [one, trained()]) < 1e-8 < 1 < lora.overlap(free, [one, trained()])
  a, b = two["block_0/q/kernel"]["a"], one["block_0/q/kernel"]["a"]
  np.testing.assert_allclose(a.T @ a, np.eye(4), atol=1e-5)
  by_hand = sum(np.linalg.norm(np.asarray(one[n]["a"]).T @ np.asarray(free[n]["a"])) ** 2 for n in one)
  np.testing.assert_allclose(lora.overlap(free, [one]), by_hand, rtol=1e-5)
  assert b.shape == (16, 3)


def test_bfloat16_stays_and_keys_may_be_traced(key):
  half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), base())
  merged = lora.merge(half, trained(), 1.0)
  assert {x.dtype for x in jax.tree.leaves(merged)} == {jnp.dtype("bfloat16")}
  both = jax.jit(jax.vmap(lambda key, s: lora.merge(base(), lora.init(key, base(), 2, start="orthogonal"), s)))(
    jax.random.split(key, 2), jnp.ones(2))
  assert both["block_0"]["q"]["kernel"].shape == (2, 16, 16)


def test_what_does_not_fit_is_named(key):
  for field, settings in (("rank", dict(rank=0)), ("start", dict(start="zeros")), ("where", dict(where="nowhere")),
                          ("where", dict(where="ln1")), ("rank", dict(rank=13, start="orthogonal")),
                          ("start", dict(beside=[trained()]))):
    with pytest.raises(Invalid, match=f"lora.{field}"):
      lora.init(key, base(), **settings)
  with pytest.raises(Invalid, match="block_9"):
    lora.merge(base(), {"block_9/q/kernel": trained()["block_0/q/kernel"]}, 1.0)
  moved = {**base(), "norm": {"scale": base()["norm"]["scale"] + 1}}
  with pytest.raises(Invalid, match="norm/scale"):
    lora.split(moved, base(), 2, 1.0)
  with pytest.raises(Invalid, match="rank"):
    lora.split(base(), base(), 13, 1.0)


@pytest.mark.parametrize("scan, where", [
  (False, lora.LINEAR), (True, lora.LINEAR), (True, "block_1/(q|down)/"), (False, "head|k/kernel"),
])
def test_adapters_beside_the_parameters_give_what_merged_ones_give(key, scan, where):
  net, ids = transformer.model(13, 16, 2, 4, 2, 12, scan=scan), np.arange(6, dtype=np.int32)[None]
  params, _ = net.init(key, ids)
  adapters = jax.tree.map(lambda x: x + 0.1, lora.init(key, params, 2, where))
  loss = lambda join: jax.jit(jax.value_and_grad(
    lambda adapters: jnp.mean(jnp.square(net.apply(join(params, adapters, 1.5), ids).logits))))(adapters)  # fmt: skip
  (value, slope), (wanted, reference) = loss(lora.Beside), loss(lora.merge)
  np.testing.assert_allclose(value, wanted, rtol=1e-5)
  bare = jax.jit(lambda params: jnp.mean(jnp.square(net.apply(params, ids).logits)))(params)
  assert abs(value - bare) > 1e-5 * abs(value)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * max(1, abs(b).max())), slope, reference)
  wrong = {"block_0/q/kernel": {"a": jnp.ones((16, 1)), "b": jnp.ones((1, 3))}}
  with pytest.raises(Invalid, match="adapters.block_0/q/kernel"):
    jax.eval_shape(lambda: net.apply(lora.Beside(params, wrong, 1.0), ids))


def test_beside_weights_in_16_bits_they_give_nearly_what_they_give_beside_wide_ones():
  half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), base())
  out, wanted = run(lora.Beside(half, trained(), 2.0)), run(lora.merge(base(), trained(), 2.0))
  far = abs(run(base()) - wanted).mean()
  assert out.dtype == jnp.float32 and abs(out - wanted).mean() < 0.1 * abs(wanted).mean() < far

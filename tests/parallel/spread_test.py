"""Spreading one step over devices; equality of the modes is held by the parity test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.parallel import spread


def step(state, batch, axis=None):
  total = spread.allsum(jnp.sum(batch["x"] * batch["mask"][:, None], axis=0), axis)
  return {"w": state["w"] + total}, {"total": jnp.sum(total)}


def batch(rows):
  return {"x": np.arange(rows * 2, dtype=np.float32).reshape(rows, 2), "mask": np.ones(rows, np.float32)}


def test_without_an_axis_collectives_are_the_identity():
  tree, key = {"a": jnp.arange(3.0)}, jax.random.key(0)
  for same in (spread.allsum(tree, None), spread.gather(tree, None), spread.allmean(tree, jnp.float32(2), None)):
    assert same is tree
  assert spread.local_key(key, None) is key


def test_pad_repeats_row_zero_and_silences_it_in_nested_dictionaries():
  out = spread.pad({"forget": batch(3), "retain": batch(5), "rate": np.float32(2)}, 4)
  assert out["forget"]["x"].shape == (4, 2) and out["retain"]["x"].shape == (8, 2)
  assert out["retain"]["mask"].tolist() == [1] * 5 + [0] * 3
  assert (out["retain"]["x"][5:] == out["retain"]["x"][0]).all() and out["rate"] == 2


def test_pad_leaves_what_divides_alone():
  given = batch(8)
  assert all(x is y for x, y in zip(jax.tree.leaves(spread.pad(given, 4)), jax.tree.leaves(given)))


def test_pad_keeps_dtypes_and_two_dimensional_masks():
  given = {"ids": np.ones((3, 5), np.int32), "mask": np.ones((3, 5), np.float32)}
  out = spread.pad(given, 2)
  assert out["ids"].dtype == np.int32 and out["mask"].shape == (4, 5) and out["mask"][3].sum() == 0


@pytest.mark.parametrize("mode", ["one", "jit", "fsdp", "pmap", "shard_map"])
def test_the_second_call_traces_nothing(mode):
  traces = []

  def counted(state, batch, axis=None):
    traces.append(1)
    return step(state, batch, axis)

  run = spread.spread(counted, mode=mode)
  state, _ = run({"w": jnp.zeros(2)}, batch(8))
  first = len(traces)
  for _ in range(3):
    state, _ = run(state, batch(8))
  assert len(traces) == first


def test_auto_is_jit_on_many_devices_and_one_on_a_single():
  state, _ = spread.spread(step)({"w": jnp.zeros(2)}, batch(8))
  assert len(state["w"].sharding.device_set) == jax.device_count()
  state, _ = spread.spread(step, devices=jax.devices()[2:3])({"w": jnp.zeros(2)}, batch(8))
  assert state["w"].sharding.device_set == {jax.devices()[2]}


def test_the_batch_is_really_cut():
  seen = []

  def look(state, batch, axis=None):
    seen.append(batch["x"].shape)
    return step(state, batch, axis)

  spread.spread(look, mode="shard_map")({"w": jnp.zeros(2)}, batch(8))
  assert seen[-1] == (8 // jax.device_count(), 2)


def test_fsdp_cuts_the_state_and_keeps_it_cut():
  n = jax.device_count()
  key = jax.random.key(0)
  first = {"wide": jnp.ones((3, 256 * n)), "tall": jnp.ones((512 * n, n)), "odd": jnp.ones((1025, 3)), "key": key}
  grow = lambda state, batch: ({**state, "wide": state["wide"] + batch["x"].sum(), "tall": state["tall"] + 1}, {})
  run = spread.spread(grow, mode="fsdp")
  state, _ = run(first, batch(8))
  state, _ = run(state, batch(8))
  shard = lambda x: x.addressable_shards[0].data.shape
  assert shard(state["wide"]) == (3, 256) and shard(state["tall"]) == (512, n) and shard(state["odd"]) == (1025, 3)
  whole = spread.collect(state)
  np.testing.assert_array_equal(whole["tall"], np.full((512 * n, n), 3))
  assert (jax.random.key_data(whole["key"]) == jax.random.key_data(key)).all()


@pytest.mark.parametrize("mode", ["one", "jit", "fsdp", "shard_map"])
def test_donation_gives_the_memory_away_and_its_absence_does_not(mode):
  for donate in (True, False):
    run = spread.spread(step, mode=mode, donate=donate)
    state, _ = run({"w": jnp.zeros(2)}, batch(8))
    run(state, batch(8))
    assert state["w"].is_deleted() == donate


def test_a_step_without_axis_runs_with_jit_and_is_refused_by_the_mapped_modes():
  plain = lambda state, batch: (state + jnp.sum(batch["x"]), {})
  state, _ = spread.spread(plain, mode="jit")(jnp.float32(0), batch(8))
  assert float(state) == batch(8)["x"].sum()
  for mode in ("pmap", "shard_map"):
    with pytest.raises(Invalid, match="mode.*axis"):
      spread.spread(plain, mode=mode)


def test_a_ragged_batch_without_mask_is_replicated_by_jit_and_refused_by_the_mapped_modes():
  mean = lambda state, batch, axis=None: (state, {"m": jnp.mean(batch["x"])})
  ragged = {"x": batch(7)["x"]}
  _, metrics = spread.spread(mean, mode="jit")(jnp.zeros(()), ragged)
  np.testing.assert_allclose(metrics["m"], ragged["x"].mean(), rtol=1e-6)
  with pytest.raises(Invalid, match=r"batch\[x\].*mask"):
    spread.spread(mean, mode="pmap")(jnp.zeros(()), ragged)


def test_unknown_modes_are_refused():
  with pytest.raises(Invalid, match="shard_map"):
    spread.spread(step, mode="threads")


def test_collect_brings_a_spread_state_with_keys_to_ordinary_arrays():
  run = spread.spread(lambda s, b: (s, {}), mode="jit")
  given = {"w": jnp.arange(3.0), "key": jax.random.key(5)}
  out = spread.collect(run(given, batch(8))[0])
  assert all(len(x.sharding.device_set) == 1 for x in jax.tree.leaves(out))
  np.testing.assert_array_equal(out["w"], given["w"])
  assert (jax.random.key_data(out["key"]) == jax.random.key_data(given["key"])).all()


def test_gather_and_local_keys_over_a_mapped_axis():
  def look(state, batch, axis=None):
    key = spread.local_key(jax.random.key(0), axis)
    return state, {"rows": spread.gather(batch["x"], axis), "draws": spread.gather(jax.random.uniform(key, (1,)), axis)}

  _, metrics = spread.spread(look, mode="shard_map")(jnp.zeros(()), batch(8))
  np.testing.assert_array_equal(metrics["rows"], batch(8)["x"])
  assert len(set(np.asarray(metrics["draws"]).tolist())) == jax.device_count()


def test_allmean_weighs_devices_and_leaves_integers():
  def look(state, batch, axis=None):
    tree = {"m": jnp.mean(batch["x"]), "n": jnp.int32(3)}
    return state, spread.allmean(tree, jnp.sum(batch["mask"]), axis)

  given = {**batch(8), "mask": np.float32([1, 1, 1, 1, 1, 0, 0, 0])}
  _, out = spread.spread(look, mode="shard_map", devices=jax.devices()[:2])(jnp.zeros(()), given)
  wanted = np.average([given["x"][:4].mean(), given["x"][4:].mean()], weights=[4, 1])
  np.testing.assert_allclose(out["m"], wanted, rtol=1e-6)
  assert int(out["n"]) == 3

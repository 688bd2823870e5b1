"""Decoders with learned positions, a GELU without a gate and a scaled embedding that is also the head."""

import functools
import math

import jax
import numpy as np
import pytest

from tests.models.transformer_test import assert_equals_numpy, head, rms
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import decoder_config, decoder_weights, generate, lora, transformer
from ue_jax.models.attention import Packed, Tokens

IDS = np.random.default_rng(0).integers(0, 13, (2, 6)).astype(np.int32)
SETTINGS = dict(vocabulary=13, width=16, depth=2, heads=4, hidden=12, tied=True, context=9)
PARTS = dict(positions="learned", mlp="gelu", embed_scale=8.0)
NET = transformer.model(**SETTINGS, **PARTS)


@functools.cache
def params():
  drawn = NET.init(jax.random.key(0), IDS)[0]
  sizes = {"embed": 0.5, "positions": 40}  # blocks and positions larger than at the start: all parts count
  larger = lambda part, size: jax.tree.map(lambda p: p + 0.02 if p.ndim == 1 else size * p, part)
  return {name: larger(part, sizes.get(name, 4)) for name, part in drawn.items()}


run = jax.jit(lambda p, ids: NET.apply(p, ids))


def decoder(p, ids):
  """One sequence through the whole network, in float64."""
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), p)
  x = 8 * p["embed"]["embedding"][ids] + p["positions"]["embedding"][: len(ids)]
  for i in range(2):
    b, mixed = p[f"block_{i}"], []
    h = rms(x, b["ln1"]["scale"])
    for n in range(4):
      mixed.append(head(*(h @ b[name]["kernel"][:, 4 * n : 4 * n + 4] for name in "qkv")))
    x = x + np.concatenate(mixed, -1) @ b["o"]["kernel"]
    up = rms(x, b["ln2"]["scale"]) @ b["up"]["kernel"]
    x = x + (up * (1 + np.vectorize(math.erf)(up / np.sqrt(2))) / 2) @ b["down"]["kernel"]
  features = rms(x, p["norm"]["scale"])
  return features @ p["embed"]["embedding"].T, features


def test_the_whole_decoder_equals_numpy():
  assert_equals_numpy(run(params(), IDS), IDS, lambda ids: decoder(params(), ids))
  text = np.full(6, 3)
  assert abs(np.diff(decoder(params(), text)[0], axis=0)).max() > 0.1  # positions alone tell equal tokens apart


def test_parameters_and_their_deviations_at_the_start(key):
  net = transformer.model(440, 96, 1, hidden=384, context=300, tied=True, **PARTS)
  drawn, _ = net.init(key, IDS)
  assert tree.size(drawn) == (440 + 300) * 96 + 4 * 96**2 + 2 * 96 * 384 + 2 * 96 + 96
  assert set(drawn["block_0"]) == {"ln1", "q", "k", "v", "o", "ln2", "up", "down"} and "head" not in drawn
  for name, std in (("positions", 0.02), ("embed", 96**-0.5)):
    np.testing.assert_allclose(drawn[name]["embedding"].std(), std, rtol=0.04)


def test_generation_with_a_cache_and_padding_is_that_of_each_row_alone_without():
  rows = [[3, 1, 4, 1, 5], [9, 2]]
  out = generate.generate(NET, params(), generate.left(rows), 4)
  for found, row in zip(np.asarray(out.ids), rows):
    ids, first = np.zeros((1, 9), np.int32), len(row)
    ids[0, :first] = row
    for t in range(first, first + 4):  # later ids are not seen
      ids[0, t] = run(params(), ids).logits[0, t - 1].argmax()
    np.testing.assert_array_equal(found, ids[0, first : first + 4])
  assert len(set(np.asarray(out.ids).ravel().tolist())) > 2


def test_padding_on_the_left_and_packed_neighbours_change_nothing():
  alone = run(params(), IDS).logits
  padded, valid = np.pad(IDS, ((0, 0), (3, 0))), np.arange(9) > 2
  out = jax.jit(NET.apply)(params(), Tokens(padded, np.stack([valid, valid])))
  np.testing.assert_allclose(out.logits[:, 3:], alone, atol=1e-5)
  assert np.isfinite(out.logits).all()
  packed = Packed(IDS.reshape(1, 12), np.repeat([[1, 2]], 6, axis=1))  # longer than the table, no text of it is
  np.testing.assert_allclose(jax.jit(NET.apply)(params(), packed).logits.reshape(2, 6, 13), alone, atol=1e-5)


def test_texts_and_caches_longer_than_the_table_are_refused():
  with pytest.raises(Invalid, match="tokens = 10: give the model texts of at most 9 tokens"):
    NET.apply(params(), np.pad(IDS, ((0, 0), (0, 4))))
  with pytest.raises(Invalid, match="generate.prompt = '6 tokens and 4 new ones': the model reads up to 9"):
    generate.generate(NET, params(), IDS, 4)
  with pytest.raises(Invalid, match="cache.slots = 10: there are 9 learned positions"):
    NET.cache(params(), 1, 10)


def test_scanned_and_recomputed_blocks_and_adapters_beside_give_the_same():
  made = lora.init(jax.random.key(1), params(), 2)
  assert {name.split("/")[1] for name in made} == {"q", "k", "v", "o", "up", "down"}
  made = jax.tree.map(lambda x: x + 0.05, made)
  wanted = run(lora.merge(params(), made, 2.0), IDS).logits
  assert abs(wanted - run(params(), IDS).logits).max() > 0.1
  net = transformer.model(**SETTINGS, **PARTS, scan=True, remat=True)
  out = jax.jit(lambda p: net.apply(p, IDS).logits)(lora.Beside(params(), made, 2.0))
  np.testing.assert_allclose(out, wanted, atol=2e-5)


def test_taps_see_scaled_tokens_and_the_input_of_down_and_there_is_no_gate():
  def look(p):
    seen = {}
    taps = {site: lambda x, site=site: seen.setdefault(site, x) for site in ("embed", "block_0/keys")}
    NET.apply(p, IDS, taps=taps)
    return seen

  seen = jax.jit(look)(params())
  np.testing.assert_allclose(seen["embed"], 8 * params()["embed"]["embedding"][IDS], rtol=1e-6)
  assert seen["block_0/keys"].shape == (2, 6, 12) and seen["block_0/keys"].min() > -0.18  # the least GELU
  with pytest.raises(Invalid, match="block_0/gate"):
    NET.apply(params(), IDS, taps={"block_0/gate": lambda x: x})


def test_no_released_type_has_such_parts_and_none_is_written(tmp_path):
  for name, value in PARTS.items():
    with pytest.raises(Invalid, match=f"model.{name} = {value!r}: train it with .* no released type has another"):
      decoder_config.describe({**SETTINGS, name: value})
  usual = decoder_config.describe(SETTINGS)
  with pytest.raises(Invalid, match="learned positions"):
    decoder_weights.export(tmp_path / "out", params(), usual)
  gelu = {name: x for name, x in params().items() if name != "positions"}
  with pytest.raises(Invalid, match="gate"):
    decoder_weights.export(tmp_path / "out", gelu, usual)
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("field, kwargs", [
  ("positions", dict(positions="sine")), ("mlp", dict(mlp="relu")), ("context", dict(positions="learned")),
  ("rope_scaling", dict(positions="learned", context=4, rope_scaling=dict(rope_type="linear", factor=2.0))),
])
def test_wrong_parts_are_named(field, kwargs):
  with pytest.raises(Invalid, match=f"model.{field}"):
    transformer.model(13, **kwargs)

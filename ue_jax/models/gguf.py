"""Decoders from GGUF files (version 2 and 3), as `llama.cpp` and its many uploads use them.

A file holds metadata, a list of tensors, and their data; `gguf_blocks` knows the kinds of numbers. What the metadata
says of words is for `models.tokenizer`.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.models import decoder_config, decoder_weights, gguf_blocks, rotary, transformer, weights
from ue_jax.models.decoder_weights import Decoder

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
TEXT, LIST = 8, 9
SIZES = {  # in the metadata, after the name of the architecture -> argument of the model
  "embedding_length": "width", "block_count": "depth", "attention.head_count": "heads", "feed_forward_length": "hidden",
}  # fmt: skip
FREQUENCIES = "rope_freqs.weight"  # divisors of the rotation's frequencies: how files say `llama3`


class Tensor(NamedTuple):
  """A tensor of a file: shape with the slowest axis first, number of its kind, place from the start of the file."""

  shape: tuple[int, ...]
  kind: int
  start: int


class File(NamedTuple):
  """A GGUF file, its data still on disk: `metadata`, `tensors` by name, `data` uint8, `path`."""

  metadata: Mapping[str, Any]
  tensors: Mapping[str, Tensor]
  data: np.ndarray
  path: Path


def read(path: str | os.PathLike) -> File:
  """Metadata and list of tensors of a file; data is mapped, not read.

  Raises:
    Invalid: naming the file, if it is missing, not GGUF of version 2 or 3, truncated, or has a kind that is not known.
  """
  path = Path(path)
  require(path.is_file(), str(path), "no such file", "give the path of a .gguf file")
  try:
    data = np.memmap(path, np.uint8, mode="r")
    require(bytes(data[:4]) == b"GGUF", str(path), bytes(data[:4]), "give a GGUF file")
    cursor = _Cursor(data, 4)
    version = cursor.scalar("<I")
    require(version in (2, 3), str(path), f"GGUF version {version}", "convert it to version 3")
    count, entries = cursor.scalar("<Q"), cursor.scalar("<Q")
    metadata = {cursor.text(): cursor.value(cursor.scalar("<I")) for _ in range(entries)}
    listed = [cursor.tensor() for _ in range(count)]
  except Invalid:
    raise
  except weights.DAMAGE as error:
    fix = "the file is truncated or damaged; fetch it again"
    raise Invalid(str(path), f"{type(error).__name__}: {error}", fix) from error
  step = metadata.get("general.alignment", 32)
  require(type(step) is int and step > 0, f"{path} general.alignment", step, "the file is damaged; fetch it again")
  first = -(-cursor.at // step) * step
  tensors = {name: Tensor(shape, kind, first + start) for name, shape, kind, start in listed}
  for name, tensor in tensors.items():
    _check(tensor, name, len(data), path)
  return File(metadata, tensors, data, path)


def array(file: File, name: str) -> np.ndarray:
  """A tensor of the file, float32, in its shape (`[out, in]` for linear maps)."""
  shape, number, start = file.tensors[name]
  kind = gguf_blocks.KINDS[number]
  raw = np.asarray(file.data[start : start + math.prod(shape) // kind.count * kind.size])
  return gguf_blocks.numbers(raw, kind).reshape(shape)


def load(path: str | os.PathLike, dtype: str | None = None) -> Decoder:
  """A decoder from a GGUF file of the architectures `llama` (Llama, Mistral, SmolLM2) or `qwen2`.

  Args:
    path: of the file.
    dtype: `float32` (None as well), `bfloat16` or `float16`.

  Raises:
    Invalid: naming the file and the tensor or field, for what `read` refuses, what is missing, too much, of another
      shape, or of an architecture or a rotation that is not known.
  """
  decoder_weights.check_dtype(dtype)
  file = read(path)
  settings = arguments(file)
  model = transformer.model(**settings)
  wanted = decoder_weights.tensors(model, gguf=True)
  found = {name: tensor.shape for name, tensor in file.tensors.items() if name != FREQUENCIES}
  decoder_weights.check(found, wanted, path)
  turned = {"q/kernel": settings["heads"], "k/kernel": settings["kv_heads"]} if _kind(file) == "llama" else {}

  def one(name):
    part = wanted[name][1]
    return halves(array(file, name), turned[part]) if part in turned else array(file, name)

  params = decoder_weights.tree(one, wanted, dtype or "float32")
  return Decoder(model, params, config(file, dtype or "float32"))


def config(file: File, dtype: str = "float32") -> dict[str, Any]:
  """A `config.json` for the model of a file, see `decoder_config.describe`, with the ids of beginning and end."""
  out = decoder_config.describe(arguments(file), dtype)
  for ours in ("bos", "eos"):
    if f"tokenizer.ggml.{ours}_token_id" in file.metadata:
      out[f"{ours}_token_id"] = file.metadata[f"tokenizer.ggml.{ours}_token_id"]
  return out


def halves(weight: np.ndarray, heads: int) -> np.ndarray:
  """Rows of queries or keys `[heads size, in]` whose rotary pairs are neighbours -> pairs from the two halves."""
  return weight.reshape(heads, -1, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def arguments(file: File) -> dict[str, Any]:
  """The arguments of `models.transformer.model` for a file.

  Raises:
    Invalid: naming the file and the field, if it is missing or not known.
  """
  where = str(file.path)
  require(_kind(file) in ("llama", "qwen2"), f"{where} general.architecture", _kind(file), "give a llama or a qwen2")
  require("token_embd.weight" in file.tensors, where, "token_embd.weight: missing", "give the file of a whole model")
  sizes = {ours: _field(file, theirs) for theirs, ours in SIZES.items()}
  for theirs, ours in SIZES.items():
    good = type(sizes[ours]) is int and sizes[ours] > 0
    require(good, f"{where} {theirs}", sizes[ours], "give a file with a whole number above 0 there")
  bias = "blk.0.attn_q.bias" in file.tensors
  require(bias == (_kind(file) == "qwen2"), f"{where} blk.0.attn_q.bias", bias, "use a qwen2 with it, a llama without")
  size = _field(file, "attention.key_length", sizes["width"] // sizes["heads"])
  turned = _field(file, "rope.dimension_count", size)
  require(turned == size, f"{where} rope.dimension_count", turned, f"use a model that turns all {size} of a head")
  return {
    **sizes, "vocabulary": file.tensors["token_embd.weight"].shape[0],
    "kv_heads": _field(file, "attention.head_count_kv", sizes["heads"]), "head_size": size,
    "rope_base": _short(_field(file, "rope.freq_base", 1e4)), "rope_scaling": _scaling(file, size),
    "epsilon": _short(_field(file, "attention.layer_norm_rms_epsilon")),
    "tied": "output.weight" not in file.tensors, "qkv_bias": bias,
    "window": _field(file, "attention.sliding_window", 0) or None,
    "context": _field(file, "context_length", 0) or None,
  }  # fmt: skip


def _scaling(file, size):
  """Linear stretching has a field; that of Llama 3 only its divisors, from which its numbers are found again."""
  kind = _field(file, "rope.scaling.type", "none")
  require(kind in ("none", "linear"), f"{file.path} rope.scaling.type", kind, "use a model with none or linear")
  if kind == "linear":
    return {"rope_type": "linear", "factor": _short(_field(file, "rope.scaling.factor"))}
  if FREQUENCIES not in file.tensors:
    return None
  divisors, base = array(file, FREQUENCIES), _short(_field(file, "rope.freq_base", 1e4))
  settings = {"rope_type": "llama3", "factor": _short(divisors.max()), "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 8192}  # fmt: skip
  plain, stretched = (rotary.frequencies(size // 2, base, rotary.scaling(s)) for s in (None, settings))
  same = divisors.shape == plain.shape and np.allclose(np.asarray(plain / stretched), divisors, rtol=1e-3)
  require(same, f"{file.path} {FREQUENCIES}", divisors, "use a model whose rotations are those of Llama 3")
  return settings


def _kind(file):
  return file.metadata.get("general.architecture")


def _field(file, name, default=None):
  full = f"{_kind(file)}.{name}"
  value = file.metadata.get(full, default)
  require(value is not None, f"{file.path} {full}", "missing", "give the file of a whole model")
  return value


def _short(value) -> float:
  """A float32 as the shortest decimal that means it: 1e-05, not 9.999999747378752e-06."""
  return float(str(np.float32(value)))


def _check(tensor, name, length, path):
  known = {number: kind.name for number, kind in gguf_blocks.KINDS.items()}
  fix = f"use a file with the kinds {sorted(known.values())}"
  require(tensor.kind in known, f"{path} {name}", f"numbers of kind {tensor.kind}", fix)
  kind = gguf_blocks.KINDS[tensor.kind]
  whole = tensor.shape[-1] % kind.count == 0
  require(whole, f"{path} {name}", f"{kind.name} {tensor.shape}", "the file is damaged; fetch it again")
  end = tensor.start + math.prod(tensor.shape) // kind.count * kind.size
  require(end <= length, f"{path} {name}", f"ends at byte {end} of {length}", "the file is truncated; fetch it again")


class _Cursor:
  """Reads the head of a file from front to back; raises ValueError or struct.error where it ends too soon."""

  def __init__(self, data: np.ndarray, at: int):
    self.data, self.at = data, at

  def take(self, count: int) -> bytes:
    if count > len(self.data) - self.at:
      raise ValueError(f"{count} bytes wanted at byte {self.at} of {len(self.data)}")
    self.at += count
    return self.data[self.at - count : self.at].tobytes()

  def scalar(self, form: str) -> Any:
    return struct.unpack(form, self.take(struct.calcsize(form)))[0]

  def text(self) -> str:
    return self.take(self.scalar("<Q")).decode("utf-8", "replace")

  def value(self, kind: int) -> Any:
    if kind == TEXT:
      return self.text()
    if kind != LIST:
      return self.scalar(SCALARS[kind])
    inner, count = self.scalar("<I"), self.scalar("<Q")
    if inner == LIST:
      raise ValueError("a list of lists")
    if inner in SCALARS:  # at once: lists have a hundred thousand entries
      form = SCALARS[inner]
      return np.frombuffer(self.take(count * struct.calcsize(form)), form).tolist()
    return [self.value(inner) for _ in range(count)]

  def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
    name, axes = self.text(), self.scalar("<I")
    if not 0 < axes <= 4:
      raise ValueError(f"{name} with {axes} axes")
    shape = tuple(self.scalar("<Q") for _ in range(axes))[::-1]
    return name, shape, self.scalar("<I"), self.scalar("<Q")

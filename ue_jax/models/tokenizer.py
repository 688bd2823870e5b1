"""Words to ids and back, by the package `tokenizers` (the extra `lm`): from a `tokenizer.json` or a GGUF file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.models import generate, gguf
from ue_jax.models.attention import Tokens

WORDS = (  # of Llama 3; Qwen2 has digits one by one
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CUTS = {  # how text is cut before pairs are merged: kind -> expression ("": that of GPT-2), digits one by one
  "default": ("", False), "gpt-2": ("", False), "smollm": ("", True), "llama-bpe": (WORDS, False),
  "qwen2": (WORDS.replace("{1,3}", ""), False),
}  # fmt: skip
UNKNOWN, CONTROL, OWN = 2, 3, 4  # types of tokens in GGUF; 1 is a normal one, 6 a byte


def load(path: str | os.PathLike):
  """A `tokenizers.Tokenizer` from a `tokenizer.json`, the folder that holds it, or a `.gguf` file.

  Raises:
    Invalid: naming the file, if it is missing or damaged, or its kind is not known; without the package `tokenizers`.
  """
  path = Path(path)
  if path.suffix == ".gguf":
    return from_metadata(gguf.read(path).metadata, str(path))
  path = path / "tokenizer.json" if path.is_dir() else path
  require(path.is_file(), str(path), "no such file", "give a tokenizer.json, its folder, or a .gguf file")
  tokenizers = _package()
  try:
    return tokenizers.Tokenizer.from_file(str(path))
  except Exception as error:  # the package raises nothing more special
    raise Invalid(str(path), str(error), "the file is damaged or of a newer release; fetch it again") from error


def from_metadata(metadata: Mapping[str, Any], where: str = "metadata"):
  """A `tokenizers.Tokenizer` from the metadata of a GGUF file: byte-level BPE (`gpt2`) or SentencePiece BPE (`llama`).

  Args:
    metadata: of `models.gguf.read`.
    where: how messages call it.

  Raises:
    Invalid: for another kind, another way to cut words, or fields that are missing; without the package `tokenizers`.
  """
  field = lambda name: _field(metadata, name, where)
  kind, words = field("model"), field("tokens")
  require(kind in ("gpt2", "llama"), f"{where} tokenizer.ggml.model", kind, "use a file with gpt2 or llama")
  types = metadata.get("tokenizer.ggml.token_type", [1] * len(words))
  require(len(types) == len(words), f"{where} tokenizer.ggml.token_type", len(types), f"give {len(words)} types")
  if kind == "gpt2":
    cut = metadata.get("tokenizer.ggml.pre", "default")
    require(cut in CUTS, f"{where} tokenizer.ggml.pre", cut, f"use a file with one of {sorted(CUTS)}")
    made, first = _bytes(words, field("merges"), cut), cut == "llama-bpe"
  else:
    made = _pieces(words, field("scores"), types, metadata.get("tokenizer.ggml.add_space_prefix", True))
    first = True
  package = _package()
  marked = [(word, kind) for word, kind in zip(words, types) if kind in (CONTROL, OWN)]
  made.add_special_tokens([package.AddedToken(w, special=True, normalized=False) for w, k in marked if k == CONTROL])
  made.add_tokens([package.AddedToken(w, normalized=False) for w, k in marked if k == OWN])
  if metadata.get("tokenizer.ggml.add_bos_token", first):
    bos = field("bos_token_id")
    require(0 <= bos < len(words), f"{where} tokenizer.ggml.bos_token_id", bos, f"give an id below {len(words)}")
    made.post_processor = package.processors.TemplateProcessing(
      single=[words[bos], "$A"], pair=[words[bos], "$A", "$B:1"], special_tokens=[(words[bos], bos)])
  return made


def prompts(tokenizer, texts: Sequence[str], pad: int = 0, length: int | None = None) -> Tokens:
  """Texts as `Tokens` `[batch, length]`, padded on the left, to be continued by `models.generate`.

  Raises:
    Invalid: for no text, one without any token, or more than `length` tokens.
  """
  return generate.left([one.ids for one in tokenizer.encode_batch(list(texts))], pad, length)


def decode(tokenizer, continuation: generate.Continuation) -> list[str]:
  """The texts of a continuation, without what stands behind their ends and without special tokens."""
  rows = [row[:length].tolist() for row, length in zip(*map(np.asarray, continuation))]
  return tokenizer.decode_batch(rows)


def _bytes(words, merges, cut):
  """BPE over bytes, each written as one letter (Radford et al., 2019)."""
  package = _package()
  expression, digits = CUTS[cut]
  pairs = [tuple(merge.split(" ", 1)) for merge in merges]
  made = package.Tokenizer(package.models.BPE(
    {word: i for i, word in enumerate(words)}, pairs, ignore_merges=cut == "llama-bpe"))
  pre = package.pre_tokenizers
  steps = [pre.Digits(individual_digits=True)] if digits else []
  if expression:
    steps.append(pre.Split(package.Regex(expression), "isolated"))
  made.pre_tokenizer = pre.Sequence([*steps, pre.ByteLevel(add_prefix_space=False, use_regex=not expression)])
  made.normalizer = package.normalizers.NFC() if cut == "qwen2" else None
  made.decoder = package.decoders.ByteLevel()
  return made


def _pieces(words, scores, types, prefix):
  """BPE over letters with bytes for unknown ones; the better the score of a piece, the earlier it is merged."""
  package = _package()
  ids = {word: i for i, word in enumerate(words)}
  found = []
  for word, score in zip(words, scores):
    cuts = [(word[:i], word[i:]) for i in range(1, len(word))]
    halves = [(ids[a], ids[b], a, b) for a, b in cuts if a in ids and b in ids]
    found += [(-score, ids[word], a, b) for _, _, a, b in sorted(halves)]
  found.sort(key=lambda merge: merge[:2])
  unknown = next((word for word, kind in zip(words, types) if kind == UNKNOWN), None)
  made = package.Tokenizer(package.models.BPE(
    ids, [merge[2:] for merge in found], unk_token=unknown, fuse_unk=True, byte_fallback=True))
  normal, back = package.normalizers, package.decoders
  made.normalizer = normal.Sequence([*([normal.Prepend("▁")] if prefix else []), normal.Replace(" ", "▁")])
  made.decoder = back.Sequence([
    back.Replace("▁", " "), back.ByteFallback(), back.Fuse(), *([back.Strip(" ", 1, 0)] if prefix else [])])
  return made


def _field(metadata, name, where):
  full = f"tokenizer.ggml.{name}"
  require(full in metadata, f"{where} {full}", "missing", "give a file with a tokenizer")
  return metadata[full]


def _package():
  try:
    import tokenizers
  except ImportError as error:
    raise Invalid("tokenizers", "not installed", 'pip install "ue-jax[lm]"') from error
  return tokenizers

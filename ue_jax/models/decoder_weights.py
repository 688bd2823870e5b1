"""Decoders in and out as folders of `transformers`: Llama, SmolLM2, Mistral and Qwen2, in safetensors.

`load` reads one file or several with an index; `export` writes what `load` reads back bit by bit.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.core.tree import named_leaves
from ue_jax.models import decoder_config, transformer, weights
from ue_jax.models.model import Model

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}
OUTER = (  # ours, theirs, theirs in GGUF
  ("embed/embedding", "model.embed_tokens.weight", "token_embd.weight"),
  ("norm/scale", "model.norm.weight", "output_norm.weight"),
  ("head/kernel", "lm_head.weight", "output.weight"),
)
INNER = (
  ("ln1/scale", "input_layernorm.weight", "attn_norm.weight"),
  *((f"{x}/{ours}", f"self_attn.{x}_proj.{kind}", f"attn_{x}.{kind}") for x in "qkv"
    for ours, kind in (("kernel", "weight"), ("bias", "bias"))),
  ("o/kernel", "self_attn.o_proj.weight", "attn_output.weight"),
  ("ln2/scale", "post_attention_layernorm.weight", "ffn_norm.weight"),
  *((f"{x}/kernel", f"mlp.{x}_proj.weight", f"ffn_{x}.weight") for x in ("gate", "up", "down")),
)  # fmt: skip


class Decoder(NamedTuple):
  """A pretrained causal language model.

  Attributes:
    model: see `models.transformer`.
    params: its parameters.
    config: contents of the `config.json` that goes with them, for `export`.
  """

  model: Model
  params: Any
  config: Mapping[str, Any]


def load(folder: str | os.PathLike, dtype: str | None = None) -> Decoder:
  """A decoder from a folder with `config.json` and `model.safetensors`, whole or in parts with an index.

  Args:
    folder: as `save_pretrained` of `transformers` writes it.
    dtype: `float32`, `bfloat16` or `float16`; None: as stored.

  Raises:
    Invalid: naming the file and the tensor or field, for what is missing, too much, of another shape, damaged, or of an
      architecture that is not known.
  """
  folder = Path(folder)
  check_dtype(dtype)
  config = decoder_config.read(folder)
  model = transformer.model(**decoder_config.arguments(config, str(folder / "config.json")))
  arrays = _read(folder)
  wanted = tensors(model)
  arrays = {name: x for name, x in arrays.items() if not name.endswith(".rotary_emb.inv_freq")}  # old files have them
  _drop_copy(arrays, wanted, folder)
  check({name: x.shape for name, x in arrays.items()}, wanted, folder)
  return Decoder(model, tree(arrays.__getitem__, wanted, dtype), config)


def export(folder: str | os.PathLike, params: Any, config: Mapping[str, Any]) -> None:
  """Writes `config.json` and `model.safetensors` under the names and in the layouts of `transformers`.

  Both are written aside first, and a fault there leaves the folder as it was. A process that is killed while they are
  put in place leaves a folder without `config.json`, which nothing loads, and never one with parts of two models.

  Args:
    folder: made if it is not there; files of the same names are replaced.
    params: of `models.transformer`, on any device; arrays keep their dtypes.
    config: of a loaded `Decoder`, or from `decoder_config.describe`; its dtype becomes that of the embedding.

  Raises:
    Invalid: naming the tensor, if the parameters do not fit the configuration; for learned positions.
  """
  folder = Path(folder)
  model = transformer.model(**decoder_config.arguments(config))
  given = dict(named_leaves(params))
  theirs = {ours: hf for hf, (ours, _, _) in tensors(model).items()}
  require("positions/embedding" not in given, f"{folder} params", "learned positions", "no released type has them")
  weights.check(params, shapes(model), folder)
  dtype = str(given["embed/embedding"].dtype)
  require(dtype in DTYPES, f"{folder} params", dtype, f"cast them to one of {list(DTYPES)}")
  config = {**config, "dtype" if "dtype" in config else "torch_dtype": dtype}
  arrays = {theirs[name]: np.asarray(x).T if name.endswith("/kernel") else np.asarray(x) for name, x in given.items()}
  staged = folder / decoder_config.STAGED
  shutil.rmtree(staged, ignore_errors=True)  # what is left of one that was killed
  try:
    staged.mkdir(parents=True)
    weights.write(staged / FILE, dict(sorted(arrays.items())), {"format": "pt"})
    (staged / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
  except BaseException:
    shutil.rmtree(staged, ignore_errors=True)
    raise
  _put(staged, folder)


def _put(staged: Path, folder: Path) -> None:
  """Moves a whole model to its place: from the first line to the last the folder has no configuration."""
  (folder / "config.json").unlink(missing_ok=True)
  os.replace(staged / FILE, folder / FILE)
  for old in (folder / INDEX, *folder.glob("model-*-of-*.safetensors")):
    old.unlink(missing_ok=True)  # readers would find two models
  os.replace(staged / "config.json", folder / "config.json")
  staged.rmdir()


def check_dtype(dtype: str | None) -> None:
  """Raises `Invalid` for a dtype that parameters cannot have."""
  require(dtype is None or dtype in DTYPES, "dtype", dtype, f"give None or one of {list(DTYPES)}")


def shapes(model: Model) -> Any:
  """The parameters of a language model as shapes; nothing is computed."""
  return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))[0]


def tensors(model: Model, gguf: bool = False) -> dict[str, tuple[str, str, tuple[int, ...]]]:
  """What a file must hold: name there -> (name in `params`, name of the part, shape in the file, `[out, in]`)."""
  inner = {ours: (theirs, short) for ours, theirs, short in INNER}
  outer = {ours: (theirs, short) for ours, theirs, short in OUTER}
  out = {}
  for name, leaf in named_leaves(shapes(model)):
    block, _, part = name.partition("/")
    shape = leaf.shape[::-1] if name.endswith("/kernel") else leaf.shape
    if block.startswith("block_"):
      number = block.removeprefix("block_")
      theirs = f"blk.{number}.{inner[part][1]}" if gguf else f"model.layers.{number}.{inner[part][0]}"
    else:
      part, theirs = name, outer[name][gguf]
    out[theirs] = (name, part, shape)
  return out


def check(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple], path: str | os.PathLike) -> None:
  """Raises `Invalid`, naming the file and the first tensor that is missing, too much or of another shape."""
  for name in sorted(found.keys() | wanted.keys()):
    if name not in found:
      raise Invalid(str(path), f"{name}: missing", "fetch the files again, or the config.json that belongs to them")
    if name not in wanted:
      raise Invalid(str(path), f"{name}: not a part of this model", "give the config.json that belongs to the weights")
    if tuple(found[name]) != wanted[name][2]:
      fix = f"the configuration says {wanted[name][2]}; give the one that belongs to the weights"
      raise Invalid(str(path), f"{name}: {tuple(found[name])}", fix)


def tree(read: Callable[[str], np.ndarray], wanted: Mapping[str, tuple], dtype: str | None) -> dict:
  """Parameters from arrays that `check` has passed, read one by one: transposed where linear, in `dtype`."""
  params: dict = {}
  for name, (ours, _, _) in wanted.items():
    *path, last = ours.split("/")
    where = params
    for key in path:
      where = where.setdefault(key, {})
    array = read(name).T if last == "kernel" else read(name)
    where[last] = jnp.asarray(array, None if dtype is None else DTYPES[dtype])
  return params


def _drop_copy(arrays, wanted, folder):
  """A tied model may come with its head, if that is the embedding."""
  head, embedding = "lm_head.weight", "model.embed_tokens.weight"
  if head in arrays and head not in wanted and embedding in arrays:
    same = np.array_equal(arrays[head], arrays[embedding])
    require(same, f"{folder} {head}", "another than the embedding", "set tie_word_embeddings to false in config.json")
    del arrays[head]


def _read(folder: Path) -> dict[str, np.ndarray]:
  if not (folder / INDEX).is_file():
    return dict(weights.read(folder / FILE))
  try:
    where = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
    files = sorted(set(where.values()))
    plain = all(Path(file).name == file for file in files)
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise Invalid(str(folder / INDEX), f"{type(error).__name__}: {error}", "fetch the index again") from error
  require(plain, str(folder / INDEX), files, "name files of the same folder")
  out: dict[str, np.ndarray] = {}
  for file in files:
    part = weights.read(folder / file)
    listed = {name for name, at in where.items() if at == file}
    wrong = sorted(listed ^ part.keys())
    fix = "the index and the file disagree on it; fetch both again"
    require(not wrong, str(folder / file), wrong[0] if wrong else "", fix)
    out.update(part)
  return out

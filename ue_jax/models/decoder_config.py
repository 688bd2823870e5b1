"""Configurations of decoders: `config.json` of Llama, SmolLM2, Mistral, Qwen2 <-> arguments of `models.transformer`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ue_jax.core.errors import Invalid, require
from ue_jax.models import rotary

CLASSES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM"}
SIZES = {  # theirs -> ours
  "vocab_size": "vocabulary", "hidden_size": "width", "num_hidden_layers": "depth", "num_attention_heads": "heads",
  "intermediate_size": "hidden",
}  # fmt: skip
STAGED = ".export"  # where a folder's new model is written before it is put in place
LONGEST = "max_position_embeddings"
UNRELEASED = {"positions": "rotary", "mlp": "swiglu", "embed_scale": 1.0}  # argument, what all released types have
REFUSED = (  # field, the only value that is known, what it would need
  ("hidden_act", "silu", "SiLU in the MLP"),
  ("attention_bias", False, "no biases but those of Qwen2"),
  ("mlp_bias", False, "no biases in the MLP"),
  ("quantization_config", None, "weights that are not quantised"),
)


def read(folder: Path) -> dict[str, Any]:
  """The `config.json` of a folder.

  Raises:
    Invalid: naming the file, if there is none or it is not a JSON object; the folder, if an export was cut off in it.
  """
  path = folder / "config.json"
  cut = not path.exists() and (folder / STAGED).is_dir()
  require(not cut, str(folder), "an export into it was cut off", "export the model once more")
  require(path.is_file(), str(path), "no such file", "give a folder with config.json and model.safetensors")
  try:
    config = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError) as error:
    raise Invalid(str(path), f"{type(error).__name__}: {error}", "the file is damaged; fetch it again") from error
  require(isinstance(config, dict), str(path), config, "give the config.json of a model")
  return config


def arguments(config: Mapping[str, Any], where: str = "config.json") -> dict[str, Any]:
  """The arguments of `models.transformer.model` for a configuration, of old and new versions of `transformers`.

  Args:
    config: contents of a `config.json`.
    where: how messages call it.

  Raises:
    Invalid: for another architecture, or a field that is missing or not one of those that are known.
  """
  kind = config.get("model_type")
  require(kind in CLASSES, f"{where} model_type", kind, f"use a model of one of the types {list(CLASSES)}")
  for field, known, what in REFUSED:
    require(config.get(field, known) == known, f"{where} {field}", config.get(field), f"use a model with {what}")
  found = {ours: _whole(config, theirs, where) for theirs, ours in SIZES.items()}
  kv_heads = found["heads"] if kind == "llama" and config.get("num_key_value_heads") is None else None
  return {
    **found,
    "kv_heads": kv_heads or _whole(config, "num_key_value_heads", where),
    "head_size": None if config.get("head_dim") is None else _whole(config, "head_dim", where),
    **_rotation(config, where),
    "epsilon": _positive(config, "rms_norm_eps", 1e-6, where),
    "tied": bool(config.get("tie_word_embeddings", False)),
    "qkv_bias": kind == "qwen2",
    "window": _window(config, where),
    "context": None if config.get(LONGEST) is None else _whole(config, LONGEST, where),
  }


def _whole(config, field, where):
  value = config.get(field)
  require(type(value) is int and value > 0, f"{where} {field}", value, "give a whole number above 0")
  return value


def _positive(config, field, default, where):
  value = config.get(field, default)
  require(type(value) in (int, float) and value > 0, f"{where} {field}", value, "give a number above 0")
  return float(value)


def _rotation(config, where):
  """`rope_parameters` since version 5, `rope_theta` and `rope_scaling` before."""
  new, old = config.get("rope_parameters"), config.get("rope_scaling")
  for field, value in (("rope_parameters", new), ("rope_scaling", old)):
    require(isinstance(value, dict | None), f"{where} {field}", value, "give a JSON object, or null")
  settings = new or old
  base = new if new and "rope_theta" in new else config
  kept = rotary.scaling(settings, f"{where} {'rope_parameters' if new else 'rope_scaling'}")
  names = () if kept is None else ("rope_type", *rotary.FIELDS[kept[0]])
  described = dict(zip(names, () if kept is None else (kept[0], *kept[1]))) or None
  return {"rope_base": _positive(base, "rope_theta", 1e4, where), "rope_scaling": described}


def _window(config, where):
  """The sliding window of all blocks, or None; Qwen2 names the blocks that have one."""
  if config["model_type"] == "mistral":
    return None if config.get("sliding_window", 4096) is None else _whole({"sliding_window": 4096, **config},
                                                                           "sliding_window", where)
  sliding = config["model_type"] == "qwen2" and config.get("use_sliding_window", False)
  require(not sliding, f"{where} use_sliding_window", sliding, "use a Qwen2 whose blocks all see everything")
  return None


def describe(settings: Mapping[str, Any], dtype: str = "float32", longest: int = 2048) -> dict[str, Any]:
  """A `config.json` for a decoder made here, which `arguments` and `transformers` read.

  The type is that of the released models with such parts: `qwen2` with biases, `mistral` with a window, else `llama`.

  Args:
    settings: arguments of `models.transformer.model`; those left out have its defaults.
    dtype: of the weights, `float32`, `bfloat16` or `float16`.
    longest: tokens of the longest text, where `settings` have no `context`.

  Raises:
    Invalid: for a window together with biases, head sizes, positions, an MLP or a scale, that no released type has.
  """
  for name, usual in UNRELEASED.items():
    value = settings.get(name, usual)
    require(value == usual, f"model.{name}", value, f"train it with {usual!r}: no released type has another")
  given = {"width": 96, "depth": 2, "heads": 4, "hidden": 192, **settings}
  bias, window, size = given.get("qkv_bias", False), given.get("window"), given.get("head_size")
  require(not (bias and window), "model.window", window, "leave out window or qkv_bias: no released type has both")
  kind = "qwen2" if bias else "mistral" if window else "llama"
  usual = given["width"] // given["heads"]
  require(kind != "qwen2" or size in (None, usual), "model.head_size", size, f"leave it out: Qwen2 needs {usual}")
  stretched = given.get("rope_scaling")
  special = {"qwen2": {"use_sliding_window": False}, "mistral": {"sliding_window": window}}
  return {
    "architectures": [CLASSES[kind]], "model_type": kind, **{theirs: given[ours] for theirs, ours in SIZES.items()},
    "num_key_value_heads": given.get("kv_heads") or given["heads"],
    **({} if kind == "qwen2" else {"head_dim": size or usual}),
    "hidden_act": "silu", "rms_norm_eps": float(given.get("epsilon", 1e-6)),
    "rope_theta": float(given.get("rope_base", 1e4)), "rope_scaling": None if stretched is None else dict(stretched),
    LONGEST: given.get("context") or longest, "tie_word_embeddings": bool(given.get("tied", False)),
    **special.get(kind, {"attention_bias": False, "mlp_bias": False}), "torch_dtype": dtype,
  }  # fmt: skip

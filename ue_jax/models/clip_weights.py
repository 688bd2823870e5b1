"""CLIP checkpoints in safetensors: the names of `transformers` (ViT), and those of the released code (ViT and ResNet).

The latter are also those of `open_clip`, in which the ResNets are published on Hugging Face. Both hold PyTorch layouts.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.models import clip_text, clip_vision, weights

FILES = ("model.safetensors", "open_clip_model.safetensors")
RENAMED = (  # names of the released code -> those of transformers
  (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
  (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
  (r"\.ln_([12])\.", r".layer_norm\1."),
  (r"\.mlp\.c_fc\.", ".mlp.fc1."),
  (r"\.mlp\.c_proj\.", ".mlp.fc2."),
  (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
  (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
  (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
  (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
  (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
  (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
  (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
  (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
  (r"^ln_final\.", "text_model.final_layer_norm."),
)


def load(path: str | os.PathLike) -> tuple[dict, dict]:
  """Parameters and state of a CLIP for `models.clip.model()`, from a `.safetensors` file or the folder that holds it.

  Heads, activation and the end of texts come from `config.json` or `open_clip_config.json` beside the file; where
  there is none, heads of 64 features, the quick GELU and the largest id, as in the released models.

  Raises:
    Invalid: naming the file, if it cannot be read or does not hold a CLIP of one of the known kinds.
  """
  path = Path(path)
  if path.is_dir():
    path = next((path / name for name in FILES if (path / name).is_file()), path / FILES[0])
  arrays, settings = weights.read(path), _settings(path.parent)
  try:
    params, state = _convert(arrays, settings)
  except (KeyError, ValueError) as error:
    fix = "give the weights of a CLIP model (ViT or ResNet), and the config.json that belongs to them"
    raise Invalid(str(path), f"no array {error}" if isinstance(error, KeyError) else str(error), fix) from error
  weights.check(params, _wanted(params), path)
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params), jax.tree.map(jnp.asarray, state)


def _settings(folder: Path) -> dict[str, Any]:
  """`vision_heads`, `text_heads` (0: unknown), `vision_quick`, `text_quick`, `end`."""
  found = {"vision_heads": 0, "text_heads": 0, "vision_quick": True, "text_quick": True, "end": clip_text.LARGEST}
  for name in ("config.json", "open_clip_config.json"):
    if not (folder / name).is_file():
      continue
    try:
      config = json.loads((folder / name).read_text(encoding="utf-8"))
      return {**found, **(_described(config) if "text_config" in config else _open_described(config))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
      raise Invalid(str(folder / name), f"{type(error).__name__}: {error}", "give the config.json of a CLIP") from error
  return found


def _described(config):
  text, vision = config["text_config"], config["vision_config"]
  end = int(text.get("eos_token_id", 49407))
  for part in (text, vision):
    act = part.get("hidden_act", "quick_gelu")
    require(act in ("quick_gelu", "gelu"), "config.json hidden_act", act, "use a CLIP with gelu or quick_gelu")
    eps = part.get("layer_norm_eps", 1e-5)
    require(math.isclose(eps, 1e-5), "config.json layer_norm_eps", eps, "use a CLIP with 1e-5")
  return {
    "vision_heads": int(vision.get("num_attention_heads", 12)), "text_heads": int(text.get("num_attention_heads", 8)),
    "vision_quick": vision.get("hidden_act", "quick_gelu") == "quick_gelu",
    "text_quick": text.get("hidden_act", "quick_gelu") == "quick_gelu",
    "end": clip_text.LARGEST if end == 2 else end,  # 2 is what old configs say, whatever the end is
  }  # fmt: skip


def _open_described(config):
  config = config.get("model_cfg", config)
  quick = bool(config.get("quick_gelu", False))
  return {"text_heads": int(config["text_cfg"].get("heads", 8)), "vision_quick": quick, "text_quick": quick}


def _convert(arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> tuple[dict, dict]:
  if "visual.layer1.0.conv1.weight" in arrays:
    image, stats = _resnet(arrays)
    image_state = {"stats": jax.tree.map(lambda x: np.asarray(x, np.float32), stats)}
  else:
    image, image_state = None, {"quick": np.asarray(settings["vision_quick"])}
  arrays = _renamed(arrays)
  image = image or _vision(arrays, settings["vision_heads"])
  text_state = {"end": np.asarray(settings["end"], np.int32), "quick": np.asarray(settings["text_quick"])}
  params = {
    "image": image, "text": _text(arrays, settings["text_heads"]), "logit_scale": arrays["logit_scale"].reshape(())
  }
  return params, {"image": image_state, "text": text_state}


def _renamed(arrays):
  out = {}
  for name, array in arrays.items():
    for pattern, new in RENAMED:
      name = re.sub(pattern, new, name)
    if name.endswith((".attn.in_proj_weight", ".attn.in_proj_bias")):  # queries, keys and values in one
      prefix, _, last = name.rpartition(".attn.in_proj_")
      for part, letter in zip(np.split(array, 3), "qkv"):
        out[f"{prefix}.self_attn.{letter}_proj.{last}"] = part
    elif name == "visual.proj":
      out["visual_projection.weight"] = array.T
    elif name == "text_projection":
      out["text_projection.weight"] = array.T
    else:
      out[name] = array
  return out


def _vision(arrays, heads):
  width = len(arrays["vision_model.embeddings.class_embedding"])
  return {
    "patch": {"kernel": weights.conv(arrays["vision_model.embeddings.patch_embedding.weight"])},
    "cls": arrays["vision_model.embeddings.class_embedding"],
    "positions": arrays["vision_model.embeddings.position_embedding.weight"],
    "ln_pre": _norm(arrays, "vision_model.pre_layrnorm"),
    **_blocks(arrays, "vision_model.encoder.layers", heads or _heads(width)),
    "ln_post": _norm(arrays, "vision_model.post_layernorm"),
    "projection": {"kernel": weights.linear(arrays["visual_projection.weight"])},
  }


def _text(arrays, heads):
  embed = arrays["text_model.embeddings.token_embedding.weight"]
  return {
    "embed": embed,
    "positions": arrays["text_model.embeddings.position_embedding.weight"],
    **_blocks(arrays, "text_model.encoder.layers", heads or _heads(embed.shape[1])),
    "ln_final": _norm(arrays, "text_model.final_layer_norm"),
    "projection": {"kernel": weights.linear(arrays["text_projection.weight"])},
  }


def _blocks(arrays, prefix, heads):
  count = len({name[len(prefix) + 1 :].split(".")[0] for name in arrays if name.startswith(f"{prefix}.")})
  out = {}
  for i in range(count):
    here = f"{prefix}.{i}"
    out[f"block_{i}"] = {
      "ln1": _norm(arrays, f"{here}.layer_norm1"),
      **_attention(arrays, f"{here}.self_attn", {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj"}, heads),
      "ln2": _norm(arrays, f"{here}.layer_norm2"),
      "up": _linear(arrays, f"{here}.mlp.fc1"),
      "down": _linear(arrays, f"{here}.mlp.fc2"),
    }
  return out


def _attention(arrays, prefix, names, heads):
  out = {}
  for short, name in names.items():
    kernel, bias = _linear(arrays, f"{prefix}.{name}").values()
    if short == "o":
      out[short] = {"kernel": kernel.reshape(heads, -1, kernel.shape[1]), "bias": bias}
    else:
      out[short] = {"kernel": kernel.reshape(len(kernel), heads, -1), "bias": bias.reshape(heads, -1)}
  return out


def _resnet(arrays):
  params, stats = {}, {}

  def unit(where, what, name, conv, norm):
    where[name] = {"kernel": weights.conv(arrays[f"{conv}.weight"])}
    where[f"{name}_norm"], what[f"{name}_norm"] = weights.norm(arrays, norm)

  for i in range(3):
    unit(params, stats, f"stem_{i}", f"visual.conv{i + 1}", f"visual.bn{i + 1}")
  found = {tuple(map(int, m.groups())) for m in map(re.compile(r"visual\.layer(\d+)\.(\d+)\.").match, arrays) if m}
  for number, (layer, j) in enumerate(sorted(found)):
    here, name = f"visual.layer{layer}.{j}", f"block_{number}"
    params[name], stats[name] = {}, {}
    for i in range(3):
      unit(params[name], stats[name], f"conv_{i}", f"{here}.conv{i + 1}", f"{here}.bn{i + 1}")
    if f"{here}.downsample.0.weight" in arrays:
      unit(params[name], stats[name], "down", f"{here}.downsample.0", f"{here}.downsample.1")
  positions = arrays["visual.attnpool.positional_embedding"]
  names = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "c_proj"}
  pool = _attention(arrays, "visual.attnpool", names, _heads(positions.shape[1]))
  return {**params, "pool": {"positions": positions, **pool}}, stats


def _wanted(params):
  """The shapes that a CLIP of these sizes has."""
  text, image = params["text"], params["image"]
  (_, width), out = text["embed"].shape, text["projection"]["kernel"].shape[1]
  depth, (heads, hidden) = clip_text.depth(text), _sizes(text)
  wanted = {"text": clip_text.shapes("transformer", *text["embed"].shape[:1], len(text["positions"]), width, depth,
                                     heads, hidden, out)}
  if "patch" in image:
    heads, hidden = _sizes(image)
    patch, width = image["patch"]["kernel"].shape[0], len(image["cls"])
    wanted["image"] = clip_vision.vit_shapes(
      clip_vision.side(image), patch, width, clip_text.depth(image), heads, hidden, out)
  else:
    starts = [i for i in range(clip_text.depth(image)) if "down" in image[f"block_{i}"]] + [clip_text.depth(image)]
    depths = tuple(b - a for a, b in zip(starts, starts[1:]))
    wanted["image"], _ = clip_vision.resnet_shapes(
      clip_vision.side(image), image["stem_2"]["kernel"].shape[-1], depths, image["pool"]["q"]["kernel"].shape[1], out)
  shape = lambda x: jax.ShapeDtypeStruct(x, np.float32)
  made = jax.tree.map(shape, wanted, is_leaf=lambda x: type(x) is tuple)
  return {**made, "logit_scale": shape(())}


def _sizes(tower):
  block = tower["block_0"]
  return block["q"]["kernel"].shape[1], block["up"]["kernel"].shape[1]


def _heads(width: int) -> int:
  return max(width // 64, 1)


def _linear(arrays, name):
  return {"kernel": weights.linear(arrays[f"{name}.weight"]), "bias": arrays[f"{name}.bias"]}


def _norm(arrays, name):
  return {"scale": arrays[f"{name}.weight"], "bias": arrays[f"{name}.bias"]}

"""CLIP's two image towers: the vision transformer, and the ResNet with attention pooling.

Pure functions over plain dicts, like `clip_text`. Source: Radford et al., "Learning Transferable Visual Models From
Natural Language Supervision" (ICML 2021), section 2.4, and the released code.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from ue_jax.core.pictures import to_float
from ue_jax.models.clip_text import attend, attention_shapes, block_shapes, blocks, layer_norm, linear

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the pictures CLIP was trained on, by channel
STD = (0.26862954, 0.26130258, 0.27577711)
MOMENTUM, EPSILON = 0.9, 1e-5


def prepare(image: jax.Array, size: int) -> jax.Array:
  """Pictures `[b, h, w, 1 or 3]`, uint8 or float in [0, 1] -> normalised float32 `[b, size, size, 3]`.

  Another size is resized bilinearly (the released preprocessing is bicubic, with a central crop of the longer side).
  """
  x = jnp.asarray(to_float(image), jnp.float32)
  if x.shape[1:3] != (size, size):
    x = jax.image.resize(x, (x.shape[0], size, size, x.shape[-1]), "linear")
  return (x - jnp.asarray(MEAN, jnp.float32)) / jnp.asarray(STD, jnp.float32)


def side(p: dict) -> int:
  """Height and width in pixels of the pictures that a tower takes."""
  if "patch" in p:
    return math.isqrt(len(p["positions"]) - 1) * p["patch"]["kernel"].shape[0]
  return math.isqrt(len(p["pool"]["positions"]) - 1) * 2 ** (1 + len(_layers(p)))


def encode(p: dict, state: dict, image: jax.Array, train: bool = False) -> tuple[jax.Array, dict]:
  """The embedding of pictures, float32 `[b, d]`, not normalised; and the state afterwards.

  Args:
    p: of a transformer (`patch`, `cls`, `positions`, `ln_pre`, `block_i`, `ln_post`, `projection`) or a ResNet
      (`stem_i`, `block_i`, `pool`).
    state: `quick` bool, the activation of a transformer; `stats`, the running statistics of a ResNet.
    image: `[b, h, w, c]`.
    train: whether normalisation takes the statistics of the batch, and moves the running ones.
  """
  x = prepare(image, side(p))
  if "patch" in p:
    return _transformer(p, x, state["quick"]), state
  out, stats = _resnet(p, state["stats"], x, train)
  return out, {**state, "stats": stats}


def _transformer(p, x, quick):
  stride = p["patch"]["kernel"].shape[:2]
  x = conv(x, p["patch"]["kernel"], stride, 0)
  x = x.reshape(x.shape[0], -1, x.shape[-1])
  first = jnp.broadcast_to(p["cls"], (x.shape[0], 1, x.shape[-1]))
  x = layer_norm(p["ln_pre"], jnp.concatenate([first, x], axis=1) + p["positions"])
  x = blocks(p, x, quick)
  return linear(p["projection"], layer_norm(p["ln_post"], x[:, 0]))


def _resnet(p, stats, x, train):
  new = {}

  def unit(owner, name, x, stride=1, path=()):
    """Convolution and batch normalisation; `owner[name]` and `owner[name_norm]`."""
    kernel = owner[name]["kernel"]
    x = conv(x, kernel, (stride, stride), kernel.shape[0] // 2)
    known = stats[path[0]] if path else stats
    y, moved = batch_norm(owner[f"{name}_norm"], known[f"{name}_norm"], x, train)
    (new.setdefault(path[0], {}) if path else new)[f"{name}_norm"] = moved
    return y

  for i in range(3):
    x = jax.nn.relu(unit(p, f"stem_{i}", x, 2 if i == 0 else 1))
  x = pooled(x)
  for i in range(sum(name.startswith("block_") for name in p)):
    block, path = p[f"block_{i}"], (f"block_{i}",)
    shrink = "down" in block and i > 0
    h = jax.nn.relu(unit(block, "conv_0", x, path=path))
    h = jax.nn.relu(unit(block, "conv_1", h, path=path))
    h = unit(block, "conv_2", pooled(h) if shrink else h, path=path)
    if "down" in block:
      x = unit(block, "down", pooled(x) if shrink else x, path=path)
    x = jax.nn.relu(x + h)
  return _attention_pool(p["pool"], x), new


def _attention_pool(p, x):
  x = x.reshape(x.shape[0], -1, x.shape[-1])
  x = jnp.concatenate([jnp.mean(x, axis=1, keepdims=True), x], axis=1) + p["positions"]
  return attend(p, x, at=x[:, :1])[:, 0]


def conv(x: jax.Array, kernel: jax.Array, stride: tuple[int, int], pad: int) -> jax.Array:
  """Convolution of `[b, h, w, c]` with `[kh, kw, c, out]`, zeros on all sides as PyTorch pads."""
  names = ("NHWC", "HWIO", "NHWC")
  return jax.lax.conv_general_dilated(x, kernel, stride, ((pad, pad), (pad, pad)), dimension_numbers=names)


def pooled(x: jax.Array) -> jax.Array:
  """The means of 2x2 blocks."""
  b, h, w, c = x.shape
  return jnp.mean(x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c), axis=(2, 4))


def batch_norm(p: dict, stats: dict, x: jax.Array, train: bool) -> tuple[jax.Array, dict]:
  """Batch normalisation `[..., c]`, and the running statistics afterwards."""
  mean, var = stats["mean"], stats["var"]
  if train:
    mean = jnp.mean(x, axis=(0, 1, 2))
    var = jnp.mean(jnp.square(x - mean), axis=(0, 1, 2))
    stats = jax.tree.map(lambda old, now: MOMENTUM * old + (1 - MOMENTUM) * now, stats, {"mean": mean, "var": var})
  return (x - mean) * (p["scale"] * jax.lax.rsqrt(var + EPSILON)) + p["bias"], stats


def vit_shapes(size: int, patch: int, width: int, depth: int, heads: int, hidden: int, out: int) -> dict:
  """Shapes of the parameters of a vision transformer."""
  norm = {"scale": (width,), "bias": (width,)}
  return {
    "patch": {"kernel": (patch, patch, 3, width)}, "cls": (width,), "positions": (1 + (size // patch) ** 2, width),
    "ln_pre": norm, "ln_post": norm, "projection": {"kernel": (width, out)},
    **{f"block_{i}": block_shapes(width, heads, hidden) for i in range(depth)},
  }  # fmt: skip


def resnet_shapes(size: int, width: int, depths: tuple[int, ...], heads: int, out: int) -> tuple[dict, dict]:
  """Shapes of the parameters and of the running statistics of a ResNet; `depths` are the blocks of each layer."""
  params, stats = {}, {}

  def unit(where, what, name, inside, outside, kernel):
    where[name] = {"kernel": (kernel, kernel, inside, outside)}
    where[f"{name}_norm"] = {"scale": (outside,), "bias": (outside,)}
    what[f"{name}_norm"] = {"mean": (outside,), "var": (outside,)}

  for i, (inside, outside) in enumerate([(3, width // 2), (width // 2, width // 2), (width // 2, width)]):
    unit(params, stats, f"stem_{i}", inside, outside, 3)
  now, number = width, 0
  for layer, count in enumerate(depths):
    planes = width * 2**layer
    for j in range(count):
      where, what = params.setdefault(f"block_{number}", {}), stats.setdefault(f"block_{number}", {})
      unit(where, what, "conv_0", now, planes, 1)
      unit(where, what, "conv_1", planes, planes, 3)
      unit(where, what, "conv_2", planes, 4 * planes, 1)
      if j == 0:
        unit(where, what, "down", now, 4 * planes, 1)
      now, number = 4 * planes, number + 1
  grid = size // 2 ** (1 + len(depths))
  params["pool"] = {"positions": (1 + grid**2, now), **attention_shapes(now, heads, out)}
  return params, stats


def _layers(p):
  """The blocks that begin a layer."""
  return [name for name in p if name.startswith("block_") and "down" in p[name]]

"""CLIP: an image tower and a text tower with one space of embeddings (Radford et al., ICML 2021).

Depth, widths, heads and sizes are read off the shapes of the parameters, and the two things that shapes do not tell
(the activation and the id that ends a text) stand in the state: so `model()` applies to the parameters of any CLIP
that `load` has read. Small towers, for pictures and captions of a laptop, are offered beside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.models import clip_text, clip_vision, cnn, layers, resnet
from ue_jax.models.clip_weights import load
from ue_jax.models.model import Model, Out, tap

__all__ = ["load", "model", "scale", "unit"]

IMAGE, TEXT = ("vit", "resnet", "cnn", "resnet18"), ("transformer", "mean", "sentence")
LOGIT_SCALE = 2.6592  # log(1 / 0.07), as published
MOST = math.log(100)  # as published: a larger scale is cut
SITES = ("image", "text")


def model(
  image: str = "vit",
  text: str = "transformer",
  embedding: int = 64,
  vocabulary: int = 49408,
  size: int = 32,
  patch: int = 8,
  width: int = 64,
  depth: int = 2,
  heads: int = 4,
  depths: Sequence[int] = (1, 1, 1, 1),
  widths: Sequence[int] = (32, 64),
  length: int = 77,
  text_width: int = 64,
  text_depth: int = 2,
  text_heads: int = 4,
) -> Model:
  """A dual encoder: `apply` takes pictures `[b, h, w, 1 or 3]` or texts int32 `[b, t]` (0 is padding).

  `Out.features` and `Out.logits` are both the embedding float32 `[b, d]` of what was given, in the space that pictures
  and texts share; not normalised (`unit`), so that a feature extractor may be made of it. Parameters: `image`, `text`,
  `logit_scale` (`scale`). Everything but the choice of towers describes what `init` makes; `apply` reads sizes off the
  parameters it is given.

  Args:
    image: tower of pictures: `vit`; `resnet`, CLIP's with attention pooling; or a small `cnn`, or a `resnet18` for
      small pictures (`models.cnn`, `models.resnet`), whose logits are the embedding.
    text: tower of texts: `transformer`, `mean` of token embeddings, or `sentence`, a linear map of sentence
      embeddings float32 `[b, text_width]`, which are then what `apply` takes as texts.
    embedding: size of the shared space.
    vocabulary: number of token ids.
    size: side of pictures of `vit` and `resnet`; others are resized to it.
    patch, width, depth, heads: of the `vit`; `width`, `depths` and `heads` of the `resnet` too.
    widths: of the `cnn`.
    length, text_width, text_depth, text_heads: of the text transformer. The parameters of released models have
      `length` 77.

  Sites for taps: `image` and `text`, the embeddings.

  Raises:
    Invalid: for an unknown tower, or sizes that are not positive or do not divide each other.
  """
  _check(image, text, size, patch, width, heads, depths, text_width, text_heads)
  layers.check_positive(
    embedding=embedding, vocabulary=vocabulary, size=size, patch=patch, width=width, depth=depth, heads=heads,
    depths=tuple(depths), widths=tuple(widths), length=length, text_width=text_width, text_depth=text_depth,
    text_heads=text_heads,
  )  # fmt: skip
  small = {
    "cnn": lambda: cnn.model(embedding, tuple(widths)), "resnet18": lambda: resnet.model(embedding, 18, width=width)
  }.get(image, lambda: None)()  # fmt: skip

  def init(key, inputs):
    key_image, key_text = jax.random.split(key)
    shapes = clip_text.shapes(
      text, vocabulary, length, text_width, text_depth, text_heads, 4 * text_width, embedding
    )
    params = {"text": _draw(key_text, shapes)[0], "logit_scale": jnp.asarray(LOGIT_SCALE, jnp.float32)}
    state = {"text": {"end": jnp.zeros((), jnp.int32), "quick": jnp.asarray(True)}}
    if small:
      example = inputs if jnp.ndim(inputs) == 4 else jnp.zeros((1, size, size, 3), jnp.float32)
      params["image"], stats = small.init(key_image, example)
      return params, {**state, "image": {"stats": stats}}
    if image == "vit":
      params["image"], _ = _draw(key_image, clip_vision.vit_shapes(
        size, patch, width, depth, heads, 4 * width, embedding))
      return params, {**state, "image": {"quick": jnp.asarray(True)}}
    params["image"], stats = _draw(key_image, *clip_vision.resnet_shapes(size, width, tuple(depths), heads, embedding))
    return params, {**state, "image": {"stats": stats}}

  def apply(params, inputs, *, state={}, train=False, key=None, taps={}) -> Out:
    for site in taps:
      require(site in SITES, "taps", site, f"choose among {list(SITES)}")
    require(bool(state), "state", state, "give the state that init or load returned")
    if jnp.ndim(inputs) != 4:
      found = tap(taps, "text", clip_text.encode(params["text"], state["text"], jnp.asarray(inputs)))
      return Out(found, found, state)
    if "patch" in params["image"] or "pool" in params["image"]:
      found, seen = clip_vision.encode(params["image"], state["image"], inputs, train)
    else:
      require(small is not None, "model.image", image, "say 'cnn' or 'resnet18', as where the parameters were made")
      out = small.apply(params["image"], inputs, state=state["image"]["stats"], train=train, key=key)
      found, seen = out.logits, {"stats": out.state}
    found = tap(taps, "image", found)
    return Out(found, found, {**state, "image": seen} if train else state)

  return Model(init, apply, convolutional=True)


def scale(params: Any) -> jax.Array:
  """What cosines are multiplied by under the softmax, float32 scalar, at most 100."""
  return jnp.exp(jnp.minimum(params["logit_scale"], jnp.float32(MOST)))


def unit(x: jax.Array) -> jax.Array:
  """Embeddings `[..., d]` at length 1; zero stays zero."""
  square = jnp.sum(x * x, axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(square, jnp.finfo(jnp.float32).tiny))


def _draw(key, params, stats=None):
  made = {"params": params, **({"batch_stats": stats} if stats else {})}
  zeros = lambda: jax.tree.map(lambda shape: jnp.zeros(shape, jnp.float32), made, is_leaf=lambda x: type(x) is tuple)
  return layers.initialise(lambda key, x: zeros(), key, None, _std)


def _std(name, shape):
  if name.rsplit("/", 1)[-1] in ("embed", "positions", "cls"):
    return 1 / math.sqrt(shape[-1])
  into_heads = name.endswith(("/q/kernel", "/k/kernel", "/v/kernel"))
  return 1 / math.sqrt(shape[0]) if into_heads else layers.he(name, shape) if "conv_" in name else layers.lecun(
    name, shape)


def _check(image, text, size, patch, width, heads, depths, text_width, text_heads) -> None:
  require(image in IMAGE, "model.image", image, f"choose one of {list(IMAGE)}")
  require(text in TEXT, "model.text", text, f"choose one of {list(TEXT)}")
  if image == "vit":
    require(size % patch == 0, "model.patch", patch, f"give a divisor of size = {size}")
    require(width % heads == 0, "model.heads", heads, f"give a divisor of width = {width}")
  if image == "resnet":
    step, out = 2 ** (1 + len(depths)), 4 * width * 2 ** (len(depths) - 1)
    require(size % step == 0, "model.size", size, f"give a multiple of {step}")
    require(out % heads == 0 and width % 2 == 0, "model.heads", heads, f"give a divisor of {out}, and an even width")
  if text == "transformer":
    require(text_width % text_heads == 0, "model.text_heads", text_heads, f"give a divisor of {text_width}")

"""How a frozen surrogate sees pictures, and the clusters of pictures that it induces."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import k_means
from ue_jax.core import keys
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.pictures import to_float
from ue_jax.core.pieces import pieces
from ue_jax.models import model as models
from ue_jax.protect.publish import set_rows


class View(NamedTuple):
  """Static settings of a surrogate's look at pictures.

  Attributes:
    size: side of its input in pixels; 0 leaves pictures as they are.
    augment: look at crops (random in training, else central) of pictures made 8/7 as large, and flip at random.
    feature: `features` (input of the last layer) or `logits`.
  """

  size: int = 0
  augment: bool = False
  feature: str = "features"


class Grouping(NamedTuple):
  """Clusters in feature space: `labels` int32 `[n]` of all rows, `centers` `[k, d]`, `mean` and `scale` `[d]`."""

  labels: jax.Array
  centers: jax.Array
  mean: jax.Array
  scale: jax.Array
  inertia: jax.Array


def input_size(view: View, shape: tuple[int, ...]) -> tuple[int, int]:
  """Height and width that the surrogate sees of pictures `[..., h, w, c]`."""
  return (view.size, view.size) if view.size else tuple(shape[-3:-1])


@functools.partial(jax.jit, static_argnames="view")
def look(x: jax.Array, view: View, key: jax.Array | None = None, index: jax.Array | None = None) -> jax.Array:
  """Pictures `[b, h, w, c]`, bytes or floats, as float32 in [0, 1] of the surrogate's input size.

  With a key, crops and flips are drawn for each picture from (key, index), so they do not depend on which device or
  place in the batch it has.
  """
  x = to_float(x)
  height, width = input_size(view, x.shape)
  if not view.augment:
    return x if x.shape[1:3] == (height, width) else _resized(x, height, width)
  taller, wider = height * 8 // 7, width * 8 // 7
  x = _resized(x, taller, wider)
  if key is None:
    top, left = (taller - height) // 2, (wider - width) // 2
    return x[:, top : top + height, left : left + width]

  def one(picture, index):
    key_top, key_left, key_flip = jax.random.split(jax.random.fold_in(key, index), 3)
    top = jax.random.randint(key_top, (), 0, taller - height + 1)
    left = jax.random.randint(key_left, (), 0, wider - width + 1)
    cut = jax.lax.dynamic_slice(picture, (top, left, jnp.zeros_like(top)), (height, width, picture.shape[-1]))
    return jnp.where(jax.random.bernoulli(key_flip), cut[:, ::-1], cut)

  return jax.vmap(one)(x, index)


SIDES = (8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 299, 320, 384, 448, 512)


def check_size(subject: Subject, shape: tuple[int, ...], view: View = View()) -> None:
  """Raises Invalid if the parameters of a surrogate are for another size than it sees of pictures `[..., h, w, c]`.

  A flat head, or places that are learned, fit one size only, which is looked for among the usual ones.
  """

  def fits(*size: int) -> bool:
    example = jax.ShapeDtypeStruct((1, *size), jnp.float32)
    return models.fits(subject.model, subject.params, subject.state, example)

  sees, channels = (*input_size(view, shape), shape[-1]), shape[-1]
  if fits(*sees):
    return
  usual = ((side, side, c) for c in (channels, *{1, 3} - {channels}) for side in SIDES)
  own = next((size for size in usual if fits(*size)), None)
  named = lambda size: "x".join(map(str, size)) if size else "another size"
  fix = f"train it on pictures of {named(sees)}, or take a network of any size (a cnn with head='mean', a resnet)"
  fix += f"; methods with a `size` see pictures at size={own[0]}" if own and own[2] == channels else ""
  raise Invalid("protect.surrogate", f"made for {named(own)} pictures, sees {named(sees)}", fix)


def see(model, params, state, x: jax.Array, view: View) -> jax.Array:
  """The surrogate's features float32 `[b, d]` of pictures of its input size; always in evaluation mode."""
  out = model.apply(params, x, state=state, train=False)
  return (out.features if view.feature == "features" else out.logits).astype(jnp.float32)


def features(subject: Subject, image: np.ndarray, view: View, chunk: int = 256) -> np.ndarray:
  """The features of all pictures uint8 `[n, h, w, c]`, float32 `[n, d]`, computed `chunk` at a time.

  Raises:
    Invalid: for a surrogate of pictures of another size.
  """
  check_size(subject, image.shape, view)
  compiled = _compiled(subject.model, view)
  n, out = len(image), None
  require(n >= 1, "image", image.shape, "give at least one picture")
  for rows in pieces(n, chunk):
    part = np.asarray(compiled(subject.params, subject.state, image[rows]))
    out = np.empty((n, part.shape[1]), np.float32) if out is None else out
    out[rows[0] : rows[0] + len(rows)] = part[: n - rows[0]]
  return out


@functools.lru_cache(maxsize=16)
def _compiled(model, view: View):
  return jax.jit(lambda params, state, x: see(model, params, state, look(x, view), view))


def group(
  data: Data, subject: Subject | None, k: int, view: View = View(), *, normalise=False, restarts=1, seed=0, chunk=256
) -> Grouping:
  """Clusters the pictures by k-means on the surrogate's features, without any label; on pixels without a surrogate.

  Centres are fitted to the rows of `train`; every row gets the nearest. The result depends on `seed` and not on the
  key of a run, so that a control shares the clusters of what it controls.

  Args:
    normalise: True brings every feature to mean 0 and deviation 1 over `train` first.

  Raises:
    Invalid: for k outside 1..the number of train rows, an unknown feature, a surrogate of pictures of another size, or
      features that are not finite.
  """
  train = set_rows(data, "train")
  require(isinstance(k, int) and 1 <= k <= len(train), "protect.k", k, f"choose 1 to {len(train)}, the train pictures")
  require(view.feature in ("features", "logits"), "protect.feature", view.feature, "choose 'features' or 'logits'")
  image = data.arrays["image"]
  seen = k_means.matrix(data, "image") if subject is None else features(subject, image, view, chunk)
  require(bool(np.isfinite(seen).all()), "protect.surrogate", "NaN or infinite features", "use another surrogate")
  mean, scale = np.zeros(seen.shape[1], np.float32), np.ones(seen.shape[1], np.float32)
  if normalise:
    mean, scale = seen[train].mean(0), np.maximum(seen[train].std(0), 1e-6)
    seen -= mean
    seen /= scale
  weights = k_means.only(len(image), train)
  found = k_means.fit(seen, k, key=keys.key(seed), weights=weights, restarts=restarts, max_steps=100)
  return Grouping(found.labels, found.centers, jnp.asarray(mean), jnp.asarray(scale), found.cost)


def _resized(x, height, width):
  return jax.image.resize(x, (x.shape[0], height, width, x.shape[-1]), "linear")

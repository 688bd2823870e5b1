"""Orthogonal projection: takes the directions away that a linear classifier of raw pixels reads.

Source: Sandoval-Segura, Singla, Geiping, Goldblum, Goldstein, "What Can We Learn from Unlearnable Datasets?" (NeurIPS
2023): a linear softmax without bias is trained on the pixels, its class weights are made orthonormal (QR), and the
span is subtracted from every train picture. It undoes class-wise linear shortcuts, not sample-wise non-linear ones.

Departures. The classifier starts 1000 times smaller than usual: a start of the usual size stays in the weights, and
turned the basis so far away that up to three quarters of toy pictures could still be told apart, not one quarter.
The paper trains on floats of any sign, while what is published here is bytes. Cutting at 0 and 255 puts
some of the subtracted component back, differently for each picture. With `centre` the component's mean over the train
pictures is added again: it is the same for all, so it tells no classes apart, and far fewer values are cut.
`info["orthogonal"]` says what the bytes cost. `project` is the exact projection, on floats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.core.pictures import to_float
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import mean_term
from ue_jax.protect.publish import labels_of, repaint, set_rows
from ue_jax.train import batches, descend, losses, optim


def defend(
  label: str = "label",
  steps: int = 1000,
  batch_size: int = 1024,
  rate: Any = 0.1,
  momentum: Any = 0.9,
  centre: bool = True,
  test: bool = False,
) -> Procedure:
  """Fits the linear classifier and projects the pictures of `train`: Data -> Data.

  Args:
    label: the labelling that the classifier learns.
    steps: of SGD; the rate falls by 10 at half and three quarters. 1000 are 20 epochs of 50 000 pictures.
    batch_size: pictures a step.
    rate, momentum: of SGD; may be traced.
    centre: True keeps the mean of what is subtracted; False is the paper's projection, cut to bytes.
    test: True projects all other rows too.

  Returns:
    Data with `info["orthogonal"]`: `cut`, the share of values outside [0, 1] that were cut, and `left`, how much of
    the variance of the subtracted component is still in the bytes (0: nothing, 1: all).

  Raises:
    Invalid: for arguments out of range; at `init` for data without the labelling or `train`, or with fewer pixel values
      than classes + 1.
  """
  require(isinstance(steps, int) and steps >= 1, "defend.steps", steps, "give a whole number above 0")
  require(isinstance(batch_size, int) and batch_size >= 1, "defend.batch_size", batch_size, "give a number above 0")
  tx = optim.make("sgd", rate, steps, schedule="step", milestones=(0.5, 0.75), momentum=momentum)

  def start(key, data: Data):
    set_rows(data, "train")
    classes, values = labels_of(data, label, "defend.label")[1], int(np.prod(data.arrays["image"].shape[1:]))
    fix = f"its {classes} classes need pictures of more values than {values}"
    require(classes < values, "defend.label", label, fix)
    bound = 1e-3 / np.sqrt(values)  # so small that weights point where training moved them
    return {"weights": jax.random.uniform(key, (values, classes), minval=-bound, maxval=bound)}, {}, {}

  def objective(params, state, frozen, batch, key):
    del frozen, key
    logits = flat(batch["image"]) @ params["weights"]
    return {"cross_entropy": mean_term(losses.cross_entropy(logits, batch[label]), batch["mask"])}, state

  def finish(params, state, data: Data) -> Data:
    del state
    return published(data, basis(params["weights"]), centre, test)

  batch = batches.epochs("train", batch_size, ("image", label))
  return descend.descend(objective, tx, start=start, finish=finish, batch=batch, steps=steps)


def flat(image: jax.Array) -> jax.Array:
  """Pictures as rows of floats in [0, 1], `[b, h w c]`."""
  return jnp.reshape(to_float(jnp.asarray(image)), (len(image), -1))


def basis(weights) -> np.ndarray:
  """Orthonormal columns `[d, classes]`, float32, that span the class weights `[d, classes]`; QR in float64."""
  return np.linalg.qr(np.asarray(weights, np.float64))[0].astype(np.float32)


def project(x: jax.Array, q: jax.Array, mean: jax.Array | None = None) -> jax.Array:
  """`x - q q' x`, with `q mean` added if it is given; not cut to any range.

  Args:
    x: float pictures `[b, h, w, c]`.
    q: orthonormal columns `[h w c, k]`.
    mean: float32 `[k]`, the coordinates of what all pictures get back.
  """
  exact = lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
  rows, q = flat(x), jnp.asarray(q)
  coordinates = exact(rows, q)
  # a second pass takes away what rounding left
  rest = rows - exact(coordinates, q.T)
  rest = rest - exact(exact(rest, q), q.T)
  return (rest if mean is None else rest + exact(mean, q.T)).reshape(x.shape)


def published(data: Data, q: np.ndarray, centre: bool, test: bool) -> Data:
  """The data with the pictures of `train` (of all rows with `test`) projected, as bytes."""
  train, image = set_rows(data, "train"), data.arrays["image"]
  before = _coordinates(image, train, q)
  mean = jnp.asarray(before.mean(0) if centre else np.zeros(q.shape[1]), jnp.float32)
  run, cut = jax.jit(lambda x: project(to_float(x), q, mean)), []

  def paint(x, rows):
    found = np.asarray(run(x))
    cut.append((float(np.mean((found < -0.5 / 255) | (found > 255.5 / 255))), len(rows)))
    return found

  rows, out = np.arange(data.n) if test else train, image.copy()
  repaint(out, image, paint, rows, rows, "round", 1024)
  left = _coordinates(out, train, q).var(0).sum() / max(before.var(0).sum(), 1e-12)
  lost = {"cut": float(np.average([c for c, _ in cut], weights=[n for _, n in cut])), "left": float(left)}
  return Data({**data.arrays, "image": out}, data.sets, {**data.info, "orthogonal": lost})


def _coordinates(image: np.ndarray, rows: np.ndarray, q: np.ndarray) -> np.ndarray:
  """The coordinates of pictures in the basis, float64 `[rows, k]`, a block at a time."""
  part: Callable = lambda at: to_float(image[at]).reshape(len(at), -1).astype(np.float64) @ q
  return np.concatenate([part(rows[first : first + 1024]) for first in range(0, len(rows), 1024)])

"""A label-free encoder of pictures: a network that learns the spectral embedding of their neighbour graph.

Pictures are joined to their nearest neighbours, edges are weighted by shared neighbours, and the leading eigenvectors
of the normalised graph place every picture so that neighbours lie together (Laplacian eigenmaps: Belkin and Niyogi,
Neural Computation 2003; the row normalisation is that of Ng, Jordan and Weiss, NIPS 2001). A network regresses these
places from the pixels, as in SpectralNet (Shaham et al., ICLR 2018) but against the exact eigenvectors: so it also
places pictures that it has not seen, and can be differentiated. No label is read.

It needs nothing but the pictures themselves, which is why it can stand in for a pretrained surrogate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ue_jax.core import pictures
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import mean_term
from ue_jax.data import augment as augments
from ue_jax.models.model import Model, classes_of
from ue_jax.train import batches, optim
from ue_jax.train.descend import descend


def train(
  model: Model,
  *,
  neighbours: int = 8,
  blur: float = 1.0,
  scale: float = 10.0,
  train_set: str = "train",
  steps: int = 1000,
  batch_size: int = 128,
  rate: Any = 2e-3,
  optimizer: str = "adam",
  schedule: str = "cosine",
  augment: Sequence[str] = (),
  seed: int = 0,
) -> Procedure:
  """Data -> Subject whose logits are the place of a picture in the embedding.

  Args:
    model: its number of logits is the number of coordinates, at least 2 and fewer than there are pictures.
    neighbours: of each picture in the graph.
    blur: standard deviation in pixels of the blur before distances are taken (0: none); it makes them forgive small
      shifts.
    scale: length of every place.
    steps, batch_size, rate, optimizer, schedule: of the regression; see `optim.make`.
    augment: names that `data.augment.build` knows; they must not mix pictures.
    seed: of the eigenvector solver's start.

  Raises:
    Invalid: for values out of range, or (from init) too few pictures.
  """
  require(isinstance(neighbours, int) and neighbours >= 1, "train.neighbours", neighbours, "use at least 1")
  require(blur >= 0, "train.blur", blur, "use 0 or more pixels")
  require(not isinstance(scale, (int, float)) or scale > 0, "train.scale", scale, "use a number above 0")
  change = augments.build(augment) if augment else None

  def start(key, problem: Data):
    example = batches.array_of(problem, "image")[:1]
    params, state = model.init(key, example)
    width = classes_of(model, params, state, example)
    places = embed(problem, width, neighbours, blur, train_set, seed) * jnp.float32(scale)
    return params, state, places

  def terms(params, state, frozen, batch, key):
    images, targets = pictures.to_float(batch["image"]), frozen[batch["row"]]
    if change:
      images, _ = change(key, images, targets)
    out = model.apply(params, images, state=state, train=True, key=key)
    miss = jnp.sum((out.logits - targets) ** 2, axis=-1)
    return {"distance": mean_term(miss, batch["mask"])}, out.state

  def batch(seed, problem: Data, t):
    rows = batches.rows_of(problem, train_set)
    rows = rows[batches.shuffled(seed, len(rows), batch_size, t)]
    return {"image": problem.arrays["image"][rows], "row": rows, "mask": np.ones(batch_size, np.float32)}

  return descend(
    terms, optim.make(optimizer, rate, max(steps, 1), schedule=schedule), start=start, batch=batch, steps=steps,
    finish=lambda params, state, problem: Subject(model, params, state), convolutional=model.convolutional,
  )  # fmt: skip


def embed(data: Data, width: int, neighbours: int, blur: float, train_set: str = "train", seed: int = 0) -> np.ndarray:
  """The spectral embedding of a set's pictures, rows of length 1: float32 `[n, width]`, zeros for other rows."""
  from scipy import ndimage, sparse
  from scipy.sparse.linalg import eigsh
  from sklearn.neighbors import kneighbors_graph

  rows = np.asarray(batches.rows_of(data, train_set))
  require(width >= 2, "model.classes", width, "use at least 2 coordinates")
  fix = f"use fewer than the {len(rows)} pictures"
  require(len(rows) > width + 1, "model.classes", width, fix)
  require(len(rows) > neighbours, "train.neighbours", neighbours, fix)
  flat = pictures.to_float(batches.array_of(data, "image")[rows])
  if blur:
    flat = ndimage.gaussian_filter(flat, (0, blur, blur, 0))
  near = kneighbors_graph(flat.reshape(len(rows), -1), neighbours, mode="connectivity")
  near = near.maximum(near.T)
  shared = (near @ near.T).multiply(near) + near  # an edge counts for more where neighbourhoods overlap
  root = sparse.diags(np.asarray(shared.sum(1)).ravel() ** -0.5)
  first = np.random.default_rng(seed).standard_normal(len(rows))
  vectors = eigsh(root @ shared @ root, k=width, which="LA", v0=first)[1][:, ::-1]
  vectors = root @ vectors
  out = np.zeros((data.n, width), np.float32)
  out[rows] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
  return out

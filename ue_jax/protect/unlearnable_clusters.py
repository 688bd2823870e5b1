"""Unlearnable Clusters: label-agnostic unlearnable examples (Zhang et al., CVPR 2023).

Pictures are clustered in the feature space of a frozen surrogate; for each cluster ONE perturbation is learned that
drags any picture towards the centre of the next cluster. No label is read anywhere.

As in the paper's code and unlike what one might expect: a perturbation is trained on all pictures and not only on
those of its cluster; the targets are the fixed shift i -> i + 1; the loss compares raw features and raw centres under
a softmax. `param="direct"` (the pixels by signed steps) is an addition here, and cheaper; `param="generator"` with
`augment=True` is the published way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster.distances import sqeuclidean
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.pictures import to_bytes
from ue_jax.core.procedure import Procedure
from ue_jax.core.tally import Tally
from ue_jax.core.terms import safe
from ue_jax.models import generator
from ue_jax.parallel import mesh
from ue_jax.parallel.spread import allsum, gather
from ue_jax.protect import perturbation, publish
from ue_jax.protect import surrogate as surrogates
from ue_jax.train.batches import shuffled


class State(NamedTuple):
  """What crafting carries; `k` clusters, features of width `d`, perturbations `[h, w, c]`.

  Attributes:
    labels: int32 `[n]`, the cluster of every row of the Data.
    inertia: float32, the cost of the clustering.
    centers: `[k, d]`; mean, scale: `[d]`, how features are normalised (0 and 1: they are not).
    eps, most: the budget, and in whole grey levels.
    surrogate: its frozen (params, state).
    which, targets: int32 `[k]`, each cluster and the one it is dragged to; aims: `[k, d]`, the centre of that one.
    carry: what is optimised, stacked on a leading axis k.
    delta: float32 `[k, h, w, c]`, the perturbations that `carry` gives now.
  """

  key: jax.Array
  step: jax.Array
  labels: jax.Array
  inertia: jax.Array
  centers: jax.Array
  mean: jax.Array
  scale: jax.Array
  eps: jax.Array
  most: jax.Array
  surrogate: Any
  which: jax.Array
  targets: jax.Array
  aims: jax.Array
  carry: Any
  delta: jax.Array


def protect(
  surrogate: Subject,
  k: int = 10,
  eps=16 / 255,
  param: str = "direct",
  steps: int = 200,
  step_size=None,
  rate=1e-4,
  weight_decay=5e-4,
  squash: str = "clamp",
  offset: int = 1,
  norm: str = "linf",
  size: int = 0,
  mode: str = "noise",
  batch_size: int = 256,
  augment: bool = False,
  start: str = "zeros",
  temperature=1.0,
  feature: str = "features",
  normalise: bool = False,
  chunk: int = 0,
  split: str = "batch",
  generator_width: int = 64,
  generator_blocks: int = 6,
  restarts: int = 1,
  cluster_seed: int = 0,
  every: int = 0,
) -> Procedure:
  """One learned perturbation a cluster: Data -> Data with changed `train` and a set `test_protected`.

  Args:
    surrogate: a frozen network; used in evaluation mode.
    k: number of clusters, at least 2.
    eps: budget in units of [0, 1]; may be traced, as may step_size, rate, weight_decay, offset and temperature.
    param: `direct` or `generator`, see `perturbation`.
    steps: of crafting; all clusters take them together.
    step_size, start: of `direct`. rate, weight_decay, squash, generator_width, generator_blocks: of `generator`.
    offset: cluster i is dragged to cluster (i + offset) mod k.
    norm: `linf`, or `l2` of a whole perturbation.
    size: side in pixels of the surrogate's input and of the perturbations; 0: that of the pictures.
    mode: where `size` differs from the pictures, `noise` stretches perturbations to them (nearest neighbour), `img`
      publishes pictures resized to `size`.
    batch_size: pictures a step, from the whole of `train`.
    augment: craft on random crops and flips of pictures resized to 8/7 of the input, as published.
    temperature: divides features and centres under the softmax; 1 as published.
    feature: `features` (input of the last layer) or `logits`.
    normalise: True clusters and compares features of mean 0 and deviation 1; the paper uses them raw.
    chunk: clusters whose surrogate passes are in memory together; 0: all (one vmap).
    split: over several devices, cut the `batch` or the `clusters`.
    restarts, cluster_seed: of k-means; the clusters do not depend on the key of the run.
    every: steps between two probes of `kl` and `redirect` on up to 512 pictures.

  Metrics of a step: `loss` (mean KL) and `redirected` (share of the pictures of a cluster whose nearest centre is the
  target) as Tallies, and `kl`, `redirect` float32 `[k]` by cluster (0 where the batch has no picture of it).

  Raises:
    Invalid: for values out of range, or (from init) more clusters than pictures.
  """
  _check(k, eps, norm, offset, temperature, rate, size, batch_size, steps)
  _choose(param=param, squash=squash, mode=mode, start=start, split=split, feature=feature)
  view = surrogates.View(size, augment, feature)
  model = surrogate.model

  def parametrisation(shape):
    shape = (*surrogates.input_size(view, shape), shape[-1])
    if param == "direct":
      return perturbation.direct(shape, step_size, norm, start)
    net = generator.model(width=generator_width, blocks=generator_blocks, channels=shape[-1])
    return perturbation.generated(net, shape, steps, rate, weight_decay, norm, squash)

  @functools.cache
  def begins(shape):
    form = parametrisation(shape)

    def begin(key, which, budget):
      carry = form.init(jax.random.fold_in(key, which), budget)
      return carry, form.value(form.trainable(carry), carry, budget)

    return jax.jit(jax.vmap(begin, (None, 0, None)))

  def init(key, data: Data) -> State:
    found = surrogates.group(data, surrogate, k, view, normalise=normalise, restarts=restarts, seed=cluster_seed)
    which = jnp.arange(k, dtype=jnp.int32)
    targets = (which + offset) % k
    budget = jnp.asarray(eps, jnp.float32)
    carry, delta = begins(data.arrays["image"].shape[1:])(key, which, budget)
    most = publish.most_levels(budget) if norm == "linf" else jnp.int32(255)
    return State(
      key, jnp.int32(0), found.labels, found.inertia, found.centers, found.mean, found.scale, budget, most,
      (surrogate.params, surrogate.state), which, targets, found.centers[targets], carry, delta,
    )  # fmt: skip

  def seen(state: State, x, delta):
    """Features of the pictures under a perturbation, `[b, d]`."""
    moved = jnp.clip(x + delta, 0, 1)
    return (surrogates.see(model, *state.surrogate, moved, view) - state.mean) / state.scale

  def step(state: State, batch, axis=None):
    over_batch, over_clusters = (axis, None) if split == "batch" else (None, axis)
    x = surrogates.look(batch["image"], view, jax.random.fold_in(state.key, state.step), batch["index"])
    mask, own = batch["mask"].astype(jnp.float32), state.labels[batch["row"]]
    count = safe(allsum(jnp.sum(mask), over_batch))
    form = parametrisation(batch["image"].shape[1:])

    def one(carry, aim, which, target):
      def loss(tree):
        features = seen(state, x, form.value(tree, carry, state.eps))
        return jnp.sum(divergence(aim, features, temperature) * mask) / count, features

      (kl, features), gradient = jax.value_and_grad(loss, has_aux=True)(form.trainable(carry))
      mine = mask * (own == which).astype(jnp.float32)
      there = (jnp.argmin(sqeuclidean(features, state.centers), axis=1) == target).astype(jnp.float32)
      return gradient, kl, jnp.sum(mine * there), jnp.sum(mine)

    parts = _over(one, chunk)(state.carry, state.aims, state.which, state.targets)
    gradient, kl, hits, members = allsum(parts, over_batch)
    carry = jax.vmap(lambda c, g: form.update(c, g, state.eps, state.step))(state.carry, gradient)
    delta = jax.vmap(lambda c: form.value(form.trainable(c), c, state.eps))(carry)
    kl, hits, members = gather((kl, hits, members), over_clusters)
    metrics = {
      "loss": Tally(jnp.sum(kl) * count, count * k),
      "redirected": Tally(jnp.sum(hits), jnp.sum(members)),
      "kl": kl,
      "redirect": hits / safe(members),
    }
    return state._replace(step=state.step + 1, carry=carry, delta=delta), metrics

  def batch(seed, data: Data, t):
    train = publish.set_rows(data, "train")
    count = min(batch_size, len(train))
    rows = train[shuffled(seed, len(train), count, t)]
    arrays = {name: data.arrays[name][rows] for name in ("image", "index")}
    return {**arrays, "row": rows, "mask": np.ones(count, np.float32)}

  def finish(state: State, data: Data) -> Data:
    if mode == "img" and size:
      data = _resized(data, view)
    sides = data.arrays["image"].shape[1:3]
    delta, whole = (publish.stretch(x, *sides) for x in (np.asarray(state.delta), grey_levels(state)))
    return publish.add_patterns(data, delta, whole, np.asarray(state.labels))

  @jax.jit
  def look_at(state: State, image, own):
    x = surrogates.look(image, view)

    def one(delta, aim, which, target):
      features = seen(state, x, delta)
      there = jnp.argmin(sqeuclidean(features, state.centers), axis=1) == target
      mine = (own == which).astype(jnp.float32)
      return jnp.mean(divergence(aim, features, temperature)), jnp.sum(mine * there.astype(jnp.float32))

    kl, hits = _over(one, chunk)(state.delta, state.aims, state.which, state.targets)
    return {"kl": jnp.mean(kl), "redirect": jnp.sum(hits) / own.shape[0]}

  def probe(state: State, data: Data) -> dict:
    train = publish.set_rows(data, "train")
    rows = train[np.linspace(0, len(train) - 1, min(512, len(train))).astype(np.int32)]
    return look_at(state, data.arrays["image"][rows], state.labels[rows])

  return Procedure(init, step, finish, batch, steps, probe, every, _axes(split), convolutional=True)


def divergence(aim: jax.Array, features: jax.Array, temperature=1.0) -> jax.Array:
  """KL(softmax(aim) || softmax(features)) in nats, float32 `[b]`, for one aim `[d]` and features `[b, d]`."""
  q = jax.nn.log_softmax(aim / temperature)
  p = jax.nn.log_softmax(features / temperature)
  return jnp.sum(jnp.exp(q) * (q - p), axis=-1)


def grey_levels(state: State) -> np.ndarray:
  """The perturbations in whole grey levels, int16 `[k, h, w, c]`, none beyond floor(255 eps) under `linf`."""
  most = int(state.most)
  return np.clip(publish.levels(state.delta, 1.0), -most, most)


def painter(state: State, data: Data) -> Callable[[np.ndarray, int], np.ndarray]:
  """`fn(picture, row)` for pictures of any size: the perturbation of the cluster of that row of `data`.

  Args:
    state: as the last step left it.
    data: what `init` was given (only its rows count).

  Returns:
    A function of a picture `[height, width, 3]` (uint8, or float in [0, 1]) and its row, to uint8. Perturbations are
    stretched by nearest neighbour; under `linf` no value moves by more than floor(255 eps) grey levels.
  """
  whole, labels = grey_levels(state), np.asarray(state.labels)
  require(len(labels) == data.n, "data", f"{data.n} rows", f"give the Data of init, {len(labels)} rows")
  return publish.pattern_painter(whole, labels)


def _over(fn: Callable, chunk: int) -> Callable:
  def run(*trees):
    if not mesh.maps_gradients(trees):  # older JAX over several devices: slower, the same numbers
      return jax.lax.map(lambda one: fn(*one), trees)
    if chunk == 0:
      return jax.vmap(fn)(*trees)
    return jax.lax.map(lambda one: fn(*one), trees, batch_size=chunk)

  return run


def _resized(data: Data, view: surrogates.View) -> Data:
  still = jax.jit(lambda x: surrogates.look(x, view._replace(augment=False)))
  image = data.arrays["image"]
  parts = [to_bytes(np.asarray(still(image[i : i + 256]))) for i in range(0, len(image), 256)]
  return Data({**data.arrays, "image": np.concatenate(parts)}, data.sets, data.info)


def _axes(split: str) -> State | None:
  if split == "batch":
    return None
  sliced = {"which", "targets", "aims", "carry", "delta"}
  return State(*(0 if name in sliced else None for name in State._fields))


def _choose(**chosen: str) -> None:
  options = {
    "param": ("direct", "generator"), "squash": ("clamp", "tanh"), "mode": ("noise", "img"),
    "start": ("zeros", "sign"), "split": ("batch", "clusters"), "feature": ("features", "logits"),
  }  # fmt: skip
  for name, value in chosen.items():
    require(value in options[name], f"protect.{name}", value, f"choose one of {list(options[name])}")


def _check(k, eps, norm, offset, temperature, rate, size, batch_size, steps) -> None:
  publish.check_budget(eps, norm)
  require(isinstance(k, int) and k >= 2, "protect.k", k, "use at least 2 clusters")
  if isinstance(offset, int):
    require(offset % k != 0, "protect.offset", offset, f"use 1 to {k - 1}: a cluster must not be its own target")
  if isinstance(temperature, (int, float)):
    require(temperature > 0, "protect.temperature", temperature, "use a number above 0")
  if isinstance(rate, (int, float)):
    require(rate > 0, "protect.rate", rate, "use a number above 0")
  require(size == 0 or size >= 8, "protect.size", size, "use 0 or at least 8 pixels")
  require(batch_size >= 1, "protect.batch_size", batch_size, "use at least 1")
  require(steps >= 0, "protect.steps", steps, "use 0 or more")

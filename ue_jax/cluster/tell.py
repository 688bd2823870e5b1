"""XAI Beyond Classification: Interpretable Neural Clustering (Peng, Li, Tsang, Zhu, Lv, Zhou, 2018; JMLR 2022).

k-means as a layer: the rows of a linear map without bias are the centres, of length one like the codes they are
compared with; its activation is one-hot, and the loss is what k-means minimises. Trained by stochastic gradients, with
an auto-encoder or (`encoder="identity"`) alone, it clusters in batches and online, and every weight is a centre that
can be looked at: `decoded`.

The published loss averages over batch and clusters, zeros included, so its weight on the mean of 1 - cos is 0.02 / k;
here the weight is `lam` whatever k is. Epochs alternate: in even ones the centres move and codes feel the
reconstruction alone; in odd ones the centres rest and the encoder is drawn to them. Departures: a centre takes a step
of a set length along its gradient; `compat=True` passes that step to Adadelta, as published.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ue_jax.cluster import given, k_means
from ue_jax.cluster.distances import HIGHEST
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Clustering, Data
from ue_jax.core.pictures import to_float
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term, mean_term
from ue_jax.models import autoencoder
from ue_jax.models.model import Model, Out
from ue_jax.parallel import spread
from ue_jax.train import batches, descend, loop, optim, supervised

ENCODERS = ("mlp", "conv", "identity")
STARTS = ("random", "rows")
SCALE = 0.001  # of the published code: centres are stored 2 * SCALE long; it only matters beside the eps of Adadelta


class Network(NamedTuple):
  """A trained clustering network.

  Attributes:
    model: whose `features` are the codes `[b, d]` of length one and whose `logits` are the reconstruction.
    params, state: of the model.
    centers: float32 `[k, d]`, rows of length one.
    shape: of one input.
  """

  model: Model
  params: Any
  state: Any
  centers: jax.Array
  shape: tuple[int, ...]


def cluster(
  k: int = 10, encoder: str | Model = "mlp", array: str = "image", data_set: str = "", steps: int = 1400,
  batch_size: int = 256, lam: float = 0.002, rate: float = 1e-3, centre_rate: float = 0.2,
  schedule: str = "constant", widths: Sequence[int] = (256, 256), code: int = 10, dropout: float = 0.0,
  output: str = "sigmoid", dtype: str = "float32", alternate: bool = True, shuffle: bool = True,
  start: str = "random", reseed: bool = False, compat: bool = False,
) -> Procedure:
  """Trains centres, and the auto-encoder that they live in: Data -> Clustering.

  Args:
    k: number of clusters.
    encoder: `mlp` or `conv` (see `models.autoencoder`), or `identity`: the rows themselves, scaled to length one. Or a
      Model like the auto-encoder's.
    array: the array of the Data to cluster; bytes become floats in [0, 1].
    data_set: the set that is trained on; every row gets a label. Empty: all rows.
    steps: batches; an epoch has as many full ones as the set holds, what is left over of its order is left out.
    batch_size: rows, at most those of the set.
    lam: weight of the mean of 1 - cos between codes and their centres.
    rate: of Adam on the auto-encoder; with `compat`, of Adadelta (there 1 was published).
    centre_rate: length of a centre's step before it is scaled to length one again.
    schedule: of `centre_rate` over the steps, see `optim.unit`: `constant`, `linear`, `cosine`, `step`.
    widths, code, dropout, output, dtype: of the auto-encoder.
    alternate: epochs alternate between centres and encoder; False: both feel the clustering in every step. Without an
      encoder the centres move in every epoch.
    shuffle: False takes the rows in their order, as a stream brings them.
    start: the centres are `random` directions at first, as published, or the codes of random `rows`.
    reseed: after every epoch, centres to which no code was nearest move to the codes of the batch that are farthest.
    compat: see above.

  The result's `centers` are the rows of length one in code space, `cost` the mean squared distance of codes to them.

  Raises:
    Invalid: for sizes out of range or unknown names.
  """
  for field, value in (("k", k), ("steps", steps), ("batch_size", batch_size)):
    require(isinstance(value, int) and value >= 1, f"cluster.{field}", value, "give a whole number, 1 or more")
  require(start in STARTS, "cluster.start", start, f"choose one of {list(STARTS)}")
  named = isinstance(encoder, str)
  model = network(encoder, code, tuple(widths), dropout, output, dtype) if named else encoder
  adam = optim.relaxed(optax.adadelta(rate, rho=0.9, eps=1e-6)) if compat else optim.make("adam", rate, steps)
  tx = both(adam, centre_steps(centre_rate, optim.unit(schedule, steps), compat))

  def begin(key, data):
    x = _inputs(data, array, data_set)
    require(k <= len(x), "cluster.k", k, f"choose 1 to {len(x)}, the number of samples")
    network_key, centre_key = jax.random.split(key)
    params, state = model.init(network_key, x[:2])
    picks = x[np.asarray(jax.random.choice(centre_key, len(x), (k,), replace=False))]
    centers = jax.jit(model.apply)(params, picks, state=state).features
    centers = unit(jax.random.normal(centre_key, centers.shape)) if start == "random" else centers
    return {"net": params, "centers": centers}, {"net": state, "used": jnp.ones(k)}, {}

  def batch(seed, data, t):
    x = _inputs(data, array, data_set)
    rows, epoch, begins = _rows(len(x), batch_size, seed, t, shuffle)
    centres = not alternate or model is IDENTITY or epoch % 2 == 0
    flags = {"centres": np.float32(centres), "encoder": np.float32(not alternate or not centres)}
    return {"x": x[rows], "mask": np.ones(len(rows), np.float32), "begins": np.float32(begins), **flags}

  def finish(params, state, data) -> Clustering:
    found = _network(model, params, state, data.arrays[array])
    labels, codes = assign(found, data.arrays[array])
    centers = np.asarray(found.centers)
    cost = np.mean(np.sum((codes - centers[labels]) ** 2, axis=1), dtype=np.float32)
    return Clustering(labels, centers, None, cost, np.int32(steps))

  made = descend.descend(
    objective(model, lam), tx, start=begin, finish=finish, batch=batch, steps=steps, convolutional=model.convolutional
  )
  return made._replace(step=reseeding(model, made.step) if reseed else made.step)


@functools.lru_cache(maxsize=8)  # one object a network: compiled functions are found again by it
def network(encoder: str, code: int, widths: Sequence[int], dropout: float, output: str, dtype: str) -> Model:
  """The auto-encoder of that name, or the identity: rows scaled to length one, with nothing to reconstruct."""
  if encoder not in ENCODERS:
    raise Invalid("cluster.encoder", encoder, f"choose one of {list(ENCODERS)}")
  return IDENTITY if encoder == "identity" else autoencoder.model(encoder, code, widths, dropout, output, dtype)


def _identity(params, inputs, *, state={}, train=False, key=None, taps={}) -> Out:
  x = jnp.asarray(to_float(inputs), jnp.float32)
  return Out(x, unit(x.reshape(x.shape[0], -1)), state)


IDENTITY = Model(lambda key, inputs: ({}, {}), _identity)


def objective(model: Model, lam: Any):
  """The terms `reconstruction` (mean squared error) and `clustering` (mean of 1 - cos to the nearest centre).

  The flags `centres` and `encoder` of the batch, 0 or 1, say who feels the second.
  """

  def terms(params, state, frozen, batch, key):
    x = jnp.asarray(to_float(batch["x"]), jnp.float32)
    out = model.apply(params["net"], x, state=state["net"], train=True, key=key)
    codes = _felt(out.features, batch["encoder"])
    similarity = jnp.matmul(codes, _felt(params["centers"], batch["centres"]).T, precision=HIGHEST)
    nearest = jnp.argmax(similarity, axis=1)
    chosen = jnp.where(nearest[:, None] == jnp.arange(similarity.shape[1]), batch["mask"][:, None], 0)
    error = jnp.mean((out.logits - x).reshape(len(x), -1) ** 2, axis=1)
    weight = jnp.sum(batch["mask"])
    clustering = Term(jnp.sum(chosen * (1 - similarity)), weight, lam)
    used = jnp.where(batch["begins"] > 0, 0, state["used"]) + jnp.sum(chosen, axis=0)
    found = {"reconstruction": mean_term(error, batch["mask"]), "clustering": clustering}
    return found, {"net": out.state, "used": jax.lax.stop_gradient(used)}

  return terms


def reseeding(model: Model, step):
  """The step, before which, when an epoch begins, unused centres move to the farthest codes of the batch."""

  def run(state, batch, axis=None):
    codes = model.apply(state.params["net"], jnp.asarray(to_float(batch["x"]), jnp.float32), state=state.state["net"])
    codes, mask = spread.gather((codes.features, batch["mask"]), axis)
    centers, empty = state.params["centers"], (state.state["used"] == 0) & (batch["begins"] > 0)
    near = jnp.max(jnp.matmul(codes, centers.T, precision=HIGHEST), axis=1)
    order = jax.lax.top_k(jnp.where(mask > 0, -near, -jnp.inf), min(len(empty), len(near)))[1]
    turn = jnp.minimum(jnp.cumsum(empty) - 1, len(order) - 1)
    moved = jnp.where(empty[:, None], codes[order[turn]], centers)
    return step(state._replace(params={**state.params, "centers": moved}), batch, axis)

  return run


def centre_steps(rate: Any, shape, compat: bool = False) -> optax.GradientTransformation:
  """Moves every row of length one by `rate` along minus its gradient, then scales it to length one again.

  A row without a gradient keeps its bits.

  Args:
    rate: length of the step, may be traced.
    shape: share of it after so many steps.
    compat: the step, with centres 2 * SCALE long, is what Adadelta is given as a gradient.
  """
  inner = optim.relaxed(optax.adadelta(1.0, rho=0.9, eps=1e-6))

  def init(centers):
    return jnp.zeros((), jnp.int32), inner.init(centers) if compat else ()

  def update(grads, state, centers):
    count, memory = state
    size = jnp.linalg.norm(grads, axis=1, keepdims=True)
    way = rate * shape(count) * grads / jnp.where(size > 0, size, 1)
    if compat:
      change, memory = inner.update(SCALE * way, memory, centers)
      way = -change / (2 * SCALE)
    moved = unit(centers - way)
    return jnp.where(size > 0, moved - centers, 0), (count + 1, memory)

  return optax.GradientTransformation(init, update)


def both(net: optax.GradientTransformation, centers: optax.GradientTransformation) -> optax.GradientTransformation:
  """One transformation for the parameters `net` and `centers`, each by its own."""
  parts = {"net": net, "centers": centers}

  def update(grads, state, params):
    made = {name: part.update(grads[name], state[name], params[name]) for name, part in parts.items()}
    return {name: updates for name, (updates, _) in made.items()}, {name: after for name, (_, after) in made.items()}

  return optax.GradientTransformation(lambda params: {n: p.init(params[n]) for n, p in parts.items()}, update)


def unit(x: jax.Array) -> jax.Array:
  """The rows of x, each of length one."""
  return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-24))  # its gradient is finite at 0


def fit(
  x, k: int, *, key, encoder: str = "mlp", widths: Sequence[int] = (256, 256), code: int = 10, dropout: float = 0.0,
  output: str = "sigmoid", dtype: str = "float32", **settings: Any,
) -> tuple[Clustering, Network]:
  """Trains on the rows of x `[n, ...]` and returns the Clustering and the network; arguments as for `cluster`.

  With an auto-encoder and `output="sigmoid"` x has to lie in [0, 1], or be uint8.
  """
  x = np.asarray(x if getattr(x, "dtype", None) == np.uint8 else k_means.rows_of(x))
  require(x.ndim >= 2 and x.size > 0, "cluster.x", x.shape, "give rows [n, ...]")
  given.finite(x)
  data = Data({"x": x, "index": np.arange(len(x), dtype=np.int32)}, {})
  model = network(encoder, code, tuple(widths), dropout, output, dtype)
  procedure = cluster(k, model, "x", **settings)
  seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
  last = loop.fit(procedure._replace(finish=lambda state, problem: state), data, seed=seed)
  return procedure.finish(last, data), _network(model, last.params, last.state, x)


def assign(network: Network, x) -> tuple[np.ndarray, np.ndarray]:
  """The cluster of every row of x `[n, ...]`, int32 `[n]`, and its code, float32 `[n, d]` of length one (numpy)."""
  codes = supervised.predict(network.model, network.params, network.state, np.asarray(x))[1]
  return np.argmax(codes @ np.asarray(network.centers).T, axis=1).astype(np.int32), codes


def decoded(network: Network) -> np.ndarray:
  """The centres as inputs look, float32 `[k, *shape]`; without an encoder the centres themselves."""
  if network.model is IDENTITY:
    return np.asarray(network.centers).reshape(-1, *network.shape)
  model, *arrays, shape = network
  return np.asarray(jax.jit(lambda *a: autoencoder.decode(model, *a, shape))(*arrays))


def _network(model: Model, params, state, x) -> Network:
  return Network(model, params["net"], state["net"], unit(params["centers"]), tuple(np.shape(x)[1:]))


def _felt(x: jax.Array, flag: jax.Array) -> jax.Array:
  """x, with a gradient only where the flag is not 0."""
  return jnp.where(flag > 0, x, jax.lax.stop_gradient(x))


def _rows(n: int, size: int, seed: int, t: int, shuffle: bool) -> tuple[np.ndarray, int, bool]:
  """Rows of batch t, its epoch, and whether it is the first of it; epochs hold full batches only."""
  size = min(size, n)
  epoch, i = divmod(t, n // size)
  order = batches.permutation(seed, epoch, n) if shuffle else np.arange(n, dtype=np.int32)
  return order[i * size : (i + 1) * size], epoch, i == 0


def _inputs(data: Data, array: str, data_set: str) -> np.ndarray:
  if array not in data.arrays:
    raise Invalid("cluster.array", array, f"choose one of {sorted(data.arrays)}")
  if data_set and data_set not in data.sets:
    raise Invalid("cluster.data_set", data_set, f"choose one of {sorted(data.sets)}")
  x = np.asarray(data.arrays[array])
  return x[np.asarray(data.sets[data_set])] if data_set else x

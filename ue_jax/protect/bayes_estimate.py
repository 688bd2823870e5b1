"""The Bayes error of labelled points, estimated by a kernel, and its gradient in closed form.

Every point is classified by the others, each of which votes with its similarity s_ij:

  p_ic = (sum over j != i of class c of s_ij) / Z_i,   Z_i = floor + sum over j != i of s_ij,
  error = mean_i(1 - max_c p_ic)

With w_ij = (1[y_j = yhat_i] - p_i,yhat) s_ij / Z_i the sum of 1 - p_i,yhat has, for s = exp(-d^2 / 2 sigma^2), the
gradient sum_j (w_ij + w_ji)(u_i - u_j) / sigma^2: matrix products over blocks of rows, memory O(chunk * n), never an
array `[n, n, d]`. Ties of the argmax aside, it is exact.

Estimator and closed form follow the reference package of "Towards Provably Unlearnable Examples via Bayes Error
Optimisation" (AAAI 2026), whose autograd function returns the mean but the gradient of the SUM, n times too large;
here value and gradient are both those of the mean. Two properties of the estimator to know. With the published floor
of 1e-8 a point so far from all others that its similarities vanish beside it counts as an error of 1, not as a point
that nobody confuses, so that ascent can raise the estimate (even above that of a guess) by driving points apart and
never mixing classes; with floor 0 posteriors add up to 1 at any distance, computed without underflow. And for distinct
points and sigma -> 0 it is then the error of the nearest neighbour, not the Bayes error of any distribution.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.train import pgd

SIMILARITIES = ("rbf", "logistic")
_product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class Form(NamedTuple):
  """What is fixed when compiling: number of classes, similarity, rows in a block."""

  classes: int
  similarity: str
  chunk: int


def error(
  u: jax.Array, labels: jax.Array, classes: int, sigma=0.3, *, anchors: jax.Array | None = None,
  similarity: str = "rbf", chunk: int = 1024, floor=1e-8,
) -> jax.Array:
  """The estimated Bayes error, float32 scalar in [0, 1]; differentiable in `u` and `sigma`.

  Args:
    u: float32 `[n, d]`.
    labels: int32 `[n]` in 0..classes - 1.
    classes: their number, static.
    sigma: width of `rbf` in the units of u, > 0, or `median` (see `median_distance`); may be traced.
    anchors: int32 `[m]`, rows of u that vote; None: all of them. No row votes about itself.
    similarity: `rbf`, or `logistic`: sigmoid(u_i . u_j), which has no width.
    chunk: rows in a block, static.
    floor: added to the sum of the votes, >= 0; may be traced.

  Raises:
    Invalid: for an unknown similarity, sigma <= 0, or no rows in a block.
  """
  check(sigma, similarity, chunk)
  u, labels = jnp.asarray(u), jnp.asarray(labels)
  n = u.shape[0]
  ids = jnp.arange(n, dtype=jnp.int32)
  voters = ids if anchors is None else anchors
  v = u if anchors is None else u[anchors]
  sigma = median_distance(v) if isinstance(sigma, str) else jnp.asarray(sigma, u.dtype)
  if similarity == "rbf":  # distances do not change, and rounding has less to cancel
    middle = jax.lax.stop_gradient(jnp.mean(v, axis=0))
    u, v = u - middle, v - middle
  form = Form(classes, similarity, min(chunk, n))
  return _total(form, u, v, sigma, jnp.asarray(floor, u.dtype), ids, voters, labels[voters]) / n


def posterior(u: jax.Array, labels: jax.Array, classes: int, sigma=0.3, similarity: str = "rbf", floor=1e-8):
  """p_ic, float32 `[n, classes]`, at once and not in blocks: to look at; rows add up to 1 unless `floor` is felt."""
  check(sigma, similarity, 1)
  sigma = median_distance(u) if isinstance(sigma, str) else jnp.asarray(sigma, u.dtype)
  ids = jnp.arange(u.shape[0], dtype=jnp.int32)
  s, _, lift = _similarities(similarity, u, u, sigma, ids, ids)
  return _product(s, _onehot(labels, classes, u.dtype)) / (jnp.sum(s, axis=1) + floor * lift)[:, None]


def median_distance(v: jax.Array, most: int = 512) -> jax.Array:
  """The median Euclidean distance between up to `most` evenly spaced rows; no gradient flows through it.

  As a width it is a wide one: where all distances are alike, as among pixels, every row then votes about every other
  and the estimate is near that of a guess.
  """
  rows = np.linspace(0, v.shape[0] - 1, min(most, v.shape[0])).astype(np.int32)
  some = jax.lax.stop_gradient(v[rows])
  some = some - jnp.mean(some, axis=0)
  above = np.triu_indices(len(rows), 1)
  return jnp.maximum(jnp.sqrt(jnp.median(_squares(some, some)[above])), jnp.finfo(v.dtype).tiny ** 0.25)


def ascend(
  points: jax.Array, labels: jax.Array, classes: int, eps, sigma=0.3, *, steps: int = 60, step_size=None,
  similarity: str = "rbf", chunk: int = 1024,
) -> jax.Array:
  """Points moved by up to eps in every coordinate so that their own estimated error rises: signed ascent.

  Args:
    points: float32 `[n, d]`, of any range. The other arguments are those of `error` and of
      `bayes_error.protect`; step_size None: eps / 10.

  Returns:
    float32 `[n, d]`.
  """
  length = eps / 10 if step_size is None else step_size
  slope = jax.grad(lambda x: error(x, labels, classes, sigma, similarity=similarity, chunk=chunk))

  step = lambda _, delta: pgd.move(delta, slope(points + delta), eps, length)
  return points + jax.lax.fori_loop(0, steps, step, jnp.zeros_like(points))


def of_histogram(joint):
  """The exact Bayes error of a joint distribution `[cells, classes]`: 1 - sum over cells of the largest; concave."""
  return joint.sum() - joint.max(axis=-1).sum()


def check(sigma, similarity: str, chunk: int, field: str = "protect") -> None:
  """Raises Invalid for what no estimate can be made with (traced values pass)."""
  require(similarity in SIMILARITIES, f"{field}.similarity", similarity, f"choose one of {list(SIMILARITIES)}")
  if isinstance(sigma, str):
    require(sigma == "median", f"{field}.sigma", sigma, "give a number above 0, or 'median'")
  if isinstance(sigma, (int, float)):
    require(0 < sigma < float("inf"), f"{field}.sigma", sigma, "give a number above 0, or 'median'")
  require(isinstance(chunk, int) and chunk >= 1, f"{field}.chunk", chunk, "use at least 1 row")


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _total(form: Form, u, v, sigma, floor, ids, voters, labels):
  """Sum over the rows of u of 1 - max_c p; v votes, row i of u not being asked about itself."""
  blocks, rows = _blocks(form, u, ids)

  def one(total, block):
    s, _, lift = _similarities(form.similarity, block[0], v, sigma, block[1], voters)
    _, best, _ = _vote(form, s, floor * lift, labels)
    return total + jnp.sum((1 - best) * block[2]), None

  return jax.lax.scan(one, jnp.zeros((), u.dtype), blocks)[0]


def _total_and_gradient(form: Form, u, v, sigma, floor, ids, voters, labels):
  blocks, rows = _blocks(form, u, ids)

  def one(carry, block):
    total, slope_v, slope_sigma = carry
    x, own, real = block
    s, squares, lift = _similarities(form.similarity, x, v, sigma, own, voters)
    z, best, winner = _vote(form, s, floor * lift, labels)
    hit = (labels[None] == winner[:, None]).astype(u.dtype)
    w = (hit - best[:, None]) * s * (real / z)[:, None]
    if form.similarity == "rbf":
      slope_u = (jnp.sum(w, 1)[:, None] * x - _product(w, v)) / sigma**2
      slope_v += (jnp.sum(w, 0)[:, None] * v - _product(w.T, x)) / sigma**2
      slope_sigma -= jnp.sum(w * squares) / sigma**3
    else:
      w *= 1 - s
      slope_u, slope_v = -_product(w, v), slope_v - _product(w.T, x)
    return (total + jnp.sum((1 - best) * real), slope_v, slope_sigma), slope_u

  start = jnp.zeros((), u.dtype), jnp.zeros_like(v), jnp.zeros((), u.dtype)
  (total, slope_v, slope_sigma), slope_u = jax.lax.scan(one, start, blocks)
  return total, (slope_u.reshape(rows, -1)[: u.shape[0]], slope_v, slope_sigma)


def _pull_back(form: Form, slopes, cotangent):
  del form
  return *(cotangent * slope for slope in slopes), None, None, None, None


_total.defvjp(_total_and_gradient, _pull_back)


def _blocks(form: Form, u, ids):
  """`(rows, their ids, 1 where it is a row and not padding)`, each in blocks, and how many rows that makes."""
  n, rows = u.shape[0], -(-u.shape[0] // form.chunk) * form.chunk
  real = (np.arange(rows) < n).astype(u.dtype)
  full = (jnp.pad(u, ((0, rows - n), (0, 0))), jnp.pad(ids, (0, rows - n)), jnp.asarray(real))
  return jax.tree.map(lambda x: x.reshape(-1, form.chunk, *x.shape[1:]), full), rows


def _similarities(similarity: str, x, v, sigma, own, voters):
  """Similarities `[b, m]`, 0 where a row meets itself, squared distances (for rbf), and by what each row is lifted.

  Lifted so that the nearest voter has similarity 1: posteriors, which are ratios, stay as they are, and none underflow.
  """
  itself = own[:, None] == voters[None]
  if similarity == "logistic":
    return jnp.where(itself, 0, jax.nn.sigmoid(_product(x, v.T))), None, jnp.ones_like(x[:, 0])
  squares = _squares(x, v)
  nearest = jnp.min(jnp.where(itself, jnp.inf, squares), axis=1)
  s = jnp.where(itself, 0, jnp.exp((nearest[:, None] - squares) / (2 * sigma**2)))
  return s, squares, jnp.exp(jnp.minimum(nearest / (2 * sigma**2), 60))  # beyond e^60 a floor of 1e-8 is all there is


def _squares(x, v):
  near = jnp.sum(x * x, 1)[:, None] + jnp.sum(v * v, 1)[None] - 2 * _product(x, v.T)
  return jnp.maximum(near, 0)


def _vote(form: Form, s, floor, labels):
  """Z, the largest posterior and its class, each `[b]`."""
  votes = _product(s, _onehot(labels, form.classes, s.dtype))
  z = jnp.sum(s, axis=1) + floor
  return z, jnp.max(votes, axis=1) / z, jnp.argmax(votes, axis=1).astype(labels.dtype)


def _onehot(labels, classes: int, dtype):
  return jax.nn.one_hot(labels, classes, dtype=dtype)

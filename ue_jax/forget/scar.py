"""SCAR: features of what is to be forgotten move to the nearest other class; pictures of nothing known keep the rest.

Source: Bonato, Cotogni and Sabetta, "Is Retain Set All You Need in Machine Unlearning? Restoring Performance of
Unlearned Models with Out-Of-Distribution Images", ECCV 2024 (selective distillation for class and
architecture-agnostic unlearning), in the form of its released code; the text of the paper was not at hand. With the
features f (the inputs of the last linear layer), u(f) is f^power, entry by entry, scaled to length 1. Of every class c
in D_r under the model before unlearning there are m_c, the mean of f^power, and C_c, its covariance, shrunk and
normalised (`shrunk`, `inverse`). Means over samples:

  pull (u(f(x)) - unit(m_c))^T C_c^-1 (u(f(x)) - unit(m_c)) over D_f, c = c(x) the nearest class that is not x's own
  + alpha KL(before || now) over surrogate pictures

Before: the model before unlearning. Where no sample of a class is kept, its logit there is put at the smallest of
the picture, and pictures that are said to be of such a class are left out.

The surrogate pictures are `source`. The paper has pictures out of distribution (10 000 of ImageNet): any set of
`data.joined` can be that. The default is Gaussian noise, which the release also makes and which needs no other data;
the audit of Kim, Cha and Kim (2025) takes D_r itself. D_r is read once, for m_c and C_c, as in the release.

Departures: every c(x) is chosen before the first step (there when it first meets x); the smallest logit is that of the
picture (there of the batch, so that what is kept depends on its company); negative features keep their sign under the
power, whose slope at 0 is put at 0; eigenvalues of C_c below 0, which shrinking can bring about, are left out of the
inverse like those that are 0, so no distance is below 0 (there they count). D_f has batches of its own, and nothing
stops early: `train.until` does. The variant without D_f ("self-forget") is not here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core import pictures
from ue_jax.core.build import with_options
from ue_jax.core.errors import require, told
from ue_jax.core.nouns import Request
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term, mean_term
from ue_jax.forget import duck, likeness, requests, vision
from ue_jax.train import batches, likelihood, losses

MADE = ("noise", "shuffled")
TINY = 1e-8


def method(
  pull: Any = 1.0,
  alpha: Any = 5.0,
  source: str = "noise",
  power: Any = 0.5,
  diagonal: Any = 3.0,
  others: Any = 3.0,
  forget_batch: int = 64,
  retain_batch: int = 64,
  keep: Sequence[str] = ("retain",),
  label: str = "label",
  rate: Any = 5e-4,
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads `forget`, once those of `keep`, and `source` if it is a set. For picture classifiers.

  Args:
    pull, alpha: coefficients of the two terms; may be traced, like the numbers after them but sizes. Released: 1 and 5.
    source: the surrogate pictures: `noise`, normal with mean and deviation of D_f in each channel, cut to the range of
      pictures; `shuffled`, pictures of D_f with their pixels in an order of each one's own; or a set of the data, whose
      labels are not read.
    power: of the features, in (0, 1]. Released: 0.5.
    diagonal, others: how much of the mean of the diagonal, and of the other entries, is added to these entries of the
      covariance, see `shrunk`. Released: 3 and 3.
    forget_batch, retain_batch: samples and surrogate pictures a step; a smaller set gives all it has.
    keep: the sets whose classes stay, taken together.
    label: the labelling.
    rate: learning rate.
    options: the others of `vision.procedure`: steps, optimizer, momentum, weight_decay, clip, schedule, milestones,
      drop, trainable.

  Raises:
    Invalid: for a number out of range or the source `forget`; at `init` for data without the sets or the labelling, a
      class that is kept whose features are all alike, or a sample to forget beside whose class none is kept.
  """
  require(not told(power) or 0 < power <= 1, "method.power", power, "give a number in (0, 1]")
  for field, value in dict(pull=pull, alpha=alpha, diagonal=diagonal, others=others).items():
    require(not told(value) or value >= 0, f"method.{field}", value, "give a number >= 0")
  require(source != "forget", "method.source", source, f"name another set, or choose one of {MADE}")

  def start(key, request):
    del key
    classes = vision.check(request, ("forget", *keep), label)
    if source not in MADE:
      requests.check_sets(request.data, (source,))
    given = aims(requests.keep(request, keep), classes, power, diagonal, others, label)
    return request.subject.params, request.subject.state, requests.frozen(
      request, params=request.subject.params, **given
    )  # fmt: skip

  def objective(params, state, frozen, batch, key):
    del key
    f, part, apply = batch["forget"], batch["surrogate"], frozen["apply"]
    features, to = apply(params, f["image"], state=state).features, frozen["to"][f["row"]]
    apart = distance(features, frozen["means"][to], frozen["inverses"][to], power)
    before, now = (likelihood.logits(apply, tree, state, part) for tree in (frozen["params"], params))
    return {
      "forget": mean_term(apart, f["mask"], pull),
      "distil": distilled(before, now, part["mask"], frozen["gone"], alpha),
    }, state

  sizes = requests.sizes(forget_batch, retain_batch, "nll")
  draw = drawn(source, sizes["forget"], sizes["retain"], label, keep)
  return vision.procedure(objective, start, draw, requests.finish, rate=rate, **options)


method.__signature__ = with_options(method, vision.procedure)


def distilled(before: jax.Array, now: jax.Array, mask: jax.Array, gone: jax.Array, scale: Any = 1.0) -> Term:
  """The mean of KL(before || now) over the pictures that are not said to be of a class that goes.

  Args:
    before, now: logits float `[b, classes]`; those of `before` for the classes that go become the picture's smallest.
    mask: float32 `[b]`.
    gone: bool `[classes]`.
    scale: the term's coefficient.
  """
  stays = jnp.logical_not(gone[jnp.argmax(before, axis=-1)])
  target = jnp.where(gone, jnp.min(before, axis=-1, keepdims=True), before)
  return mean_term(losses.kl(target, now), mask * stays.astype(mask.dtype), scale)


def distance(features: jax.Array, means: jax.Array, inverses: jax.Array, power: Any) -> jax.Array:
  """The squared Mahalanobis distance of each row to a class of its own, float32 `[b]`.

  Args:
    features: float `[b, d]`.
    means: float32 `[b, d]`, of the powers.
    inverses: float32 `[b, d, d]`.
    power: see `method`.
  """
  unit = lambda x: likeness.unit(x, TINY**2)
  apart = unit(raised(features.astype(jnp.float32), power)) - unit(means)
  return jnp.einsum("bi,bij,bj->b", apart, inverses, apart)


def aims(
  request: Request, classes: int, power: Any, diagonal: Any, others: Any, label: str = "label"
) -> dict[str, jax.Array]:
  """What the objective reads: `means` `[k, d]`, `inverses` `[k, d, d]`, `to` int32 `[m]` and `gone` bool `[classes]`.

  They are of the k classes in `retain`; `to` is the nearest of these to every sample of `forget` but its own class, and
  `gone` the classes of `forget` of which nothing is kept.

  Raises:
    Invalid: if there is no other class, or the features of one are all alike.
  """
  features, labels, kept, own = duck.by_class(request, label)
  for c in kept:
    moves = np.ptp(features["retain"][labels["retain"] == c], axis=0).max() > 0
    require(bool(moves), f"data.sets[retain], class {c}", "one point", "keep samples of it that differ")
  means, inverses = distributions(features["retain"], labels["retain"], kept, power, diagonal, others)
  to = nearest(features["forget"], means, inverses, own, power)
  gone = np.setdiff1d(labels["forget"], kept)
  return dict(means=means, inverses=inverses, to=to, gone=jnp.asarray(np.isin(np.arange(classes), gone)))


@jax.jit
def distributions(
  features: jax.Array, labels: jax.Array, kept: jax.Array, power: Any, diagonal: Any, others: Any
) -> tuple[jax.Array, jax.Array]:
  """The means `[k, d]` of the powers of the classes `kept`, and their inverse covariances `[k, d, d]`, float32.

  Args:
    features: float `[n, d]`; labels: int `[n]`; kept: int `[k]`.
    power, diagonal, others: see `method`.
  """
  x = raised(jnp.asarray(features, jnp.float32), power)

  def one(c):
    weight = (labels == c).astype(jnp.float32)
    n = jnp.sum(weight)
    mean = jnp.matmul(weight, x, precision="highest") / n
    apart = x - mean
    cov = jnp.matmul((weight[:, None] * apart).T, apart, precision="highest") / (n - 1)
    return mean, inverse(shrunk(cov, diagonal, others))

  return jax.lax.map(one, kept)


def shrunk(cov: jax.Array, diagonal: Any, others: Any) -> jax.Array:
  """`cov` + diagonal times the mean of its diagonal there, + others times the mean of its other entries there.

  Of the other entries those that are 0, as of features that are never there, are left out of that mean.
  """
  here = jnp.eye(len(cov), dtype=cov.dtype)
  beside = cov * (1 - here)
  low = jnp.sum(beside) / jnp.maximum(jnp.sum((beside != 0).astype(cov.dtype)), 1)
  return cov + diagonal * jnp.mean(jnp.diagonal(cov)) * here + others * low * (1 - here)


def inverse(cov: jax.Array) -> jax.Array:
  """The inverse of a covariance `[d, d]` scaled to a diagonal of ones, over its eigenvalues that are above 0."""
  size = jnp.sqrt(jnp.diagonal(cov))
  values, vectors = jnp.linalg.eigh(cov / (size[:, None] * size))
  good = values > len(cov) * jnp.finfo(jnp.float32).eps * jnp.max(jnp.abs(values))
  turned = jnp.where(good, 1 / jnp.where(good, values, 1.0), 0.0)
  return jnp.matmul(vectors * turned, vectors.T, precision="highest")


@jax.jit
def nearest(features: jax.Array, means: jax.Array, inverses: jax.Array, own: jax.Array, power: Any) -> jax.Array:
  """The nearest of the k classes to each row `[m, d]` where `own` bool `[m, k]` is False, int32 `[m]`."""
  rows = lambda x: jnp.broadcast_to(x, (1, *x.shape))
  point = jax.vmap(lambda f, mean, inv: distance(rows(f), rows(mean), rows(inv), power)[0], in_axes=(0, None, None))
  apart = jax.lax.map(lambda one: point(features, *one), (means, inverses))
  return jnp.argmin(jnp.where(own, jnp.inf, apart.T), axis=-1).astype(jnp.int32)


def raised(x: jax.Array, power: Any) -> jax.Array:
  """sign(x) |x|^power, 0 near 0 with a slope of 0, where that of the power has no end."""
  size = jnp.abs(x)
  far = size > TINY
  return jnp.where(far, jnp.sign(x) * jnp.where(far, size, 1.0) ** power, 0.0)


def drawn(source: str, forget: int, surrogate: int, label: str, keep: Sequence[str]) -> Callable[[int, Any, int], dict]:
  """The `batch` of a Procedure: `forget` samples of D_f, and `surrogate` pictures of the `source` under that name."""
  if source not in MADE:
    both = requests.batch({"forget": forget, source: surrogate}, label, keep)

    def of_a_set(seed, request, t):
      batch = both(seed, request, t)
      return {"forget": batch["forget"], "surrogate": batch[source]}

    return of_a_set
  first = requests.batch({"forget": forget}, label)

  def of_nothing(seed, request, t):
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, t, MADE.index(source)])))
    data = request.data
    image = data.arrays["image"][np.asarray(data.sets["forget"])]
    made = noise(generator, image, surrogate) if source == "noise" else shuffled(generator, image, seed, surrogate, t)
    return first(seed, request, t) | {"surrogate": dict(image=made, mask=np.ones(surrogate, np.float32))}

  return of_nothing


def noise(generator: np.random.Generator, image: np.ndarray, size: int) -> np.ndarray:
  """`size` pictures of normal noise with mean and deviation, by channel, of `image` `[n, h, w, c]`, in its dtype."""
  seen = pictures.to_float(image)
  mean, deviation = seen.mean((0, 1, 2)), seen.std((0, 1, 2))
  made = generator.normal(size=(size, *image.shape[1:])).astype(np.float32) * deviation + mean
  return pictures.to_bytes(made) if image.dtype == np.uint8 else np.clip(made, 0, 1).astype(image.dtype)


def shuffled(generator: np.random.Generator, image: np.ndarray, seed: int, size: int, t: int) -> np.ndarray:
  """`size` of the pictures `[n, h, w, c]`, in turn, each with its pixels in an order of its own."""
  some = image[batches.shuffled(seed, len(image), size, t)]
  flat = some.reshape(size, -1, image.shape[-1])
  order = generator.permuted(np.tile(np.arange(flat.shape[1]), (size, 1)), axis=1)
  return np.take_along_axis(flat, order[..., None], axis=1).reshape(some.shape)

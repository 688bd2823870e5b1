"""Distillation after ascent: a pass that forgets, and a pass that takes the rest back from the original model, in turn.

Source: the released code of the audit of Kim, Cha and Kim, "Are We Truly Forgetting?", 2025: its files SPKD, RKD, AKD,
GA_KD, PL_SPKD (and so on) and RL_SPKD differ in two things alone, `forget` and `distil`. The text of the paper was not
at hand. Every epoch is a pass over D_f and then one over D_r, by one optimiser. Means over samples:

  over D_f, `ascent`          - push cross entropy
            `pseudo_label`      push cross entropy with the likeliest class that stays, see the method of this name
            `random_labels`     push cross entropy with classes drawn anew, of all there are
  over D_r  gamma cross entropy + alpha distance of the original model to the one that is trained

The distance is, with f the inputs of the last linear layer (`features`), n samples and |A| the root of the sum of the
squares of all entries:

  `similarity`  |G - G'| / n^2, G the matrix of all f_i . f_j with every row scaled to length 1 (Tung and Mori, ICCV
                2019: there it is the square of this norm, as we recall it and as other codes have it: `squared`)
  `relation`    of f scaled to length 1, smooth L1 of all |f_i - f_j| over their mean, plus `angle` times that of all
                cosines of the angle at f_i between f_j and f_k (Park et al., CVPR 2019, whose code has `angle` 2)
  `features`    the mean over entries of (f - f')^2
  `outputs`     T^2 KL(original || now) at the temperature T (Hinton et al., 2015)

Released: push 1, gamma and alpha 10, T 1; but after pseudo labels gamma and alpha are 1 and T is 2 with `outputs`, and
both are .5 with `features`. SGD with a rate of 1e-2, momentum .9 and decay 5e-4, 10 epochs of batches of 256; its page
runs 15 epochs at 1e-5, of 128.

At that alpha `similarity` says next to nothing: the norm is at most the root of 4 n, so 10 times it over n^2 is at most
.04 for 64 samples, beside 10 times a cross entropy. Squared it is at most 4 / n, and codes that distil by it alone, for
which it was made, give it an alpha of some thousand.

Departures: the model runs as in evaluation (there in training mode, with the original in evaluation); slopes
are finite where features coincide or are 0: the distance of two that coincide has a slope of 0, where a root has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ue_jax.core.errors import require, told
from ue_jax.core.nouns import Request
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import mean_term, safe
from ue_jax.forget import mixed, pseudo_label, requests, scrub, vision
from ue_jax.parallel import spread
from ue_jax.train import descend, likelihood, optim

FORGET = ("ascent", "pseudo_label", "random_labels")
DISTIL = ("similarity", "relation", "features", "outputs")
TINY = 1e-12  # of squares of vectors of about length 1
LEAST = float(np.finfo(np.float32).tiny)


def method(
  forget: str = "ascent",
  distil: str = "similarity",
  passes: int = 10,
  forget_steps: int = 2,
  retain_steps: int = 18,
  push: Any = 1.0,
  gamma: Any = 10.0,
  alpha: Any = 10.0,
  squared: bool = False,
  angle: Any = 1.0,
  temperature: Any = 1.0,
  forget_batch: int = 64,
  retain_batch: int = 64,
  rate: Any = 1e-2,
  optimizer: str = "sgd",
  momentum: Any = 0.9,
  weight_decay: Any = 5e-4,
  clip: Any = 0.0,
  trainable: str = ".*",
  keep: Sequence[str] = ("retain",),
  label: str = "label",
) -> Procedure:
  """Request -> Subject; reads the set `forget` and those of `keep`. For picture classifiers.

  Over several devices features are gathered, so the relations are those of the whole batch.

  Args:
    forget: `ascent`, `pseudo_label` or `random_labels`, see above.
    distil: `similarity`, `relation`, `features` or `outputs`, see above.
    passes: how many passes there are of each kind.
    forget_steps, retain_steps: of a pass; a pass over a set takes its size by that of the batch.
    push: coefficient of the forget term, >= 0; may be traced, like the numbers after it but sizes. The release has 1.
    gamma, alpha: coefficients of the cross entropy and of the distance over D_r, >= 0.
    squared: of `similarity`: the square of the norm.
    angle: of `relation`: the weight of angles beside that of distances, >= 0. The release has 1.
    temperature: of `outputs`, > 0.
    forget_batch, retain_batch: samples a step; a smaller set gives all it has. `relation` takes memory for
      retain_batch^2 (retain_batch + d) numbers, d the number of features.
    rate: learning rate.
    optimizer, momentum, weight_decay, clip: see `train.optim.make`; the decay works in both passes, as released.
    trainable: regular expression of the leaves to train; the others keep their bits.
    keep: the sets that are kept, taken together.
    label: the labelling.

  Raises:
    Invalid: for an unknown name, numbers out of range or a setting that `distil` does not read; at `init` for data
      without the sets or the labelling.
  """
  require(forget in FORGET, "method.forget", forget, f"choose one of {FORGET}")
  require(distil in DISTIL, "method.distil", distil, f"choose one of {DISTIL}")
  for field, value in dict(push=push, gamma=gamma, alpha=alpha, angle=angle).items():
    require(not told(value) or value >= 0, f"method.{field}", value, "give a number >= 0")
  require(not told(temperature) or temperature > 0, "method.temperature", temperature, "give a positive number")
  own = dict(
    similarity=("squared", squared, False), relation=("angle", angle, 1.0), outputs=("temperature", temperature, 1.0),
  )  # fmt: skip
  for reader, (field, value, usual) in own.items():
    unread = distil != reader and not (told(value) and value == usual)
    require(not unread, f"method.{field}", value, f"leave it out, or set distil to {reader!r}, which alone reads it")
  turns, _ = scrub.timetable("interleaved", passes, passes, forget_steps, retain_steps)
  draw = requests.batch(requests.sizes(forget_batch, retain_batch, "nll"), label, keep)
  draw = redrawn(draw, label) if forget == "random_labels" else draw

  def start(key, request):
    del key
    classes, params = vision.check(request, ("forget", *keep), label), request.subject.params
    aims = {"target": pseudo_label.targets(request, classes, label)} if forget == "pseudo_label" else {}
    return params, request.subject.state, requests.frozen(request, params=params, **aims)

  def objective(params, state, frozen, batch, key, axis):
    del key
    f, r, apply = batch["forget"], batch["retain"], frozen["apply"]
    aim = f | {"label": frozen["target"][f["row"]]} if forget == "pseudo_label" else f
    before, now = (apply(tree, r["image"], state=state) for tree in (frozen["params"], params))
    if distil == "outputs":
      kept = scrub.distance(before.logits, now.logits, r["mask"], temperature, alpha)
    else:
      far = dict(similarity=similarity, relation=relation, features=features)[distil]
      more = dict(similarity=dict(squared=squared), relation=dict(angle=angle), features={})[distil]
      kept = mean_term(far(before.features, now.features, r["mask"], axis, **more), r["mask"], alpha)
    up = likelihood.logits(apply, params, state, f)
    return {
      "forget": likelihood.nll_term(up, aim, -push if forget == "ascent" else push),
      "retain": likelihood.nll_term(now.logits, r, gamma),
      "distil": kept,
    }, state

  tx = optim.make(
    optimizer, rate, len(turns), momentum=momentum, weight_decay=weight_decay, clip=clip, train=trainable,
  )  # fmt: skip
  return descend.descend(
    objective, tx, start=start, finish=requests.finish, batch=mixed.phases(draw, turns), steps=len(turns), whole=True,
  )  # fmt: skip


def redrawn(draw: Callable[[int, Request, int], dict], label: str = "label") -> Callable[[int, Request, int], dict]:
  """The batches of `draw` whose part `forget` has labels drawn anew at every step, of all classes alike."""

  def batch(seed: int, problem: Request, t: int) -> dict:
    """The batch of step `t`."""
    drawn, classes = draw(seed, problem, t), vision.classes_in(problem.data, label)
    own = drawn["forget"]["label"]
    moved = (own + mixed.shifts(seed, t, len(own), 0, classes)) % classes
    return drawn | {"forget": drawn["forget"] | {"label": moved.astype(np.int32)}}

  return batch


def features(before: jax.Array, now: jax.Array, mask: jax.Array, axis: str | None = None) -> jax.Array:
  """The mean of the squares of `now - before` over the features of each row, float32 `[b]`; arguments: `similarity`."""
  del mask, axis
  return jnp.mean((now.astype(jnp.float32) - before.astype(jnp.float32)) ** 2, axis=-1)


def similarity(
  before: jax.Array, now: jax.Array, mask: jax.Array, axis: str | None = None, squared: bool = False
) -> jax.Array:
  """How far two matrices of inner products are apart, |G - G'| / n^2, the same for every row, float32 `[b]`.

  A turn of the features and one factor on all of them leave it as it is.

  Args:
    before, now: features float `[b, d]`.
    mask: float32 `[b]`, the weight of each sample; 0 for padding.
    axis: name of a mapped device axis; the matrices are then those of all devices.
    squared: the square of the norm.
  """
  weights = spread.gather(mask, axis)

  def rows(x):
    x = x.astype(jnp.float32)
    inner = x @ spread.gather(x, axis).T
    return inner / safe(root(jnp.sum(weights * inner**2, axis=-1, keepdims=True), LEAST))

  apart = jnp.sum(weights * (rows(now) - rows(before)) ** 2, axis=-1)
  whole = jnp.sum(weights * spread.gather(apart, axis))
  return jnp.broadcast_to((whole if squared else root(whole)) / safe(jnp.sum(weights)) ** 2, mask.shape)


def relation(
  before: jax.Array, now: jax.Array, mask: jax.Array, axis: str | None = None, angle: Any = 1.0
) -> jax.Array:
  """The distances and the angles of features scaled to length 1, float32 `[b]`, see `distances` and `angles`.

  Args:
    before, now, mask, axis: see `similarity`.
    angle: the weight of the angles.
  """
  ways = beside(unit(before), axis), beside(unit(now), axis)
  weights = spread.gather(mask, axis)
  return distances(*ways, weights, axis) + angle * angles(*ways, weights)


def distances(before: jax.Array, now: jax.Array, weights: jax.Array, axis: str | None = None) -> jax.Array:
  """The smooth L1 of distances, over the mean of those of two samples, between each row and all, float32 `[b]`.

  A turn of the features and one factor on all of them leave it as it is.

  Args:
    before, now: float32 `[b, n, d]`, from each row to all n, see `beside`.
    weights: float32 `[n]`, of all.
    axis: name of a mapped device axis, over which the b rows are cut.
  """
  total = safe(jnp.sum(weights))
  pairs = safe(jnp.sum(weights) ** 2 - jnp.sum(weights**2))

  def scaled(ways):
    far = root(jnp.sum(ways**2, axis=-1))
    mean = jnp.sum(weights * spread.gather(jnp.sum(weights * far, axis=-1), axis)) / pairs
    return far / safe(mean)

  return jnp.sum(weights * optax.huber_loss(scaled(now), scaled(before)), axis=-1) / total


def angles(before: jax.Array, now: jax.Array, weights: jax.Array) -> jax.Array:
  """The smooth L1 of the cosines of all angles at each row, float32 `[b]`; arguments: `distances`."""
  cosines = lambda way: jnp.einsum("ijd,ikd->ijk", way, way)
  apart = optax.huber_loss(cosines(unit(now)), cosines(unit(before)))
  return jnp.einsum("ijk,j,k->i", apart, weights, weights) / safe(jnp.sum(weights)) ** 2


def beside(x: jax.Array, axis: str | None = None) -> jax.Array:
  """What leads from each of the b rows `[b, d]` to each of the n of all devices, `[b, n, d]`."""
  return spread.gather(x, axis) - x[:, None]


def unit(x: jax.Array) -> jax.Array:
  """Rows float `[..., d]` scaled to length 1, float32; those shorter than 1e-6 stay as they are.

  Not `likeness.unit`, whose slope at a row of zeros is 1e6: here it is 1, and features do coincide.
  """
  x = x.astype(jnp.float32)
  return x / safe(root(jnp.sum(x**2, axis=-1, keepdims=True)))


def root(square: jax.Array, least: float = TINY) -> jax.Array:
  """The square root, but 0 with a slope of 0 up to `least`."""
  far = square > least
  return jnp.where(far, jnp.sqrt(jnp.where(far, square, 1.0)), 0.0)

"""PCU: contrastive unlearning, and features that learn to be nobody's by trained proxies of the classes.

Source: a baseline of the audit of Kim, Cha and Kim, "Are We Truly Forgetting?", 2025, from its released code. That does
not say what the letters mean. Its vectors are called proxies, and its projections look like those of proxy-based
contrastive learning (Yao et al., CVPR 2022, as we recall it), so our reading is proxy-based contrastive unlearning.
There is a vector v_k for each class, at first the row of the last layer, of length 1 after every step; a projection a
of three layers for the features f, one b of one layer for the v; and the contrast of `contrastive` (CU):

  cross entropy over D_r + contrast over D_f - project cross entropy(cos(a(f(x)), b(v_k)) / temperature, y) over D_f

All of it is minimised in all of it: the model by its own optimiser; v, a and b by Adam with `heads_rate`. So a and b do
not play against the model but help it: they can part the features of D_f from their proxies all by themselves, and the
model need not move. Where one class is forgotten there is no contrast, and the projection is all that forgets.

`retain=False` is the release's second form (PCU_forget): minus the cross entropy over D_f stands in the place of that
over D_r, which is not read. Nothing holds it back, so give it few steps.

Departures: v, a and b are made once (there at every pass over D_f, as in the release's EU), drawn as other networks of
this package are.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ue_jax.core.errors import require, told
from ue_jax.core.nouns import Request
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term, mean_term
from ue_jax.forget import contrastive, likeness, requests, vision
from ue_jax.models import mlp
from ue_jax.models.model import Model
from ue_jax.train import descend, likelihood, losses, optim


class Pcu(NamedTuple):
  """The state.

  Attributes:
    params, state: of the model; batch statistics stay as they are.
    heads: the proxies `vectors` `[classes, d]`, of length 1, and the parameters of the projections, `features` and
      `proxies`.
    opt: the states of both optimisers.
    frozen: the model's `apply`.
    key, step: as in every state.
  """

  params: Any
  state: Any
  heads: Any
  opt: Any
  frozen: Any
  key: jax.Array
  step: jax.Array


def method(
  project: Any = 1.0,
  contrast: Any = 1.0,
  temperature: Any = 1.0,
  retain: bool = True,
  hidden: int = 512,
  size: int = 0,
  heads_rate: Any = 1e-3,
  rate: Any = 1e-3,
  steps: int = 200,
  forget_batch: int = 64,
  retain_batch: int = 64,
  optimizer: str = "adam",
  momentum: Any = 0.9,
  weight_decay: Any = 0.0,
  clip: Any = 0.0,
  trainable: str = ".*",
  keep: Sequence[str] = ("retain",),
  label: str = "label",
) -> Procedure:
  """Request -> Subject; reads the set `forget` and, if it retains, those of `keep`. For picture classifiers.

  The last layer must be called `head`. Over several devices the pairs are those of the whole batch.

  Args:
    project, contrast: coefficients of the two terms of D_f; may be traced, like the numbers after them but sizes.
    temperature: of both softmaxes over cosines, > 0.
    retain: False is the form that reads D_f alone.
    hidden: units of the layers of the projection of features.
    size: of what is projected to; 0: the number of classes, as released (512 without D_r).
    heads_rate: of the Adam of proxies and projections.
    rate: of the model.
    steps: optimiser steps.
    forget_batch, retain_batch: samples a step; a smaller set gives all it has.
    optimizer, momentum, weight_decay, clip: of the model, see `train.optim.make`.
    trainable: regular expression of the model's leaves to train; the others keep their bits.
    keep: the sets that are kept, taken together.
    label: the labelling.

  Raises:
    Invalid: for numbers out of range; at `init` for data without the sets or the labelling, or a model without `head`.
  """
  require(not told(temperature) or temperature > 0, "method.temperature", temperature, "give a positive number")
  for field, value in dict(project=project, contrast=contrast).items():
    require(not told(value) or value >= 0, f"method.{field}", value, "give a number >= 0")
  for field, value, least in (("steps", steps, 0), ("hidden", hidden, 1), ("size", size, 0)):
    good = isinstance(value, (int, np.integer)) and value >= least
    require(good, f"method.{field}", value, f"give a whole number >= {least}")
  own = dict(momentum=momentum, weight_decay=weight_decay, clip=clip, train=trainable)
  tx = both(optim.make(optimizer, rate, max(steps, 1), **own), optim.make("adam", heads_rate, max(steps, 1)))
  sizes = requests.sizes(forget_batch, retain_batch, "nll" if retain else "none")

  def init(key, request):
    classes = vision.check(request, ("forget", *(keep if retain else ())), label)
    heads_key, step_key = jax.random.split(key)
    subject, heads = request.subject, begun(heads_key, request, hidden, size or classes, classes)
    opt = tx.init((subject.params, heads))
    return Pcu(
      subject.params, subject.state, heads, opt, requests.frozen(request), step_key, jnp.zeros((), jnp.int32)
    )  # fmt: skip

  def objective(trained, state, frozen, batch, key, axis):
    del key
    (params, heads), f = trained, batch["forget"]
    out = frozen["apply"](params, f["image"], state=state)
    terms = {
      "contrast": contrastive.contrast(out.features, f["label"], f["mask"], temperature, contrast, axis),
      "project": minus(cosines(heads, out.features, hidden, size) / temperature, f, project),
    }
    if retain:
      now = likelihood.logits(frozen["apply"], params, state, batch["retain"])
      return terms | {"retain": likelihood.nll_term(now, batch["retain"])}, state
    return terms | {"forget": minus(out.logits, f)}, state

  def step(state, batch, axis=None):
    trained = (state.params, state.heads)
    inner = descend.Descent(trained, state.state, state.opt, state.frozen, state.key, state.step)
    new, metrics = descend.descent_step(functools.partial(objective, axis=axis), tx, inner, batch, axis)
    params, heads = new.params
    heads = {**heads, "vectors": likeness.unit(heads["vectors"])}
    return state._replace(params=params, heads=heads, opt=new.opt, step=new.step), metrics

  def finish(state, request):
    return requests.finish(state.params, state.state, request)

  return Procedure(init, step, finish, requests.batch(sizes, label, keep), steps)


def minus(logits: jax.Array, part: Any, scale: Any = 1.0) -> Term:
  """Minus the mean cross entropy of a batch, with a coefficient."""
  return mean_term(-losses.cross_entropy(logits, part["label"]), part["mask"], scale)


def begun(key: jax.Array, request: Request, hidden: int, size: int, classes: int) -> dict[str, Any]:
  """The proxies and the projections at the start, see `Pcu`.

  Raises:
    Invalid: for a model without a last layer `head` that has a kernel `[d, classes]`.
  """
  params = request.subject.params
  kernel = params.get("head", {}).get("kernel") if isinstance(params, dict) else None
  fix = "give a model with a linear last layer named 'head': its rows are the first proxies"
  require(np.ndim(kernel) == 2 and kernel.shape[-1] == classes, "model", type(request.subject.model).__name__, fix)
  vectors = likeness.unit(jnp.asarray(kernel, jnp.float32).T)
  parts = zip(("features", "proxies"), jax.random.split(key), projections(hidden, size))
  return {"vectors": vectors} | {name: net.init(own, vectors[:1])[0] for name, own, net in parts}


def projections(hidden: int, size: int) -> tuple[Model, Model]:
  """The networks for features, of three layers, and for proxies, of one; to vectors of `size`."""
  return mlp.model(size, (hidden, hidden)), mlp.model(size, ())


def cosines(heads: Any, features: jax.Array, hidden: int, size: int) -> jax.Array:
  """The cosine of each projected row of features `[b, d]` to each projected proxy, float32 `[b, classes]`."""
  of_features, of_proxies = projections(hidden, size or len(heads["vectors"]))
  rows = of_features.apply(heads["features"], features.astype(jnp.float32)).logits
  return likeness.unit(rows) @ likeness.unit(of_proxies.apply(heads["proxies"], heads["vectors"]).logits).T


def both(first: optax.GradientTransformation, second: optax.GradientTransformation) -> optax.GradientTransformation:
  """The transformation of a pair of trees, each by its own."""

  def update(grads, state, params):
    pairs = [tx.update(*one) for tx, *one in zip((first, second), grads, state, params)]
    return tuple(updates for updates, _ in pairs), tuple(new for _, new in pairs)

  return optax.GradientTransformation(lambda params: (first.init(params[0]), second.init(params[1])), update)

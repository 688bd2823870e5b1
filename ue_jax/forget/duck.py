"""DUCK: the features of what is to be forgotten move to the nearest centroid of another class that is kept.

Source: Cotogni et al., "DUCK: Distance-based Unlearning via Centroid Kinematics", 2023, with the numbers of the audit
of Kim, Cha and Kim, "Are We Truly Forgetting?", 2025, from its released code. A centroid is the mean of the features
(the inputs of the last linear layer) of a class in D_r under the model before unlearning; c(x) is the one nearest to x
by cosine distance of those that are not of x's own class. Means over samples:

  pull (1 - cos(features(x), c(x))) over D_f + alpha cross entropy(logits / temperature) over D_r

Every c(x) is chosen before the first step. The released code chooses it when it first meets x, some steps later, and
takes positions among the kept centroids for classes there: where classes are left out, one that is not x's own may be
passed over. D_f and D_r go round on their own here; there every batch of D_f meets several of D_r.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.nouns import Request
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term, mean_term
from ue_jax.forget import likeness, requests, vision
from ue_jax.train import likelihood, supervised

TINY = 1e-12


def method(
  pull: Any = 1.5,
  alpha: Any = 1.5,
  temperature: Any = 2.0,
  forget_batch: int = 64,
  retain_batch: int = 64,
  keep: Sequence[str] = ("retain",),
  label: str = "label",
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads the set `forget` and those of `keep`. For picture classifiers.

  Args:
    pull, alpha: coefficients of the two terms; may be traced, like the temperature.
    temperature: of the cross entropy, > 0.
    forget_batch, retain_batch: samples a step; a smaller set gives all it has.
    keep: the sets that are kept, taken together.
    label: the labelling.
    options: those of `vision.procedure`: rate, steps, optimizer, momentum, weight_decay, clip, schedule, milestones,
      drop, trainable.

  Raises:
    Invalid: for a temperature out of range; at `init` for data without the sets or the labelling, or a sample to forget
      beside whose class none is kept.
  """
  good = not isinstance(temperature, (int, float)) or temperature > 0
  require(good, "method.temperature", temperature, "give a positive number")
  sizes = requests.sizes(forget_batch, retain_batch, "nll")

  def start(key, request):
    del key
    vision.check(request, ("forget", *keep), label)
    centroids, to = aims(requests.keep(request, keep), label)
    return request.subject.params, request.subject.state, requests.frozen(request, centroids=centroids, to=to)

  def objective(params, state, frozen, batch, key):
    del key
    f, r = batch["forget"], batch["retain"]
    features = frozen["apply"](params, f["image"], state=state).features
    now = likelihood.logits(frozen["apply"], params, state, r)
    return {
      "forget": distance(features, frozen["centroids"][frozen["to"][f["row"]]], f["mask"], pull),
      "retain": likelihood.nll_term(now / temperature, r, alpha),
    }, state

  return vision.procedure(objective, start, requests.batch(sizes, label, keep), requests.finish, **options)


method.__signature__ = with_options(method, vision.procedure)


def distance(features: jax.Array, to: jax.Array, mask: jax.Array, scale: Any = 1.0) -> Term:
  """The mean of 1 - cos(features, to) of rows `[b, d]` with weights float32 `[b]`, with a coefficient."""
  return mean_term(likeness.apart(features.astype(jnp.float32), to), mask, scale)


def aims(request: Request, label: str = "label") -> tuple[jax.Array, jax.Array]:
  """The centroids of the classes in `retain`, float32 `[k, d]`, and which of them each sample of `forget` goes to.

  The latter int32 `[m]`: the nearest by cosine distance of those of another class than the sample's; see `by_class`.
  """
  features, labels, kept, own = by_class(request, label)
  centroids = np.stack([features["retain"][labels["retain"] == c].mean(0) for c in kept]).astype(np.float32)
  return jnp.asarray(centroids), jnp.asarray(nearest(features["forget"], centroids, own))


def by_class(request: Request, label: str = "label") -> tuple[dict, dict, np.ndarray, np.ndarray]:
  """What the subject makes of `forget` and `retain`: (features, labels, classes kept, which of them are its own).

  Features float32 `[n, d]` and labels int `[n]` by the name of the set; the classes in `retain` `[k]`; and for every
  sample of `forget` which of these is its own, bool `[m, k]`.

  Raises:
    Invalid: if a sample of `forget` has no other class to go to.
  """
  features, labels = {}, {}
  subject, arrays = request.subject, request.data.arrays
  for name in ("forget", "retain"):
    rows = np.asarray(request.data.sets[name])
    labels[name] = arrays[label][rows]
    features[name] = supervised.predict(subject.model, subject.params, subject.state, arrays["image"][rows])[1]
  kept = np.unique(labels["retain"])
  own = labels["forget"][:, None] == kept
  fix = "keep samples of another class than those to forget: their features move there"
  require(not own.all(1).any(), "data.sets[retain]", f"class {kept.tolist()} alone", fix)
  return features, labels, kept, own


def nearest(features: np.ndarray, centroids: np.ndarray, own: np.ndarray) -> np.ndarray:
  """The nearest centroid `[k, d]` to each row `[m, d]` by cosine distance, where `own` bool `[m, k]` is False."""
  unit = lambda x: x / np.sqrt(np.sum(np.square(x, dtype=np.float64), -1, keepdims=True) + TINY)
  return np.where(own, -np.inf, unit(features) @ unit(centroids).T).argmax(-1).astype(np.int32)

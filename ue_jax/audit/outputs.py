"""What a picture classifier says about named sets: logits, features, and the inside of the network, with the labels.

`scoring` keeps the target's log-probability only; attacks on confidences and comparisons of representations need all of
this.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.audit.remembered import Answers
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.pieces import pieces

_ASKED = Answers(kept=4)  # those of a row, of the reference and of the original among them; features can be many


class Outputs(NamedTuple):
  """Of the samples of one set.

  Attributes:
    logits: float64 `[m, classes]`.
    inside: name of a site -> float32 `[m, width]`; always holds `features`, the input of the last layer.
    labels: int32 `[m]`.
  """

  logits: np.ndarray
  inside: Mapping[str, np.ndarray]
  labels: np.ndarray

  def hits(self) -> np.ndarray:
    """bool `[m]`: the label has the largest logit (the first of equal ones counts)."""
    return self.logits.argmax(-1) == self.labels

  def log_probs(self) -> np.ndarray:
    """float64 `[m, classes]`: log-softmax of the logits."""
    shifted = self.logits - self.logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))

  def confidence(self) -> np.ndarray:
    """phi of every sample, float64 `[m]`: log p_y - log sum_{k != y} p_k, see `phi`."""
    return phi(self.logits, self.labels)


def phi(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """The logit-scaled confidence log(p_y / (1 - p_y)), float64 `[...]`, without the loss of digits near p_y = 1.

  Source: Carlini et al., "Membership Inference Attacks From First Principles", 2022, section VI (the stable form).

  Args:
    logits: float `[..., classes]`, at least two classes.
    labels: int, broadcast against `[...]`.
  """
  logits = np.asarray(logits, np.float64)
  mine = np.arange(logits.shape[-1]) == np.asarray(labels)[..., None]
  others = np.where(mine, -np.inf, logits)
  top = others.max(-1, keepdims=True)
  rest = top[..., 0] + np.log(np.exp(others - top).sum(-1))
  return np.where(mine, logits, 0.0).sum(-1) - rest


def outputs(
  subject: Subject, data: Data, sets: Sequence[str], label: str = "label", chunk: int = 512, sites: Sequence[str] = ()
) -> dict[str, Outputs]:
  """Name of a set -> `Outputs`, in evaluation mode. Rows in several sets are computed once, `chunk` at a time.

  Args:
    subject: a picture classifier.
    data: pictures.
    sets: which sets.
    label: the labelling.
    chunk: samples computed at once.
    sites: further sites of the model to look at (`block_0`); values with places are averaged over them.

  Raises:
    Invalid: for a set, labelling or site that does not exist, token data, or outputs that are not finite.
  """
  require("image" in data.arrays, "data.arrays", sorted(data.arrays), "give pictures: confidences of classes are read")
  require(label in data.arrays, "measure.label", label, f"choose from {sorted(data.info.get('labels', data.arrays))}")
  for name in sets:
    require(name in data.sets, "measure.sets", name, f"choose from {sorted(data.sets)}")
  if not sets:
    return {}
  rows, where = np.unique(np.concatenate([np.asarray(data.sets[name]) for name in sets]), return_inverse=True)
  images, sites = data.arrays["image"][rows], tuple(sites)
  logits, inside = _ASKED(subject, (images, chunk, sites), lambda: forward(subject, images, chunk, sites))
  every, labels = {"logits": logits, **inside}, data.arrays[label][rows]
  for name, values in every.items():
    if not np.isfinite(values).all():
      raise Invalid("measure.subject", f"{name} with NaN or infinity", "check the model: nothing can be measured on it")
  ends = np.cumsum([len(data.sets[name]) for name in sets])[:-1]
  parts = zip(sets, np.split(where.reshape(-1), ends))
  return {name: Outputs(logits[at], {site: x[at] for site, x in inside.items()}, labels[at]) for name, at in parts}


def forward(
  subject: Subject, images: np.ndarray, chunk: int = 512, sites: Sequence[str] = ()
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Logits float64 `[n, classes]` and site -> values float32 `[n, width]`, `features` among them."""
  n, parts = len(images), []
  for at in pieces(n, chunk, "measure.chunk"):
    parts.append(jax.device_get(_chunk(subject.model.apply, tuple(sites), subject.params, subject.state, images[at])))
  logits, inside = jax.tree.map(lambda *x: np.concatenate(x)[:n], *parts)
  return np.asarray(logits, np.float64), inside


@functools.partial(jax.jit, static_argnums=(0, 1))
def _chunk(apply: Any, sites: tuple[str, ...], params: Any, state: Any, images: jax.Array) -> tuple[jax.Array, dict]:
  seen: dict[str, jax.Array] = {}

  def look(site):
    def at(value):
      flat = value.astype(jnp.float32)
      seen[site] = flat if flat.ndim < 3 else jnp.mean(flat, axis=tuple(range(1, flat.ndim - 1)))
      return value

    return at

  out = apply(params, images, state=state, train=False, taps={site: look(site) for site in sites})
  return out.logits, {"features": out.features, **seen}

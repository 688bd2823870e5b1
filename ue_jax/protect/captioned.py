"""How a protection reads captions: their embeddings, and whose caption speaks for a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data, Subject
from ue_jax.data import words as spelling
from ue_jax.models import minilm
from ue_jax.protect import noise, publish
from ue_jax.train import contrastive
from ue_jax.train.contrastive import Texts


def described(label: str, templates: int | Sequence[str]) -> Callable[[Data], Data]:
  """A function that gives Data the captions of its class names, and remembers the Data that it was asked for last.

  Args:
    label: the labelling.
    templates: as in `data.words.describe`; 0 leaves Data as it is.

  Raises:
    Invalid: for templates that are none; from the function for data without that labelling, or with captions already.
  """
  if templates != 0:
    spelling.templates_of(templates, "protect.templates")
  seen: dict[str, Any] = {}

  def speak(data: Data) -> Data:
    """The Data with captions."""
    if templates == 0:
      return data
    require("ids" not in data.arrays, "protect.templates", templates, "say 0: the data has captions of its own")
    if seen.get("arrays") is not data.arrays:
      seen.update(arrays=data.arrays, found=spelling.describe(data, label, templates))
    return seen["found"]

  return speak


def embeddings(surrogate: Subject, data: Data, texts: Texts, text: str, label: str) -> jax.Array:
  """The embeddings of the distinct texts of a Data, float32 `[m, d]`, not normalised.

  Args:
    surrogate: a dual encoder, or a classifier (the embedding of a class is its column of the head).
    data: with the captions or class names themselves in `info`, where `text` is a file.
    texts: its distinct texts.
    text: `surrogate`; `minilm`, the installed weights of `models.minilm`; or the path of such weights.
    label: the labelling, where there are no captions.

  Raises:
    Invalid: for a file that holds no such weights, or data without the words of its captions.
  """
  if text != "surrogate":
    reader = minilm.load("" if text == "minilm" else text)
    return jnp.asarray(minilm.encode(reader, sentences(data, texts, label)))
  inputs = jnp.asarray(texts.inputs)
  if not contrastive.is_dual(surrogate.params):
    return contrastive.read(surrogate.model, surrogate.params, surrogate.state, inputs)
  return surrogate.model.apply(surrogate.params, inputs, state=surrogate.state).features.astype(jnp.float32)


def sentences(data: Data, texts: Texts, label: str) -> list[str]:
  """The distinct texts of a Data as words, in the order of `texts.inputs`.

  Raises:
    Invalid: for data whose `info` does not spell its captions.
  """
  field = "caption" if "ids" in data.arrays else label
  names = data.info.get("labels", {}).get(field)
  if names is None or field not in data.arrays:
    raise Invalid("data.info[labels]", sorted(data.info.get("labels", {})), f"add '{field}': the list of its texts")
  number = np.zeros(len(texts.inputs), np.int64)
  number[texts.which] = np.asarray(data.arrays[field])
  return [str(names[i]) for i in number]


def scaled(read: jax.Array, shown: np.ndarray) -> jax.Array:
  """Embeddings `[m, d]` with features of mean 0 and deviation 1 over the public texts (`shown`: their numbers)."""
  mean, spread = moments(read, shown)
  return (read - mean) / spread


def moments(read: jax.Array, shown: np.ndarray) -> tuple[jax.Array, jax.Array]:
  """Mean and deviation `[d]` of every feature over the public texts; a deviation of 0 counts as 1."""
  public = read[np.unique(shown)]
  require(len(public) > 1, "protect.standard", True, "give public pairs of two texts or more, or say False")
  spread = jnp.std(public, axis=0)
  return jnp.mean(public, axis=0), jnp.where(spread > 0, spread, jnp.ones_like(spread))


def told(data: Data, texts: Texts, strategy: str, label: str, key: jax.Array) -> jax.Array:
  """The text whose noise each row gets, int32 `[n]`.

  Args:
    strategy: `caption`, its own; `class`, the first caption of its class; `permuted`, one drawn for its index.

  Raises:
    Invalid: for `class` without that labelling.
  """
  if strategy == "permuted":
    return noise.drawn_classes(key, jnp.asarray(data.arrays["index"], jnp.int32), len(texts.inputs))
  if strategy == "caption" or "caption" not in data.arrays:
    return jnp.asarray(texts.which)
  labels, classes = publish.labels_of(data, label)
  caption, first = np.asarray(data.arrays["caption"]), np.zeros(classes, np.int32)
  for kind in np.unique(labels):
    mine = np.flatnonzero(labels == kind)
    first[kind] = texts.which[mine[np.argmin(caption[mine])]]
  return jnp.asarray(first[labels])

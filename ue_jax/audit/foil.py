"""Foils: models that no accuracy tells from unlearned ones, made to see whether an audit does.

- `block`: the logits of the classes to forget are lowered out of reach. Every accuracy is that of unlearning, and the
  representation is the original's, bit for bit.
- `fresh`: the network as it was before any training, for the other end: nothing is remembered, of anything.

Source: the head-only model and the random network of the audit of Kim, Cha and Kim, "Are We Truly Forgetting?", 2025.
No method of unlearning: what they score is what the measure would give for nothing.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Request, Subject
from ue_jax.core.procedure import Procedure, once

KINDS = ("block", "fresh")


def method(kind: str = "block", drop: float = 1e9, label: str = "label") -> Procedure:
  """Request -> Subject; reads the labels of the set `forget`. For picture classifiers.

  Args:
    kind: `block` lowers the bias of every class that occurs in `forget`; `fresh` draws all parameters anew.
    drop: by how much `block` does.
    label: the labelling.

  Raises:
    Invalid: for an unknown kind; for data without pictures, the set or the labelling; for `block`, if the model has no
      linear last layer named `head` with a bias.
  """
  require(kind in KINDS, "method.kind", kind, f"choose one of {KINDS}")

  def make(key, request: Request) -> Subject:
    subject, data = request.subject, request.data
    require("image" in data.arrays, "data.arrays", sorted(data.arrays), "give pictures: foils are for classifiers")
    require("forget" in data.sets, "method.sets", "forget", f"give data with this set; it has {sorted(data.sets)}")
    require(label in data.arrays, "method.label", label, f"choose from {sorted(data.info.get('labels', data.arrays))}")
    if kind == "fresh":
      return Subject(subject.model, *subject.model.init(key, data.arrays["image"][:1]))
    head = subject.params.get("head", {}) if isinstance(subject.params, dict) else {}
    require("bias" in head, "method.kind", kind, "give a model whose last layer is named 'head' and has a bias")
    gone = np.isin(np.arange(len(head["bias"])), data.arrays[label][np.asarray(data.sets["forget"])])
    bias = head["bias"] - jnp.asarray(gone * drop, head["bias"].dtype)
    return subject._replace(params={**subject.params, "head": {**head, "bias": bias}}, history={})

  return once(make)

"""Noise on all weights, whatever they are for: the control that a method has to beat.

It forgets, because it destroys: what it reaches at the accuracy that others keep says what their care is worth.
"""

from __future__ import annotations

from typing import Any

import jax

from ue_jax.core.procedure import Procedure, once
from ue_jax.forget import requests


def method(size: Any = 0.1) -> Procedure:
  """Request -> Subject; reads no sample.

  Args:
    size: standard deviation of the factor 1 + noise on every parameter.
  """

  def change(key, request):
    subject = request.subject
    return requests.finish(noisy(key, subject.params, size), subject.state, request)

  return once(change)


def noisy(key: jax.Array, params: Any, size: Any) -> Any:
  """The parameters, each times 1 + `size` times a standard normal number of its own."""
  leaves, back = jax.tree.flatten(params)
  keys = jax.random.split(key, len(leaves))
  return back.unflatten([x * (1 + size * jax.random.normal(k, x.shape, x.dtype)) for k, x in zip(keys, leaves)])

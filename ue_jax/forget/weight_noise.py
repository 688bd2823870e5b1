"""Noise on all weights: a control. Whatever forgets no better than this only breaks the model."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core.nouns import Request
from ue_jax.core.procedure import Procedure, once


def method(scale: Any = 0.5) -> Procedure:
  """Request -> Subject: adds normal noise to every array, `scale` times as wide as the array's root mean square.

  Args:
    scale: in units of the root mean square of each array; may be traced. Zeros stay zeros.
  """

  def noisy(key: jax.Array, request: Request):
    leaves, form = jax.tree.flatten(request.subject.params)
    out = []
    for x, own in zip(leaves, jax.random.split(key, len(leaves))):
      width = scale * jnp.sqrt(jnp.mean(x.astype(jnp.float32) ** 2))
      out.append(x + (width * jax.random.normal(own, x.shape)).astype(x.dtype))
    return request.subject._replace(params=form.unflatten(out), history={})

  return once(noisy)

"""A subject whose parameters are low-rank adapters alone: what trains them keeps the base as it is.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, section 4.1, by `models.lora`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.core.nouns import Subject
from ue_jax.models import lora
from ue_jax.models.model import Model

USUAL = {"rank": 8, "alpha": 16.0, "where": lora.LINEAR, "start": "uniform"}


def settings(given: Mapping[str, Any], field: str) -> dict[str, Any]:
  """The settings `rank`, `alpha`, `where` and `start` of adapters, with usual values for those that are not given.

  Args:
    given: some of them; the weight of the adapters is alpha / rank.
    field: how messages call them.

  Raises:
    Invalid: for another setting, or a rank that is no whole number above 0.
  """
  for name, value in given.items():
    require(name in USUAL, f"{field}.{name}", value, f"it takes {', '.join(USUAL)}")
  found = {**USUAL, **given}
  good = type(found["rank"]) is int and found["rank"] > 0
  require(good, f"{field}.rank", found["rank"], "give a whole number above 0")
  return found


def subject_of(key: jax.Array, subject: Subject, rank: int, scale: Any, where: str, start: str = "uniform") -> Subject:
  """The subject with fresh adapters for parameters; its `apply` is a pytree that holds the base.

  For arguments see `models.lora.init` and `merge`.
  """
  adapted = _Adapted(subject.model.apply, subject.model.adapts)
  apply = jax.tree_util.Partial(adapted, subject.params, jnp.asarray(scale, jnp.float32))
  made = lambda key: lora.init(key, subject.params, rank, where, start)
  model = Model(lambda key, inputs: (made(key), subject.state), apply, subject.model.convolutional)
  return subject._replace(model=model, params=made(key))


@dataclasses.dataclass(frozen=True)
class _Adapted:
  """An adapted forward pass; equal for the same `apply`, so that what was compiled for it is found again."""

  apply: Callable
  beside: bool

  def __call__(self, base: Any, scale: Any, adapters: Any, inputs: Any, **more: Any) -> Any:
    join = lora.Beside if self.beside else lora.merge
    return self.apply(join(base, adapters, scale), inputs, **more)

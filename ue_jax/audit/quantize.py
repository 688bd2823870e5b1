"""Rounding after unlearning: does what was forgotten come back when the weights are stored in 4 bits?

Source: Zhang et al., "Catastrophic Failure of LLM Unlearning via Quantization", 2024. Unlearning that keeps the rest
moves weights by less than a step of the rounding, so that the rounded models before and after are the same one.
`changed` tells how much of that is so: the share of weights whose code differs. `models.quantizers` does the rounding.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.core.nouns import Request, Subject
from ue_jax.core.procedure import Procedure, once
from ue_jax.core.tree import named_leaves, named_map
from ue_jax.models import quantizers

LINEAR = r"^(?!head/|embed/).*kernel$"  # libraries leave embedding and head as they are


def attack(
  kind: str = "absmax", bits: int = 4, per: str = "channel", group: int = 64, where: str = LINEAR, half: bool = False
) -> Procedure:
  """Request -> Subject: the subject with rounded weights; nothing is trained and no data is read.

  Args:
    kind: `absmax`, `saturating` (the paper's), `signed`, `minmax`, `nf4` or `fp4`, see `models.quantizers.quantize`.
    bits: of a code, 2 to 16; 4 for `nf4` and `fp4`.
    per: one scale for each `tensor`, `channel` (output) or `group` of inputs.
    group: inputs of a group; read with `per="group"` only.
    where: regular expression, searched in the names of the leaves; arrays of less than two axes stay as they are.
    half: store scales, and smallest values of `minmax`, as float16.

  The 4 bits of `bitsandbytes` (what `load_in_4bit` gives) are `kind="fp4", per="group", group=64`; those of a GGUF file
  in `Q4_1` are `kind="minmax", per="group", group=32, half=True`.

  Raises:
    Invalid: for a setting that is not known; at `finish` if no leaf is called so.
  """
  quantizers.check(kind, bits, per, group, half)

  def rounded(key, request: Request) -> Subject:
    del key
    subject = request.subject
    return subject._replace(params=tree(subject.params, kind, bits, per, group, where, half), history={})

  return once(rounded)


def tree(
  params: Any, kind: str = "absmax", bits: int = 4, per: str = "channel", group: int = 64, where: str = LINEAR,
  half: bool = False,
) -> Any:
  """Parameters with the chosen leaves rounded; the others are returned as they are. For arguments see `attack`.

  Raises:
    Invalid: if no array of two axes or more is called so, or for a setting that is not known.
  """
  quantizers.check(kind, bits, per, group, half)
  chosen = _chosen(params, where)
  values = functools.partial(_values, kind=kind, bits=bits, per=per, group=group, half=half)
  return named_map(lambda name, leaf: values(leaf) if name in chosen else leaf, params)


def changed(
  params: Any, others: Any, kind: str = "absmax", bits: int = 4, per: str = "channel", group: int = 64,
  where: str = LINEAR,
) -> jax.Array:
  """The share of rounded weights whose code is not the same in two versions of a model, float32 in [0, 1].

  With equal codes two models can still differ by their scales; see `attack` for the arguments. How scales are stored
  (`half`) changes no code.

  Raises:
    Invalid: see `tree`.
  """
  quantizers.check(kind, bits, per, group)
  chosen, there = _chosen(params, where), dict(named_leaves(others))
  codes = lambda leaf: quantizers.quantize(leaf, kind, bits, per, group).codes
  total = sum(leaf.size for leaf in chosen.values())
  differ = [jnp.sum(codes(leaf) != codes(there[name]), dtype=jnp.float32) for name, leaf in chosen.items()]
  return sum(differ, jnp.float32(0)) / total


@functools.partial(jax.jit, static_argnames=("kind", "bits", "per", "group", "half"))
def _values(leaf, kind, bits, per, group, half):
  return quantizers.quantize(leaf, kind, bits, per, group, half).values


def _chosen(params, where):
  found = {name: x for name, x in named_leaves(params) if x.ndim >= 2 and re.search(where, name)}
  fix = f"no array of two axes is called so; the first leaf is {named_leaves(params)[0][0]}"
  require(bool(found), "quantize.where", where, fix)
  return found

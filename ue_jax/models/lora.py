"""Low-rank adapters as functions on parameter trees: `W + scale A B`, only A and B trained.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (ICLR 2022), section 4.1, for `[in, out]`
kernels: A `[in, rank]` starts random, B `[rank, out]` at zero, and scale is alpha / rank. `start="orthogonal"` draws A
with orthonormal columns, and with `beside` outside of what earlier adapters read from (as penalised by Gao et al., "On
Large Language Model Continual Unlearning", ICLR 2025).

A method trains adapters like any parameters: `apply(merge(params, adapters, scale), ids)` is the adapted forward pass,
and its gradient by `adapters` leaves `params` as they are. There is no dropout, which is a departure: the released ones
train with .05.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.core.tree import named_leaves, named_map

LINEAR = r"block_\d+/(q|k|v|o|gate|up|down)/kernel$"  # the seven linear maps of a decoder's blocks
STARTS = ("uniform", "orthogonal")
Adapters = dict[str, dict[str, jax.Array]]


class Beside(NamedTuple):
  """Parameters with adapters beside them, for models that take such (`Model.adapts`).

  They give what `merge` gives, but as `x W + scale (x A) B`: no second W is made, and no gradient as large as W.
  """

  params: Any
  adapters: Mapping[str, Mapping[str, jax.Array]]
  scale: jax.Array | float


def init(
  key: jax.Array, params: Any, rank: int = 8, where: str = LINEAR, start: str = "uniform",
  beside: Sequence[Mapping[str, Mapping[str, jax.Array]]] = (),
) -> Adapters:
  """Adapters that change nothing yet: name of a kernel -> `a` float32 `[in, rank]`, `b` float32 `[rank, out]`, zeros.

  Args:
    key: one PRNG key; may be traced.
    params: whose kernels `[in, out]` are adapted; only their shapes are read.
    rank: columns of A, above 0.
    where: regular expression, searched in the names of the leaves.
    start: of A: `uniform` in +-1/sqrt(in) (Kaiming's rule as released), or `orthogonal` columns of length 1.
    beside: earlier adapters; with `orthogonal`, the columns of A are orthogonal to those of their A too.

  Raises:
    Invalid: for a rank or start that is not known, no kernel of such a name, or one too small for the rank.
  """
  require(type(rank) is int and rank > 0, "lora.rank", rank, "give a whole number above 0")
  require(start in STARTS, "lora.start", start, f"choose one of {STARTS}")
  require(not beside or start == "orthogonal", "lora.start", start, "choose orthogonal, for adapters beside others")
  chosen = [(name, leaf) for name, leaf in named_leaves(params) if re.search(where, name)]
  require(bool(chosen), "lora.where", where, f"no leaf is called so; the first is {named_leaves(params)[0][0]}")
  out = {}
  for i, (name, leaf) in enumerate(chosen):
    require(leaf.ndim == 2, f"lora.where finds {name}", leaf.shape, "choose kernels [in, out] only")
    earlier = [old[name]["a"] for old in beside if name in old]
    free = leaf.shape[0] - sum(a.shape[1] for a in earlier) if start == "orthogonal" else rank
    require(rank <= free, "lora.rank", rank, f"{name} has room for {max(free, 0)}")
    drawn, inside = jax.random.fold_in(key, i), leaf.shape[0]
    a = _uniform(drawn, inside, rank) if start == "uniform" else _orthogonal(drawn, inside, rank, earlier)
    out[name] = {"a": a, "b": jnp.zeros((rank, leaf.shape[1]), jnp.float32)}
  return out


def merge(params: Any, adapters: Mapping[str, Mapping[str, jax.Array]], scale: jax.Array | float) -> Any:
  """The parameters with `W + scale A B` in the place of each adapted W, in the dtypes of `params`.

  Args:
    params: the base.
    adapters: of `init`.
    scale: alpha / rank, times a weight if wanted; may be traced. At 0, and for leaves that are not adapted, what is
      returned is bit-equal to `params`.

  Raises:
    Invalid: for an adapter whose name or shape does not fit.
  """
  check(params, adapters)

  def one(name, leaf):
    if name not in adapters:
      return leaf
    change = jnp.float32(1) * scale * (adapters[name]["a"] @ adapters[name]["b"])
    return (leaf.astype(jnp.float32) + change).astype(leaf.dtype)

  return named_map(one, params)


def check(params: Any, adapters: Mapping[str, Mapping[str, jax.Array]]) -> None:
  """Raises `Invalid` for an adapter whose name or shape does not fit."""
  shapes = {name: jnp.shape(leaf) for name, leaf in named_leaves(params)}
  for name, adapter in adapters.items():
    made = (adapter["a"].shape[0], adapter["b"].shape[1])
    require(shapes.get(name) == made, f"adapters.{name}", made, f"the base has {shapes.get(name, 'no such kernel')}")


def split(params: Any, base: Any, rank: int, scale: jax.Array | float, where: str = LINEAR) -> Adapters:
  """The adapters of a given rank that bring `base` nearest to `params`: the way back from `merge`.

  Of each difference of kernels the `rank` largest singular values are kept (Eckart and Young, 1936), with an orthogonal
  A; exact if the difference has that rank, as after `merge`.

  Args:
    params: what was merged or trained, like `base`.
    base: the parameters before.
    rank: of the adapters.
    scale: that `merge` will be given, not 0.
    where: regular expression, searched in the names of the leaves.

  Raises:
    Invalid: for a rank beyond the sizes of a kernel, trees of different names and shapes, or a leaf that differs but is
      not adapted: its change would be lost.
  """
  before, after = dict(named_leaves(base)), dict(named_leaves(params))
  same = {n: x.shape for n, x in before.items()} == {n: x.shape for n, x in after.items()}
  require(same, "lora.split", "trees of different names or shapes", "give two versions of one model")
  for name, leaf in before.items():
    traced = isinstance(leaf, jax.core.Tracer) or isinstance(after[name], jax.core.Tracer)
    if not re.search(where, name) and not traced:
      require(bool(jnp.array_equal(leaf, after[name])), "lora.where", where, f"{name} differs too: adapt it as well")
  out = {}
  for name in (name for name in before if re.search(where, name)):
    most = min(before[name].shape)
    require(type(rank) is int and 0 < rank <= most, "lora.rank", rank, f"give a whole number from 1 to {most}: {name}")
    change = after[name].astype(jnp.float32) - before[name].astype(jnp.float32)
    left, values, right = jnp.linalg.svd(change, full_matrices=False)
    out[name] = {"a": left[:, :rank], "b": values[:rank, None] * right[:rank] / scale}
  require(bool(out), "lora.where", where, f"no leaf is called so; the first is {next(iter(before))}")
  return out


def overlap(adapters: Adapters, others: Sequence[Adapters]) -> jax.Array:
  """How much adapters read from what others read from: the sum of `||A_other^T A||_F^2` over all, float32 scalar."""
  pairs = [(old[name]["a"], x["a"]) for old in others for name, x in adapters.items() if name in old]
  parts = [jnp.sum(jnp.square(there.T @ here)) for there, here in pairs]
  return sum(parts, jnp.float32(0))


def _uniform(key, inside, rank):
  return jax.random.uniform(key, (inside, rank), jnp.float32, -1, 1) / math.sqrt(inside)


def _orthogonal(key, inside, rank, earlier):
  """Orthonormal columns, drawn evenly from what is orthogonal to the columns of `earlier`."""
  drawn = jax.random.normal(key, (inside, rank), jnp.float32)
  kept = jnp.concatenate([*(a.astype(jnp.float32) for a in earlier), drawn], axis=1)
  q, r = jnp.linalg.qr(kept)
  return (q * jnp.where(jnp.diagonal(r) < 0, -1.0, 1.0))[:, kept.shape[1] - rank :]

"""Decoder of the Llama family: RMSNorm, rotary positions, grouped queries, SwiGLU (Touvron et al., 2023).

On request with what decoders had before: a table of learned positions, and a GELU without a gate (Radford et al.,
"Language Models are Unsupervised Multitask Learners", 2019).
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ue_jax.core.build import remembered
from ue_jax.core.errors import require
from ue_jax.models import layers, lora
from ue_jax.models.attention import Cache, Packed, Tokens, apart, attend, counted, visible
from ue_jax.models.decoder_parts import RMSNorm, gated, rows
from ue_jax.models.model import Model, Out, tap
from ue_jax.models.rotary import Scaling, rotate, scaling, turns

ADAPTERS = "adapters"  # the collection of variables that holds A and scale B of some linear maps
SITES = ("attention", "gate", "keys", "mlp_out", "residual")
POSITIONS, MLPS = ("rotary", "learned"), ("swiglu", "gelu")


class Sizes(NamedTuple):
  """What all blocks of a decoder have in common; the arguments of `model` say more."""

  heads: int
  kv_heads: int
  size: int
  hidden: int
  rope_base: float
  scaled: Scaling | None = None
  epsilon: float = 1e-6
  qkv_bias: bool = False
  window: int | None = None
  rotary: bool = True
  mlp: str = "swiglu"


class Block(nn.Module):
  sizes: Sizes
  site: str

  @nn.compact
  def __call__(self, x, seen, by, past, first, taps):
    """`by`: turns of the positions; `past`: keys and values of a cache, or None; returns the stream and all to see."""
    width, c = x.shape[-1], self.sizes
    linear = lambda features, name, bias=False: functools.partial(
      rows, nn.Dense(features, use_bias=bias, name=name), adapter=self.get_variable(ADAPTERS, name)
    )
    split = lambda y: y.reshape(*y.shape[:2], -1, c.size)
    turned = lambda y: rotate(split(y), by) if c.rotary else split(y)
    here = lambda site, value: tap(taps, f"{self.site}/{site}", value)

    h = RMSNorm(c.epsilon, name="ln1")(x)
    q = turned(linear(c.heads * c.size, "q", c.qkv_bias)(h))
    k = turned(linear(c.kv_heads * c.size, "k", c.qkv_bias)(h))
    v = split(linear(c.kv_heads * c.size, "v", c.qkv_bias)(h))
    if past is not None:
      k, v = (jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), first, 1)
              for old, new in zip(past, (k, v)))
    mixed = attend(q, k, v, seen)
    x = x + here("attention", linear(width, "o")(mixed.reshape(*x.shape[:2], -1)))

    h = RMSNorm(c.epsilon, name="ln2")(x)
    if c.mlp == "gelu":
      keys = here("keys", nn.gelu(linear(c.hidden, "up")(h), approximate=False))
    else:
      gate = here("gate", linear(c.hidden, "gate")(h))
      keys = here("keys", gated(gate, linear(c.hidden, "up")(h)))
    return here("residual", x + here("mlp_out", linear(width, "down")(keys))), (k, v)


class Transformer(nn.Module):
  vocabulary: int
  width: int
  depth: int
  sizes: Sizes
  tied: bool
  remat: bool = False
  scan: bool = False
  embed_scale: Any = 1.0
  table: int | None = None  # positions that are learned

  @nn.compact
  def __call__(self, inputs, train, taps, cache=None):
    del train
    ids = inputs.ids if isinstance(inputs, (Tokens, Packed)) else inputs
    seen, positions, first, valid = self.sight(inputs, cache)
    embed = nn.Embed(self.vocabulary, self.width, name="embed")
    x, kept = tap(taps, "embed", self.scaled(embed(ids))), []
    if self.table is not None:
      at = jnp.arange(ids.shape[1]) if positions is None else positions
      x = x + nn.Embed(self.table, self.width, name="positions")(at)  # beyond the table: NaN
    by = self.turned(ids.shape[1] if positions is None else positions)
    plain = cache is None and not taps and not self.is_initializing()
    block = nn.remat(Block) if self.remat and plain else Block
    for i in range(0 if self.scan and plain else self.depth):
      name, past = f"block_{i}", None if cache is None else (cache.keys[i], cache.values[i])
      x, pair = block(self.sizes, name, name=name)(x, seen, by, past, first, taps)
      kept.append(pair)
    x = self.scanned(x, seen, by) if self.scan and plain else x
    x = RMSNorm(self.sizes.epsilon, name="norm")(x)
    logits = rows(embed.attend if self.tied else nn.Dense(self.vocabulary, use_bias=False, name="head"), x)
    out = logits.astype(jnp.float32), x
    return out if cache is None else (*out, Cache(*map(tuple, zip(*kept)), valid, first + ids.shape[1]))

  def scaled(self, x):
    usual = isinstance(self.embed_scale, (int, float)) and self.embed_scale == 1
    return x if usual else x * jnp.asarray(self.embed_scale, x.dtype)

  def turned(self, where):
    """What queries and keys of every block are turned by, None without rotations."""
    c = self.sizes
    return turns(where, c.size // 2, c.rope_base, c.scaled) if c.rotary else None

  def scanned(self, x, seen, by):
    """The stream after all blocks: one program for a block, run over their parameters laid on top of each other."""
    block = Block(self.sizes, "block", parent=None)

    def one(x, variables):
      return block.apply(variables, x, seen, by, None, 0, {})[0], None

    every = [{kind: part[f"block_{i}"] for kind, part in self.variables.items()} for i in range(self.depth)]
    layers = jax.tree.map(lambda *parts: jnp.stack(parts), *every)
    return jax.lax.scan(jax.checkpoint(one, prevent_cse=False) if self.remat else one, x, layers)[0]

  def sight(self, inputs, cache):
    """What each token sees, its position, the slot of the first one, and which slots are valid from now on."""
    window = self.sizes.window
    if isinstance(inputs, Packed):
      require(cache is None, "inputs", "Packed", "give one text a row where there is a cache")
      (same, positions), length = apart(inputs.segment), inputs.segment.shape[1]
      return same & visible(length, length, window, None), positions, 0, None
    ids, valid = inputs if isinstance(inputs, Tokens) else (inputs, None)
    length = ids.shape[1]
    if cache is None:
      seen = None if valid is None and window is None else visible(length, length, window, valid)
      return seen, None if valid is None else counted(valid), 0, valid
    now = jnp.ones(ids.shape, bool) if valid is None else valid
    before = jnp.sum(cache.valid, axis=1, keepdims=True, dtype=jnp.int32)
    valid = jax.lax.dynamic_update_slice_in_dim(cache.valid, now, cache.filled, 1)
    seen = visible(length, valid.shape[1], window, valid, cache.filled)
    return seen, counted(now) + before, cache.filled, valid


def model(
  vocabulary: int,
  width: int = 96,
  depth: int = 2,
  heads: int = 4,
  kv_heads: int | None = None,
  hidden: int = 192,
  rope_base: float = 1e4,
  tied: bool = False,
  head_size: int | None = None,
  rope_scaling: Mapping[str, Any] | None = None,
  epsilon: float = 1e-6,
  qkv_bias: bool = False,
  window: int | None = None,
  remat: bool = False,
  scan: bool = False,
  context: int | None = None,
  positions: str = "rotary",
  mlp: str = "swiglu",
  embed_scale: jax.Array | float = 1.0,
  embed_std: float | None = None,
) -> Model:
  """A causal language model: ids int32 `[b, t]` -> logits float32 `[b, t, vocabulary]`, for the token after each.

  `Out.features` is the normed residual stream `[b, t, width]`. Padding on the right needs no mask: what comes
  later is never seen; for padding on the left give `Tokens`, for several texts in a row `Packed`. With
  `Model.cache(params, b, slots)` as `state`, keys and values go there, what was read before is seen, and `Out.state` is
  the cache to go on from (`models.generate`).
  Parameters may be cast to bfloat16; norms and softmax stay float32.
  Parameters: `embed`, `block_i/{ln1,q,k,v,o,ln2,gate,up,down}`, `norm`, `head` (none if `tied`); with `learned`
  positions `positions`, with a `gelu` no `gate`.
  At the start, weights have deviation 1/sqrt(fan_in), `embed` 1/sqrt(width) or `embed_std`, `positions` .02, and what
  writes to the residual stream (`o`, `down`) a further 1/sqrt(2 depth).

  Args:
    vocabulary: number of tokens.
    width: of the residual stream; without `head_size`, `width / heads` must be a whole even number.
    depth: number of blocks.
    heads: query heads.
    kv_heads: key and value heads, a divisor of `heads`; None for as many.
    hidden: width of the MLP.
    rope_base: base of the rotary wave lengths; not read with learned positions.
    tied: the head is the transposed embedding.
    head_size: even width of a head; None for `width / heads`.
    rope_scaling: None, or how rotations are stretched, see `models.rotary.scaling`.
    epsilon: added to mean squares by the norms.
    qkv_bias: `q`, `k` and `v` have biases (Qwen2; Yang et al., 2024).
    window: a token sees itself and the `window - 1` before it (Mistral; Jiang et al., 2023); None: all before it.
    remat: gradients compute each block anew instead of keeping what is inside it: a third more time, and memory for
      one block instead of all of them (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016). Not where
      taps are given.
    scan: one block is compiled and run `depth` times, instead of all blocks one after the other: a model of many blocks
      compiles in a fraction of the time, and each pass lays their parameters on top of each other, a copy of them.
      Parameters have the same names. Not where taps are given or a cache is.
    context: tokens of the longest text that it was made for; longer ones are refused. None: any.
    positions: `rotary`, or `learned`: a table of `context` rows, added to the embedded tokens.
    mlp: `swiglu`, or `gelu`: `down(GELU(up(h)))` by the exact GELU, without a gate.
    embed_scale: factor of the embedded tokens at the input; a head that is `tied` has it not. May be traced.
    embed_std: deviation of `embed` at the start; None: 1/sqrt(width). GPT-2 takes .02 (Radford et al., 2019).

  Sites for taps: `embed` (the embedded tokens, before learned positions), `block_i/attention` (what attention adds),
  `block_i/gate` (before SiLU; none with a `gelu`), `block_i/keys` (input of `down`), `block_i/mlp_out` (what the MLP
  adds), `block_i/residual` (the stream after the block).

  Raises:
    Invalid: for sizes that are not positive whole numbers or do not divide each other, a scaling, kind of positions or
      MLP that is not known, learned positions without a context or with a `rope_scaling`; from `apply`, for a text
      longer than `context`; of packed ones only their data know the length. From `cache`, for more slots than there are
      learned positions.
  """
  kv_heads = heads if kv_heads is None else kv_heads
  layers.check_positive(
    vocabulary=vocabulary, width=width, depth=depth, heads=heads, kv_heads=kv_heads, hidden=hidden,
    **{name: x for name, x in (("head_size", head_size), ("window", window), ("context", context)) if x is not None},
  )
  require(positions in POSITIONS, "model.positions", positions, f"choose one of {POSITIONS}")
  require(mlp in MLPS, "model.mlp", mlp, f"choose one of {MLPS}")
  learned = positions == "learned"
  require(not learned or context is not None, "model.context", context, "give the number of learned positions")
  require(not learned or rope_scaling is None, "model.rope_scaling", rope_scaling, "leave it out: nothing is rotated")
  require(head_size is not None or width % (2 * heads) == 0, "model.width", width,
          f"give a multiple of 2 * heads = {2 * heads}, or head_size")
  require(head_size is None or head_size % 2 == 0, "model.head_size", head_size, "give an even number")
  require(heads % kv_heads == 0, "model.kv_heads", kv_heads, f"give a divisor of heads = {heads}")
  require(not isinstance(epsilon, (int, float)) or epsilon > 0, "model.epsilon", epsilon, "give a number above 0")
  require(embed_std is None or embed_std > 0, "model.embed_std", embed_std, "give a number above 0, or leave it out")
  size = width // heads if head_size is None else head_size
  stretch = scaling(rope_scaling)
  sizes = Sizes(heads, kv_heads, size, hidden, rope_base, stretch, epsilon, qkv_bias, window, not learned, mlp)
  table = context if learned else None
  module = Transformer(vocabulary, width, depth, sizes, tied, remat, scan, embed_scale, table)
  return _language(module, context, 1 / math.sqrt(width) if embed_std is None else float(embed_std))


@remembered
def _language(module: Transformer, context: int | None, embed_std: float) -> Model:
  """The Model of a module, with its cache as state."""
  depth, sizes = module.depth, module.sizes

  def std(name, shape):
    if name.startswith("embed/"):
      return embed_std
    if name.startswith("positions/"):
      return 0.02
    residual = name.endswith(("/o/kernel", "/down/kernel"))
    return layers.lecun(name, shape) / (math.sqrt(2 * depth) if residual else 1.0)

  sites = [*(f"block_{i}/{site}" for i in range(depth) for site in SITES), "embed"]
  sites = [site for site in sites if sizes.mlp == "swiglu" or not site.endswith("/gate")]
  plain = layers.wrap(module, std=std, sites=sites)

  def apply(params, inputs, *, state={}, train=False, key=None, taps={}) -> Out:
    long = 0 if isinstance(inputs, Packed) else jnp.shape(inputs.ids if isinstance(inputs, Tokens) else inputs)[-1]
    require(context is None or long <= context, "tokens", long, f"give the model texts of at most {context} tokens")
    layers.check_taps(taps, sites)
    variables = _variables(params, module)
    if not isinstance(state, Cache):
      return Out(*module.apply(variables, inputs, train, taps), state)
    return Out(*module.apply(variables, inputs, train, taps, state))

  def cache(params, batch, slots):
    fix = f"there are {module.table} learned positions: ask for at most as many"
    require(module.table is None or slots <= module.table, "cache.slots", slots, fix)
    params = params.params if isinstance(params, lora.Beside) else params
    dtype = jax.tree.leaves(params["block_0"]["k"])[0].dtype
    empty = tuple(jnp.zeros((batch, slots, sizes.kv_heads, sizes.size), dtype) for _ in range(depth))
    return Cache(empty, empty, jnp.zeros((batch, slots), bool), jnp.int32(0))

  return Model(plain.init, apply, False, cache, context, adapts=True, packs=True)


def _variables(params: Any, module: Transformer) -> dict[str, Any]:
  """What flax is given: adapters are merged where a block has others than the next, or other leaves have some."""
  if not isinstance(params, lora.Beside):
    return {"params": params}
  lora.check(params.params, params.adapters)
  found: dict[str, dict[str, Any]] = {f"block_{i}": {} for i in range(module.depth)}
  for name, adapter in params.adapters.items():
    block, _, part = name.removesuffix("/kernel").partition("/")
    if re.search(lora.LINEAR, name):
      found[block][part] = {"a": adapter["a"], "b": jnp.float32(1) * params.scale * adapter["b"]}
  uneven = module.scan and len({tuple(sorted(parts)) for parts in found.values()}) > 1
  if uneven or sum(map(len, found.values())) < len(params.adapters):
    return {"params": lora.merge(*params)}
  return {"params": params.params, ADAPTERS: {block: parts for block, parts in found.items() if parts}}

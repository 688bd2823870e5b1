"""What all networks share: fast initialisation, flax modules as Models, pictures as floats.

Initialising layer by layer compiles one random program a layer, which takes far longer than the first
training steps. Here the shapes are found without computing anything, ONE vector is drawn, and the leaves
are cut from it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ue_jax.core.build import remembered
from ue_jax.core.errors import Invalid, require
from ue_jax.core.pictures import to_float
from ue_jax.core.tree import named_leaves
from ue_jax.models.model import Model, Out

# (leaf name, shape) -> standard deviation of that leaf at initialisation
Std = Callable[[str, tuple[int, ...]], float]

CONSTANTS = {"scale": 1.0, "bias": 0.0, "var": 1.0, "mean": 0.0}
TRUNCATED_STD = 0.87962566  # of a standard normal cut at -2 and 2

# mean and standard deviation per channel, of pictures in [0, 1]
NORMALISE = {
  "none": None,
  "half": (0.5, 0.5),
  "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
  "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def lecun(name: str, shape: tuple[int, ...]) -> float:
  """1 / sqrt(fan_in): keeps the variance through a linear layer."""
  del name
  return 1 / math.sqrt(math.prod(shape[:-1]))


def he(name: str, shape: tuple[int, ...]) -> float:
  """sqrt(2 / fan_in): keeps the variance through a layer and the ReLU behind it; `lecun` in the linear `head`."""
  return lecun(name, shape) * (1.0 if name.startswith("head/") else math.sqrt(2))


def he_throughout(name: str, shape: tuple[int, ...]) -> float:
  """sqrt(2 / fan_in) in every layer, the linear `head` too: logits of twice the variance that `he` begins with."""
  return lecun(name, shape) * math.sqrt(2)


def initialise(module_init: Callable, key: jax.Array, inputs: Any, std: Std = he) -> tuple[dict, dict]:
  """Parameters and state of a module from one random draw.

  Args:
    module_init: `(key, inputs) -> variables`, such as `module.init`; it is only traced, never run.
    key: one PRNG key (may be traced, may be vmapped over).
    inputs: an example batch; only its shape and dtype matter.
    std: standard deviation of a leaf. Weights are normal, cut at two (untruncated) deviations; leaves named
      `scale` and `var` are ones, `bias` and `mean` zeros.

  Returns:
    `(params, state)`, plain dicts of float32 arrays; `state` holds the batch statistics, `{}` without any.
  """
  return draw(jax.eval_shape(module_init, key, inputs), key, std)


def draw(shapes: Any, key: jax.Array, std: Std = he) -> tuple[dict, dict]:
  """`initialise` where the shapes of the variables are known: a tree with `shape` at its leaves."""
  names, leaves = zip(*named_leaves(shapes))
  plan = tuple(_plan(name, leaf.shape, std) for name, leaf in zip(names, leaves))
  tree = jax.tree.unflatten(jax.tree.structure(shapes), _draw(key, plan))
  return tree["params"], tree.get("batch_stats", {})


def _plan(name: str, shape: tuple[int, ...], std: Std) -> tuple[tuple[int, ...], float | None, float]:
  constant = CONSTANTS.get(name.rsplit("/", 1)[-1])
  if constant is not None:
    return shape, constant, 0.0
  return shape, None, std(name.split("/", 1)[1], shape) / TRUNCATED_STD


@functools.partial(jax.jit, static_argnames="plan")
def _draw(key: jax.Array, plan: tuple) -> list[jax.Array]:
  sizes = [0 if constant is not None else math.prod(shape) for shape, constant, _ in plan]
  flat = jax.random.truncated_normal(key, -2.0, 2.0, (sum(sizes),), jnp.float32)
  leaves, start = [], 0
  for (shape, constant, scale), size in zip(plan, sizes):
    if constant is not None:
      leaves.append(jnp.full(shape, constant, jnp.float32))
    else:
      leaves.append(flat[start : start + size].reshape(shape) * scale)
    start += size
  return leaves


def wrap(
  module: nn.Module, *, convolutional: bool = False, std: Std = he, stateful: bool = False, sites: Sequence[str] = ()
) -> Model:
  """Makes a Model of a flax module with `__call__(x, train, taps) -> (logits, features)`.

  Batch statistics become the model's `state`; `key` feeds dropout.

  Args:
    module: the flax module; equal ones get one and the same Model.
    convolutional: see `Model`.
    std: rule of initialisation, see `initialise`.
    stateful: it has batch statistics.
    sites: the names that `taps` may use.

  Raises:
    Invalid: from `apply`, for a tap at a site that the model does not have, or a missing state.
  """
  return _wrapped(module, convolutional, std, stateful, tuple(sites))


@remembered
def _wrapped(module: nn.Module, convolutional: bool, std: Std, stateful: bool, sites: tuple[str, ...]) -> Model:
  """A Model, one for all equal modules: what was traced or compiled for its `apply` serves all of them."""

  @functools.lru_cache(maxsize=16)
  def shapes(form, *kinds):  # finding them traces the module, which takes longer than the draw
    example = jax.tree.unflatten(form, [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in kinds])
    return jax.eval_shape(lambda x: module.init(jax.random.key(0), x, False, {}), example)

  def init(key, inputs):
    leaves, form = jax.tree.flatten(inputs)
    return draw(shapes(form, *((jnp.shape(x), jnp.result_type(x)) for x in leaves)), key, std)

  def apply(params, inputs, *, state={}, train=False, key=None, taps={}) -> Out:
    check_taps(taps, sites)
    require(not stateful or bool(state), "state", state, "give the state that init or load returned")
    variables = {"params": params, **({"batch_stats": state} if state else {})}
    rngs = {} if key is None else {"dropout": key}
    if not (train and state):
      return Out(*module.apply(variables, inputs, train, taps, rngs=rngs), state)
    outputs, new = module.apply(variables, inputs, train, taps, rngs=rngs, mutable=["batch_stats"])
    return Out(*outputs, new["batch_stats"])

  return Model(init, apply, convolutional)


def pictures(image: jax.Array, normalise: str = "none") -> jax.Array:
  """Pictures `[b, h, w, c]`, uint8 or float in [0, 1], as normalised float32.

  Statistics of three channels turn a grey picture into three channels.
  """
  statistics = NORMALISE[normalise]
  image = jnp.asarray(to_float(image), jnp.float32)
  if statistics is None:
    return image
  mean, std = (jnp.asarray(s, jnp.float32) for s in statistics)
  return (image - mean) / std


def doubled(x: jax.Array) -> jax.Array:
  """A grid `[b, h, w, c]` with every value four times: `[b, 2 h, 2 w, c]`."""
  return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def check_normalise(normalise: str) -> str:
  """Returns `normalise` if it names channel statistics, else raises `Invalid`."""
  if normalise not in NORMALISE:
    raise Invalid("model.normalise", normalise, f"choose one of {sorted(NORMALISE)}")
  return normalise


def check_positive(**sizes: Any) -> None:
  """Raises `Invalid` for a size (an int or a sequence of ints) that is not a positive whole number."""
  for name, value in sizes.items():
    many = value if isinstance(value, (tuple, list)) else (value,)
    good = all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in many)
    require(good, f"model.{name}", value, "give whole numbers above 0")


def check_taps(taps: Any, sites: Sequence[str]) -> None:
  """Raises `Invalid` for a tap at a site that the model does not have: it would silently do nothing."""
  for site in taps:
    require(site in sites, "taps", site, f"choose among {list(sites)}")


def check_rate(dropout: float) -> None:
  """Raises `Invalid` for a dropout rate outside [0, 1)."""
  require(0 <= dropout < 1, "model.dropout", dropout, "give a rate in [0, 1)")


def batch_norm(train: bool, name: str, momentum: float = 0.9, epsilon: float = 1e-5) -> nn.BatchNorm:
  """Batch normalisation: batch statistics if `train`, running ones (kept in the state) otherwise."""
  return nn.BatchNorm(use_running_average=not train, momentum=momentum, epsilon=epsilon, name=name)

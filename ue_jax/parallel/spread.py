"""One and the same step on one device, or on many, four ways; the only file with collectives.

A step is written for what one device sees, with sums taken by `allsum(..., axis)`. Every mode then gives the
numbers of one device:

- `one`: `jit` on a single device;
- `jit`: `jit` over a batch that is sharded over a mesh; the compiler adds the sums (`axis` is None, the step sees
  the whole batch); the default where there are several devices;
- `fsdp`: as `jit`, and the state is cut over the devices too, each array along its longest axis that divides: for steps
  whose parameters, gradients, moments and temporaries do not fit one device together (Zhao et al., "PyTorch FSDP",
  2023). `init` makes the state on one device, and `collect` brings it back there;
- `pmap`, `shard_map`: the step sees its own part and `axis` is the name of the mapped axis.

What is random per sample differs between modes (`local_key`), and batch statistics are per device in `pmap` and
`shard_map` but global in `jit`, as is usual.

`shard_map` runs with `check_vma=False`: with the check on, the gradient of a replicated argument comes summed over
devices already, and the sum written by hand would count it once more.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.core.tree import path_name
from ue_jax.parallel import mesh as meshes

MODES = ("auto", "one", "jit", "fsdp", "pmap", "shard_map")
WHOLE = 1024  # numbers; smaller arrays are not worth cutting
STILL = ("frozen", "apply")  # fields of states that no step changes


def allsum(tree: Any, axis: str | None) -> Any:
  """The sum over the devices of the mapped `axis`; the tree itself if `axis` is None."""
  return tree if axis is None else jax.lax.psum(tree, axis)


def gather(tree: Any, axis: str | None) -> Any:
  """The devices' leading axes one after another, `[m, ...]` -> `[devices * m, ...]`; itself if `axis` is None."""
  if axis is None:
    return tree
  return jax.tree.map(lambda x: jax.lax.all_gather(x, axis, tiled=True), tree)


def own(tree: Any, rows: int, axis: str | None) -> Any:
  """This device's `rows` of what `gather` put together, `[devices * rows, ...]` -> `[rows, ...]`."""
  if axis is None:
    return tree
  start = jax.lax.axis_index(axis) * rows
  return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, rows), tree)


def allmean(tree: Any, weight: jax.Array, axis: str | None) -> Any:
  """The mean over devices with this device's scalar `weight`; leaves that are not floats stay as they are.

  If no device has weight, all count alike.
  """
  if axis is None:
    return tree
  weight = jnp.where(allsum(weight, axis) == 0, jnp.ones_like(weight), weight)
  share = weight / allsum(weight, axis)

  def mean(x):
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    return allsum(x * share.astype(x.dtype), axis) if floating else x

  return jax.tree.map(mean, tree)


def local_key(key: jax.Array, axis: str | None) -> jax.Array:
  """A key of this device's own, for what is random per sample; the key itself if `axis` is None."""
  return key if axis is None else jax.random.fold_in(key, jax.lax.axis_index(axis))


def pad(batch: Any, multiple: int, axis: int = 0) -> Any:
  """Lengthens the sample axis of every array to a multiple of `multiple` by repeating row 0.

  Arrays named `mask`, in nested dictionaries too, get zeros there. Scalars pass unchanged.
  """
  return jax.tree_util.tree_map_with_path(lambda path, x: _pad(path_name(path), x, multiple, axis), batch)


def _pad(name: str, x: Any, multiple: int, axis: int) -> Any:
  if np.ndim(x) <= axis or x.shape[axis] % multiple == 0:
    return x
  xp = np if isinstance(x, np.ndarray) else jnp
  shape = list(x.shape)
  shape[axis] = -x.shape[axis] % multiple
  first = xp.take(x, np.zeros(1, np.int32), axis)
  rows = xp.broadcast_to(xp.zeros_like(first) if _is_mask(name) else first, tuple(shape))
  return xp.concatenate([x, rows], axis)


def _is_mask(name: str) -> bool:
  return name.split("/")[-1] == "mask"


def spread(
  step: Callable,
  *,
  mode: str = "auto",
  devices: Sequence[Any] | None = None,
  axes: Any = None,
  donate: bool = False,
  batch_axes: Any = 0,
) -> Callable[[Any, Any], tuple[Any, dict]]:
  """Compiles `step` for `devices`; state and metrics go in and out unstacked in every mode.

  Args:
    step: `(state, batch, axis=None) -> (state, metrics)`; `one`, `jit` and `fsdp` also take steps without `axis`.
    mode: `one`, `jit`, `fsdp`, `pmap`, `shard_map`, or `auto`: `one` on a single device, else `jit`.
    devices: default all.
    axes: prefix tree of the state. None: replicated, the batch is cut over the devices. 0: this leaf is cut along
      its leading axis, and the batch is then replicated. As many devices are used as divide all these axes.
    donate: True lets the step overwrite the memory of the state it is given, which is then lost; not of what `parted`
      says stays as it is, which is never copied either.
    batch_axes: prefix tree of the batch: the position of the sample axis in its arrays.

  Returns:
    `run(state, batch) -> (state, metrics)`. Ragged batches are padded with mask 0. An array whose length is not a
    multiple of the number of devices and that has no mask beside it is replicated in modes `jit` and `fsdp`.

  Raises:
    Invalid: for an unknown mode; in modes `pmap` and `shard_map` for a step without `axis`, or for a batch that
      would have to be padded but has no mask.
  """
  require(mode in MODES, "mode", mode, f"choose one of {list(MODES)}")
  devices = list(jax.devices() if devices is None else devices)
  require(len(devices) > 0, "devices", devices, "give at least one device")
  if mode == "auto":
    mode = "one" if len(devices) == 1 else "jit"
  if mode in ("pmap", "shard_map") and "axis" not in inspect.signature(step).parameters:
    raise Invalid("mode", mode, "this step takes no 'axis'; use mode 'jit' or 'one'")
  if mode == "one":
    return _one(step, devices[0], donate)
  make = functools.lru_cache(maxsize=None)({"jit": _jit, "fsdp": _jit, "pmap": _pmap, "shard_map": _shard_map}[mode])
  sliced = any(a is not None for a in jax.tree.leaves(axes))

  def run(state, batch):
    n = _usable(state, axes, len(devices)) if sliced else len(devices)
    batch, cuts = _cut(batch, None if sliced else batch_axes, n, strict=mode in ("pmap", "shard_map"))
    leaves, tree = jax.tree.flatten(batch)
    placed = jax.tree.map(lambda x: _longest(x, n), state) if mode == "fsdp" and not sliced else axes
    compiled = make(step, tuple(devices[:n]), Axes(placed), tree, tuple(cuts), donate)
    moving, still, metrics = compiled(*parted(state), leaves)
    return joined(moving, still), metrics

  return run


def parted(state: Any) -> tuple[Any, Any]:
  """What steps change of a state, and what stays: the state twice, with None for the leaves of the other part.

  What stays is all in fields of NamedTuples called `frozen` or `apply`: parameters that are looked at and not trained.
  """
  leaves, tree = jax.tree_util.tree_flatten_with_path(state)
  still = [any(getattr(key, "name", "") in STILL for key in path) for path, _ in leaves]
  pick = lambda kind: tree.unflatten([x if kind == stays else None for stays, (_, x) in zip(still, leaves)])
  return pick(False), pick(True)


def joined(moving: Any, still: Any) -> Any:
  """The state that `parted` took apart."""
  return jax.tree.map(lambda a, b: b if a is None else a, moving, still, is_leaf=lambda x: x is None)


def collect(state: Any) -> Any:
  """The state as ordinary uncommitted arrays of the default device, whatever it was spread over."""

  def one(x):
    if not isinstance(x, jax.Array) or len(x.sharding.device_set) == 1:
      return x
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
      return jax.random.wrap_key_data(one(jax.random.key_data(x)), impl=jax.random.key_impl(x))
    return jnp.asarray(np.asarray(x))

  return jax.tree.map(one, state)


class Axes:
  """A prefix tree as a hashable value (None counts as a leaf)."""

  def __init__(self, axes: Any):
    leaves, self.tree = jax.tree.flatten(axes, is_leaf=lambda a: a is None)
    self.leaves = tuple(leaves)

  def map(self, fn: Callable) -> Any:
    return self.tree.unflatten([fn(a) for a in self.leaves])

  def over(self, state: Any) -> list:
    """One entry for every leaf of `state`."""
    parts = self.tree.flatten_up_to(state)
    return [a for a, part in zip(self.leaves, parts) for _ in jax.tree.leaves(part)]

  def __eq__(self, other):
    return isinstance(other, Axes) and (self.leaves, self.tree) == (other.leaves, other.tree)

  def __hash__(self):
    return hash((self.leaves, self.tree))


def _longest(x: Any, n: int) -> int | None:
  """The axis that mode `fsdp` cuts an array along; None if it stays whole."""
  if np.size(x) < WHOLE or jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    return None
  return max((a for a, m in enumerate(x.shape) if m % n == 0), key=lambda a: x.shape[a], default=None)


def _usable(state: Any, axes: Any, n: int) -> int:
  """The largest number of devices up to `n` that divides every sliced axis of the state."""
  sizes = [x.shape[0] for x, a in zip(jax.tree.leaves(state), Axes(axes).over(state)) if a is not None]
  common = math.gcd(*sizes)
  return next(d for d in range(n, 0, -1) if common % d == 0)


def _cut(batch: Any, batch_axes: Any, n: int, strict: bool) -> tuple[Any, list]:
  """The padded batch, and for every leaf the axis that is cut over the devices (None: replicated)."""
  paths = jax.tree_util.tree_flatten_with_path(batch)[0]
  tree = jax.tree.structure(batch)
  axes = [None] * len(paths) if batch_axes is None else Axes(batch_axes).over(batch)
  names = [path_name(path) for path, _ in paths]
  masked = {name.rpartition("/")[0] for name in names if _is_mask(name)}
  leaves, cuts = [], []
  for name, (_, x), axis in zip(names, paths, axes):
    if axis is None or np.ndim(x) <= axis:
      leaves.append(x)
      cuts.append(None)
    elif x.shape[axis] % n == 0 or name.rpartition("/")[0] in masked:
      leaves.append(_pad(name, x, n, axis))
      cuts.append(axis)
    elif strict:
      raise Invalid(f"batch[{name}]", x.shape, f"give it a multiple of {n} rows, or a 'mask' beside it")
    else:
      leaves.append(x)
      cuts.append(None)
  return tree.unflatten(leaves), cuts


def _thin(step: Callable, **more: Any) -> Callable:
  """The step on a state in two parts: `(moving, still, batch) -> (moving, metrics)`."""

  def run(moving, still, batch):
    state, metrics = step(joined(moving, still), batch, **more)
    return parted(state)[0], metrics

  return run


def _one(step, device, donate):
  compiled = jax.jit(_thin(step), donate_argnums=(0,) if donate else ())
  own = (lambda x: x) if device == jax.devices()[0] else (lambda x: jax.device_put(x, device))

  def run(state, batch):
    moving, still = map(own, parted(state))
    moving, metrics = compiled(moving, still, own(batch))
    return joined(moving, still), metrics

  return run


def _jit(step, devices, axes, tree, cuts, donate):
  over = meshes.mesh(devices)
  state_at = axes.map(lambda a: meshes.replicated(over) if a is None else meshes.split(over, a))
  batch_at = [meshes.replicated(over) if a is None else meshes.split(over, a) for a in cuts]
  compiled = jax.jit(
    _thin(lambda state, leaves: step(state, tree.unflatten(leaves))),
    out_shardings=(state_at, meshes.replicated(over)),
    donate_argnums=(0,) if donate else (),
  )
  return _placed(compiled, state_at, batch_at)


def _placed(compiled, state_at, batch_at):
  """The compiled step on what is put where it belongs first; what stays is returned as it was put."""

  def run(moving, still, leaves):
    still = jax.device_put(still, state_at)
    moving, metrics = compiled(jax.device_put(moving, state_at), still, jax.device_put(leaves, batch_at))
    return moving, still, metrics

  return run


def _shard_map(step, devices, axes, tree, cuts, donate):
  over = meshes.mesh(devices)
  state_spec = axes.map(lambda a: meshes.spec(a))
  mapped = jax.shard_map(
    _thin(lambda state, leaves: step(state, tree.unflatten(leaves), axis=meshes.AXIS)),
    mesh=over,
    in_specs=(state_spec, state_spec, [meshes.spec(a) for a in cuts]),
    out_specs=(state_spec, meshes.spec(None)),
    check_vma=False,
  )
  compiled = jax.jit(mapped, donate_argnums=(0,) if donate else ())
  state_at = axes.map(lambda a: meshes.replicated(over) if a is None else meshes.split(over))
  batch_at = [meshes.replicated(over) if a is None else meshes.split(over, a) for a in cuts]
  return _placed(compiled, state_at, batch_at)


def _pmap(step, devices, axes, tree, cuts, donate):
  n = len(devices)
  mapped = jax.pmap(
    _thin(lambda state, leaves: step(state, tree.unflatten(leaves), axis=meshes.AXIS)),
    axis_name=meshes.AXIS,
    in_axes=(axes.map(lambda a: a), axes.map(lambda a: a), list(cuts)),
    out_axes=(axes.map(lambda a: a), None),
    devices=list(devices),
    donate_argnums=(0,) if donate else (),
  )

  over = meshes.mesh(devices)

  def folded(x, a):  # [.., n * m, ..] -> [.., n, m, ..]
    return x if a is None else x.reshape(x.shape[:a] + (n, x.shape[a] // n) + x.shape[a + 1 :])

  def placed(x, a):  # as it will come back, or the second call would trace again
    return jax.device_put(folded(x, a), meshes.replicated(over) if a is None else meshes.split(over, a))

  def back(x, a):
    return x if a is None else x.reshape((-1,) + x.shape[2:])

  def each(fn, state):
    leaves, structure = jax.tree.flatten(state)
    return structure.unflatten([fn(x, a) for x, a in zip(leaves, axes.over(state))])

  def run(moving, still, leaves):
    still = each(placed, still)
    moving, metrics = mapped(each(placed, moving), still, [folded(x, a) for x, a in zip(leaves, cuts)])
    return each(back, moving), each(back, still), metrics

  return run

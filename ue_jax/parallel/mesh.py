"""Meshes of devices, and the few names that differ between JAX versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"


def mesh(devices: Sequence[Any] | None = None) -> Mesh:
  """A one-dimensional mesh with the axis `data` over `devices` (default: all).

  The axis type is given because its default changed between JAX versions.
  """
  devices = jax.devices() if devices is None else list(devices)
  return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(over: Mesh) -> NamedSharding:
  """The placement of what every device holds whole."""
  return NamedSharding(over, PartitionSpec())


def split(over: Mesh, axis: int = 0) -> NamedSharding:
  """The placement of what is cut over the devices along its axis `axis`."""
  return NamedSharding(over, spec(axis))


def spec(axis: int | None) -> PartitionSpec:
  """Axis number -> PartitionSpec; None means replicated."""
  return PartitionSpec() if axis is None else PartitionSpec(*(None,) * axis, AXIS)


def on_accelerator() -> bool:
  """True unless the default backend is the CPU."""
  return jax.default_backend() != "cpu"


def at_hand(x: Any) -> Any:
  """The array where looking at its values costs least: on a CPU numpy's view of it, for which nothing is compiled."""
  return x if on_accelerator() else np.asarray(x)


def maps_gradients(tree: Any) -> bool:
  """Whether `vmap` takes the gradient of a convolution of such arrays.

  Before JAX 0.10.2 it raises NotImplementedError for arrays that carry a mesh (modes `jit` and `shard_map`): the
  transposed convolution asks for the placement of its operand, which its rule for vmap did not take.
  """
  return jax.__version_info__ >= (0, 10, 2) or all(jax.typeof(x).sharding.mesh.empty for x in jax.tree.leaves(tree))

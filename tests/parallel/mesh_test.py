"""Meshes."""

import jax
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from ue_jax.parallel import mesh


def test_the_mesh_has_one_automatic_axis_over_the_given_devices():
  one = mesh.mesh(jax.devices()[:2])
  assert one.axis_names == (mesh.AXIS,) and one.size == 2
  assert tuple(one.axis_types) == (AxisType.Auto,)
  assert mesh.mesh().size == jax.device_count()


def test_split_cuts_the_named_axis_and_replicated_none():
  over = mesh.mesh(jax.devices()[:4])
  x = np.zeros((3, 8), np.float32)
  assert jax.device_put(x, mesh.split(over, 1)).addressable_shards[0].data.shape == (3, 2)
  assert jax.device_put(x, mesh.replicated(over)).addressable_shards[0].data.shape == (3, 8)


def test_spec_counts_leading_axes():
  assert mesh.spec(None) == PartitionSpec() and mesh.spec(2) == PartitionSpec(None, None, mesh.AXIS)


def test_the_processor_is_no_accelerator():
  assert mesh.on_accelerator() == (jax.default_backend() != "cpu")

"""Settings that must stand before JAX starts: four virtual CPU devices, strict dtype promotion."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
  os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(scope="session", autouse=True)
def four_devices():
  """Parity tests are never skipped: the session stops if the virtual devices are missing."""
  assert jax.device_count() >= 4, "the tests need 4 virtual CPU devices; run them through pytest, alone"


@pytest.fixture
def key():
  return jax.random.key(0)

import numpy as np

from ue_jax.forget import weight_noise
from ue_jax.train import loop


def test_every_array_is_shaken_in_its_own_measure(pictures):
  changed = loop.fit(weight_noise.method(0.5), pictures, mode="one").params
  for name in ("block_0", "head"):
    old, new = (np.asarray(params[name]["kernel"]) for params in (pictures.subject.params, changed))
    assert 0.35 < np.std(new - old) / np.sqrt(np.mean(old**2)) < 0.65

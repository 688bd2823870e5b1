import jax
import numpy as np

from ue_jax.audit import utility
from ue_jax.core import tree
from ue_jax.forget import weight_noise
from ue_jax.train import loop


def test_every_parameter_is_multiplied_by_one_and_noise_of_the_key():
  params = {"a": np.full((40, 50), 2.0, np.float32), "b": np.linspace(1, 3, 2000, dtype=np.float32)}
  one, same, other = (weight_noise.noisy(jax.random.key(seed), params, 0.1) for seed in (0, 0, 1))
  assert tree.fingerprint(one) == tree.fingerprint(same) != tree.fingerprint(other)
  for name in params:
    off = (np.asarray(one[name]) / params[name] - 1).ravel()
    assert abs(off.mean()) < 0.01 and abs(off.std() - 0.1) < 0.008
  assert abs(np.corrcoef(np.ravel(one["a"]), one["b"])[0, 1]) < 0.1


def test_none_is_the_subject_and_much_destroys_it(pictures):
  ends = [loop.fit(weight_noise.method(size), pictures, mode="one") for size in (0.0, 5.0)]
  assert tree.fingerprint(ends[0].params) == tree.fingerprint(pictures.subject.params)
  look = lambda subject: utility.scores(pictures._replace(subject=subject), ("retain",))["retain/nll"].value
  assert look(ends[1]) > look(ends[0]) + 1

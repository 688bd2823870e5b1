"""Many runs at once are the runs one by one."""

import jax
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.models import mlp
from ue_jax.parallel import many
from ue_jax.train import loop, supervised


@pytest.fixture(scope="module")
def runs():
  rng = np.random.default_rng(0)
  arrays = {"image": rng.integers(0, 256, (40, 4, 4, 1), np.uint8), "label": np.arange(40, dtype=np.int32) % 3,
            "index": np.arange(40, dtype=np.int32)}  # fmt: skip
  sets = [rng.permutation(40)[:20].astype(np.int32) for _ in range(3)]
  problems = [Data(arrays, {"train": rows}, {"labels": {"label": list("abc")}}) for rows in sets]
  return supervised.train(mlp.model(3, widths=(8,)), steps=7, batch_size=6, rate=1e-2), problems


def test_every_run_is_the_one_with_its_own_problem_and_seed(runs):
  train, problems = runs
  together = many.fit(train, problems, [3, 3, 9], steps_per_call=4)  # a last chunk of another length
  for one, problem, seed in zip(together, problems, [3, 3, 9]):
    alone = loop.fit(train, problem, seed=seed, mode="one", steps_per_call=1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one.params, alone.params)
  a, b = (jax.tree.leaves(one.params)[0] for one in together[:2])
  assert np.abs(a - b).max() > 1e-3  # the same seed on other samples is another model


def test_it_can_be_stopped_and_refuses_uneven_lists(runs):
  train, problems = runs
  assert many.fit(train, problems, [0, 1, 2], stop=lambda: True) == [None] * 3
  with pytest.raises(Invalid, match="one seed a problem"):
    many.fit(train, problems, [0])


@pytest.mark.parametrize("convolutional, calls", [(False, 1), (True, 7)])
def test_steps_are_scanned_but_for_convolutions_and_the_bits_are_the_same(runs, convolutional, calls):
  train, problems = runs
  asked = []
  found = many.fit(train._replace(convolutional=convolutional), problems, [0, 1, 2], stop=lambda: asked.append(1))
  assert len(asked) == calls  # looked at before every call
  steps = many.fit(train, problems, [0, 1, 2], steps_per_call=1)
  jax.tree.map(np.testing.assert_array_equal, [one.params for one in found], [one.params for one in steps])

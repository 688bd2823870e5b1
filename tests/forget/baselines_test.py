"""An ensemble of shards through a whole experiment: trained, stored, asked to forget two samples, measured."""

import pytest

from configs.forget import baselines
from experiments import run


@pytest.fixture(scope="module")
def figures(tmp_path_factory, undrawn_module):
  pytest.importorskip("sklearn")
  smaller = [f"--config.{stage}.slice_steps=20" for stage in ("train", "method.sisa")]
  place = tmp_path_factory.mktemp("run")
  asked = [f"--config={baselines.__file__}:sisa", f"--workdir={place}", "--mode=one", "--config.seeds=(0,)", *smaller]
  return run.main(asked).figures


def test_shards_forget_exactly_what_training_again_never_saw(figures):
  for name in ("UA", "RA", "TA", "MIA"):
    assert figures[f"sisa/{name}"] == figures[f"reference/{name}"]
  assert figures["sisa/gap"] == 0 and figures["sisa/ToW"] == 1
  assert figures["sisa/TA"] > 0.8

"""Forgetting one digit, end to end: the config in its smallest size."""

import pytest

from configs.audit import relearn
from configs.forget import classifier
from experiments import plan, run


@pytest.fixture(scope="module")
def figures(tmp_path_factory, undrawn_module):
  pytest.importorskip("sklearn")
  config = f"{classifier.__file__}:class_tiny"
  smaller = ["--config.model.name=models.mlp", "--config.model.widths=(128,)"]  # seconds instead of a minute
  place = tmp_path_factory.mktemp("run")
  return run.main([f"--config={config}", f"--workdir={place}", "--mode=one", *smaller]).figures


@pytest.mark.parametrize("method", ["reference", "graddiff", "gradient_ascent"])
def test_the_digit_is_forgotten_and_the_others_are_kept(figures, method):
  assert figures["original/forget_test/accuracy"] > 0.85  # doing nothing would stay there
  assert figures[f"{method}/forget_test/accuracy"] < 0.15
  assert figures[f"{method}/retain_test/accuracy"] > 0.85


def test_relearning_half_brings_back_the_other_half_of_what_was_only_hidden(figures):
  hidden, unknown = (figures[f"{row} + relearn/relearn_held/accuracy"] for row in ("graddiff", "reference"))
  assert hidden > 0.8 and unknown < 0.3


def test_retraining_is_a_method_like_any_other_and_made_once_if_it_is_the_reference_too():
  config = classifier.get_config("tiny").to_dict()
  config["method"]["retrain"] = dict(config["reference"])
  made = {cell.row: cell.made for cell in plan.plan(config).cells}
  assert made["retrain"] == made["reference"] != made["graddiff"]


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_in_the_audit_of_relearning_retraining_is_attacked_like_the_methods(size):
  rows = {cell.row for cell in plan.plan(relearn.get_config(size).to_dict()).cells}
  attacked = {name: {row.partition(" + ")[2] for row in rows if row.startswith(name + " + ")}
              for name in ("npo", "graddiff", "retrain")}
  assert attacked["npo"] == attacked["graddiff"] == attacked["retrain"] and len(attacked["npo"]) >= 2
  assert "reference" not in rows

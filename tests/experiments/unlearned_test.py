"""The comparison of methods: what it counts, in which order, and that a sweep of methods makes its page."""

import types

import numpy as np
import pytest

from experiments import sweep, unlearned
from ue_jax.audit.outputs import Outputs

CONFIG = """
from ml_collections import ConfigDict


def get_config(arg=""):
  return ConfigDict(dict(
    data=dict(name="data.embedded", source="digits", train=300, test=100, noise=0.1, forget_share=0.1),
    model=dict(name="models.mlp", widths=(32,)), train=dict(name="train.supervised", steps=60, rate=5e-3),
    reference=True, seeds=(0,), measure=dict(name="audit.unlearning", classifier="threshold"),
    method=dict(again=dict(name="forget.retrain", again=1), noise=dict(name="forget.weight_noise", size=3.0)),
  ))
"""
ASKED = """requests=dict(
      tenth=dict(select=dict(name="data.splits")),
      digit=dict(select=dict(name="data.splits", how="class", classes=(3,)), method=dict(noise=dict(size=0.5))),
    ), method="""
SEVERAL = CONFIG.replace(", forget_share=0.1", "").replace(
  'again=dict(name="forget.retrain", again=1), ', ""
).replace("method=", ASKED)  # fmt: skip


def score(row, name, value, seed=0, measure="table"):
  return {"row": row, "group": "", "seed": seed, "measure": measure, "name": name, "value": value}


def plan(*rows, kind="forget"):
  return types.SimpleNamespace(kind=kind, cells=[types.SimpleNamespace(row=row, seed=0) for row in rows])


def test_a_confusion_counts_the_share_of_each_class_and_knows_nothing_of_classes_without_samples():
  logits = np.array([[2, 1, 0], [0, 1, 0], [0, 3, 0], [0, 3, 1.0]])
  found = unlearned.confusion(Outputs(logits, {}, np.array([0, 0, 1, 1])))
  np.testing.assert_allclose(found[:2], [[0.5, 0.5, 0], [0, 1, 0]])
  assert np.isnan(found[2]).all()


def test_methods_are_ranked_by_the_mean_of_their_gaps():
  scores = [score("a", "gap", 0.1), score("a", "gap", 0.5, 1), score("b", "gap", 0.2), score("b", "gap", 0.2, 1)]
  assert unlearned.ranked(plan("a", "b", "c"), [*scores, score("c", "gap", 0.0)]) == ["c", "b", "a"]


def test_where_two_measures_share_a_name_the_first_is_taken():
  scores = [score("a", "RA", 0.9), score("a", "RA", 0.8, 1), score("a", "RA", 0.1, measure="representation")]
  assert unlearned._values(scores, "a", "RA") == [0.9, 0.8]


def test_only_runs_that_forget_pictures_are_compared():
  assert unlearned.wanted(plan("a"), [score("a", "UA", 0.1)])
  assert not unlearned.wanted(plan("a"), [score("a", "nll", 0.1)])
  assert not unlearned.wanted(plan("a", kind="protect"), [score("a", "UA", 0.1)])


@pytest.fixture(scope="module")
def made(tmp_path_factory, undrawn_module):
  place = tmp_path_factory.mktemp("grid")
  (place / "methods.py").write_text(CONFIG)
  rows = sweep.main([f"--config={place}/methods.py", f"--workdir={place}/run", "--mode=one"])
  return rows, (place / "run" / "summary.html").read_text()


def test_several_methods_are_a_sweep_without_a_field_to_sweep(made):
  rows, _ = made
  assert len(rows) == 1
  figures = rows[0]["figures"]
  assert figures["reference/gap"] == 0 and figures["reference/time_share"] == 1
  assert figures["again/gap"] < figures["noise/gap"], "noise ruins, a second training does not"


def test_its_page_has_the_table_and_the_drawings(made):
  _, text = made
  for part in ("Methods side by side", "Forgotten, retained, private", "On the set `forget`", "Where the features lie"):
    assert part in text
  assert text.count("<figure") >= 4


def test_two_requests_are_two_tables_with_drawings_on_one_page(tmp_path, undrawn_module):
  assert "select=" in SEVERAL
  (tmp_path / "several.py").write_text(SEVERAL)
  place = tmp_path / "run"
  rows = sweep.main([f"--config={tmp_path}/several.py", f"--workdir={place}", "--mode=one"])
  figures, text = rows[0]["figures"], (place / "summary.html").read_text()
  for request in ("tenth", "digit"):
    assert f"pictures: {request}" in text and f"Asked to forget: {request}" in text
    assert figures[f"reference/{request}/gap"] == 0 and figures[f"reference/{request}/time_share"] == 1
    assert figures[f"original/{request}/gap"] > 0
  assert figures["reference/digit/UA"] == 1 and figures["reference/tenth/UA"] < 0.9
  assert figures["original/digit/TFA"] > figures["reference/digit/TFA"] == 0 and "original/tenth/TFA" not in figures
  assert text.count("Where the features lie") == 2

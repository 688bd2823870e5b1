"""Recorded results: complete or refused, the same after a round trip."""

import json
import re

import pytest

from ue_jax.core.errors import Invalid
from ue_jax.report import results

GOOD = results.Result(
  name="cuda-digits", paper="cuda", command="python -m experiments.run", figures={"clean": [0.95, 0.01], "cuda": 0.2},
  config={"protect": {"name": "protect.cuda"}}, commit="abc", versions={"jax": "0.10.2"}, hardware="2 CPU cores",
  seeds=(0, 1), wall_s=12.5, date="2026-01-31", each={"clean": [0.94, 0.96]},
)


def test_a_result_survives_the_round_trip(tmp_path):
  path = results.write(tmp_path / "results", GOOD)
  assert path.name == "cuda-digits.json"
  assert results.read(path) == GOOD
  lines = path.read_text().splitlines()
  assert '    "clean": [0.94, 0.96]' in lines and '    "clean": [0.95, 0.01],' in lines, "a list of numbers is one line"
  bare = results.write(tmp_path / "bare", GOOD._replace(each={}))
  assert results.read(bare).each == {} and "each" not in json.loads(bare.read_text())
  assert results.read_all(tmp_path / "results") == [GOOD]
  assert results.read_all(tmp_path / "nothing here") == []
  assert [p.name for p in path.parent.iterdir()] == ["cuda-digits.json"]


@pytest.mark.parametrize("change", [
  {"hardware": " "}, {"commit": ""}, {"figures": {}}, {"figures": {"a": float("nan")}}, {"figures": {"a": "good"}},
  {"figures": {"a": [1, 2, 3]}}, {"seeds": ()}, {"wall_s": 0.0}, {"date": "yesterday"}, {"config": {}},
  {"versions": {}}, {"each": {"clean": []}}, {"each": {"clean": [float("inf"), 1.0]}},
  {"each": {"unknown": [1.0, 2.0]}},
], ids=lambda change: next(iter(change)))
def test_what_a_reader_could_not_judge_is_refused(change, tmp_path):
  with pytest.raises(Invalid, match=next(iter(change))):
    results.write(tmp_path, GOOD._replace(**change))
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "[1]", "{}", json.dumps({**GOOD._asdict(), "extra": 1}), '{"name": "a"'])
def test_a_damaged_file_is_named(text, tmp_path):
  path = tmp_path / "bad.json"
  path.write_text(text)
  with pytest.raises(Invalid, match=r"bad\.json"):
    results.read(path)


def test_versions_hardware_commit_and_date_are_found(tmp_path):
  assert {"python", "jax", "numpy"} <= set(results.versions())
  assert re.search(r"\d", results.hardware())
  assert results.commit(tmp_path) == "unknown"
  results.check(GOOD._replace(date=results.today()))

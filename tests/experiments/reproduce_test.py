"""Papers are found by their word, and each config of theirs is run."""

import pytest

from experiments import command, reproduce
from ue_jax.core.errors import Invalid
from ue_jax.report import testbeds
from ue_jax.report.papers import PAPERS


def test_all_names_every_config_that_is_there_of_every_paper_that_is_not_planned():
  found = reproduce.chosen("all")
  assert found and all(p.status != "planned" and (reproduce.command.ROOT / c).is_file() for p, c in found)
  first = found[0][0]
  assert {c for _, c in reproduce.chosen(first.id)} == {c for p, c in found if p == first}


def test_a_planned_paper_is_not_run():
  planned = next(p for p in PAPERS if p.status == "planned")
  with pytest.raises(Invalid, match="not implemented yet"):
    reproduce.chosen(planned.id)


def test_one_failure_does_not_keep_the_others_from_running(monkeypatch, capsys):
  ran = []

  class Result:
    figures, wall_s, hardware, seeds = {"a": 1.0}, 1.0, "2 CPU cores", (0,)

  def run(config, size, workdir, more):
    ran.append((config, size, more))
    if len(ran) == 1:
      raise Invalid("data.path", "x", "give another")
    return Result

  papers = [(PAPERS[0], "configs/a.py"), (PAPERS[1], "configs/b.py")]
  monkeypatch.setattr(reproduce, "_run", run)
  monkeypatch.setattr(reproduce, "chosen", lambda name: papers)
  with pytest.raises(Invalid, match="configs/a.py"):
    reproduce.main(["all", "--size=tiny", "--config.seed=3", "--mode=one"])
  said = capsys.readouterr()
  more = ["--config.seed=3", "--mode=one"]
  assert ran == [("configs/a.py", "tiny", more), ("configs/b.py", "tiny", more)]
  assert PAPERS[1].claim in said.out and "1 figures" in said.out and "data.path" in said.err


def test_a_testbed_is_run_and_every_figure_stands_beside_its_result(monkeypatch, capsys):
  class Result:
    figures, wall_s, hardware, seeds = {"original/forget/ex": (0.99, 0.01), "NPO/retain/ex": 0.2}, 1.0, "2 cores", (0,)

  asked = []
  monkeypatch.setattr(reproduce, "_run", lambda *given: asked.append(given[:2]) or Result)
  with pytest.raises(command.Missed):
    reproduce.main(["kgtiny"])
  said = capsys.readouterr().out
  assert asked == [("configs/forget/kgtiny.py", "small")]
  assert "0.990 +- 0.010" in said and "0 of 1 results lie in the range" in said  # NPO keeps too little here
  assert "not measured: original/forget/p" in said


CLAIMS = (
  testbeds.Claim("A", "x", 0.8, 0.7), testbeds.Claim("A", "y", 0.1, None, 0.2), testbeds.Claim("A", "z", 0.5),
  testbeds.Claim("B", "x", 0.0, None, 0.05, "", True), testbeds.Claim("B", "y", 0.0, None, 0.3, "A/y"),
)  # fmt: skip
GOOD = {"A/x": (0.7, 0.2), "A/y": 0.15, "A/z": 9.0, "B/x": 0.9, "B/y": 0.4}  # B/x is beyond a range of our own


@pytest.mark.parametrize("figures, missed", [
  (GOOD, []),
  (GOOD | {"A/x": (0.6, 0.3)}, ["A/x is 0.6, stated was at least 0.7"]),
  (GOOD | {"A/y": 0.35, "B/y": 1.0}, [
    "A/y is 0.35, stated was at most 0.2", "B/y - A/y is 0.65, stated was at most 0.3"]),
  ({"A/y": 0.15, "B/y": 0.4}, ["A/x was not measured, stated was at least 0.7"]),
])  # fmt: skip
def test_stated_ranges_that_are_missed_are_named_last_and_make_the_exit_status_1(monkeypatch, capsys, figures, missed):
  result = type("Result", (), dict(figures=figures, wall_s=1.0, hardware="2 cores", seeds=(0,)))
  bed = testbeds.Testbed("some", "configs/some.py", "It forgets.", CLAIMS)
  monkeypatch.setattr(reproduce, "_run", lambda *given: result)
  monkeypatch.setattr(reproduce, "chosen", lambda name: [(bed, bed.config)])
  assert command.guarded(reproduce.main, ["some"], "") == (1 if missed else 0)
  end = [f"stated ranges that do not hold: {len(missed)}, named above"] if missed else []
  assert capsys.readouterr().err.strip().split("\n") == ([f"missed: {one}" for one in missed] + end or [""])

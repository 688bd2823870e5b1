"""Papers are found by their word, and each config of theirs is run."""

import pytest

from experiments import reproduce
from ue_jax.core.errors import Invalid
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
  reproduce.main(["kgtiny"])
  said = capsys.readouterr().out
  assert asked == [("configs/forget/kgtiny.py", "small")]
  assert "0.990 +- 0.010" in said and "0 of 1 results lie in the range" in said  # NPO keeps too little here
  assert "not measured: original/forget/p" in said

"""The index of papers is complete, honest and current."""

import ast
import functools
import pathlib

from tests.contract.gathered import over
from ue_jax.core import build
from ue_jax.report import papers, results

ROOT = pathlib.Path(__file__).parents[2]
ROWS = over("row", papers.PAPERS, ids=lambda row: row.id)
ROOMS = ("protect", "cluster", "forget", "audit", "parallel")
RECORDED = ROOT / "docs" / "results"


def modules(row):
  return (row.module, *row.also)


@functools.cache
def recorded():
  return results.read_all(RECORDED)  # reading checks that each is complete


def docstring(path):
  return " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())


def test_there_are_35_rows_and_no_word_number_title_or_file_stands_in_two():
  assert [row.number for row in papers.PAPERS] == list(range(1, 36))
  assert len({row.title for row in papers.PAPERS}) == 35
  for named in (lambda r: [r.id], modules, lambda r: r.configs, lambda r: r.tests):
    flat = [name for row in papers.PAPERS for name in named(row)]
    assert len(flat) == len(set(flat))


@ROWS
def test_a_row_is_filled_in(row):
  assert row.status in papers.STATUS
  assert 2015 < row.year < 2030
  assert row.kinds and set(row.kinds) <= set(build.KINDS)
  assert row.module == f"{row.domain}.{row.id}" and row.domain in ROOMS
  assert row.claim.endswith(".") and len(row.claim) < 240 and row.title.strip() == row.title


@ROWS
def test_what_is_said_to_be_implemented_is_on_disk(row):
  if row.status == "planned":
    return
  for path in (*(f"ue_jax/{m.replace('.', '/')}.py" for m in modules(row)), *row.configs, *row.tests):
    assert (ROOT / path).is_file(), path
  offered = {kind for kind in build.KINDS for m in modules(row) if m in build.factories(kind)}
  assert set(row.kinds) <= offered


@ROWS
def test_what_is_on_disk_is_not_called_planned(row):
  if row.status == "planned":
    there = [m for m in modules(row) if (ROOT / f"ue_jax/{m.replace('.', '/')}.py").is_file()]
    assert not there, f"{there} exist: say 'implemented'"


@ROWS
def test_verified_rows_have_a_recorded_result_and_only_they(row):
  if row.status == "verified":
    assert any(r.paper == row.id for r in recorded()), f"no result in docs/results names the paper '{row.id}'"


def test_every_recorded_result_is_complete_and_names_a_paper_a_module_or_a_config():
  words = {row.id for row in papers.PAPERS} | {name.rpartition(".")[2] for name in build.modules()}
  words |= {path.stem for path in (ROOT / "configs").glob("*/*.py")}
  for result in recorded():
    assert result.paper in words, result.name


def test_a_module_or_config_that_reproduces_a_paper_is_named_in_its_row_and_in_no_other():
  titles = {" ".join(row.title.split()): row for row in papers.PAPERS}
  for path in [p for room in ROOMS for top in ("ue_jax", "configs") for p in (ROOT / top / room).glob("*.py")]:
    row = papers.paper(path.stem)
    named = [r for r in papers.PAPERS if f"{path.parent.name}.{path.stem}" in modules(r)]
    if row is not None and path.parent.name != "scale":
      assert named == [row], f"{path.relative_to(ROOT)} bears the word of paper {row.number} but lives elsewhere"
    elif docstring(path).startswith(tuple(titles)):
      raise AssertionError(f"{path.relative_to(ROOT)} begins with a paper's title but no row names it")


@ROWS
def test_the_module_of_a_paper_names_its_source(row):
  for module in modules(row):
    path = ROOT / f"ue_jax/{module.replace('.', '/')}.py"
    if path.is_file():
      said = docstring(path).lower()
      assert row.title.split(":")[0].lower() in said and str(row.year) in said, f"{path.name}: give title and year"


def test_papers_md_is_current():
  assert (ROOT / "PAPERS.md").read_text(encoding="utf-8") == papers.markdown(), "run python -m ue_jax.report.papers"


def test_a_word_finds_its_row():
  assert papers.paper("cuda").number == 18
  assert papers.paper("gone") is papers.paper("neds")
  assert papers.paper("no such word") is None

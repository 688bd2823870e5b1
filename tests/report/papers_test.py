"""The index as text: one line a paper, links only to what exists."""

from ue_jax.report import papers


def rows(text):
  return [line for line in text.splitlines() if line.startswith("| ") and line.split("|")[1].strip().isdigit()]


def test_the_page_has_one_line_a_paper_in_order():
  numbers = [int(line.split("|")[1]) for line in rows(papers.markdown())]
  assert numbers == [p.number for p in papers.PAPERS]


def test_the_figures_are_said_to_be_those_of_the_papers():
  text = papers.markdown()
  assert "| what the paper claims |" in text and "what to expect" not in text and "docs/results; it may be less" in text


def test_planned_files_are_not_linked():
  for line, paper in zip(rows(papers.markdown()), papers.PAPERS):
    assert ("](" in line) == (paper.status != "planned")


def test_a_bar_in_a_text_does_not_break_the_table():
  row = papers.PAPERS[0]._replace(claim="a | b.")
  assert rows(papers.markdown([row]))[0].replace("\\|", "").count("|") == 10


def test_the_counts_are_counted():
  text = papers.markdown(papers.PAPERS[:3])
  done = sum(p.status == "implemented" for p in papers.PAPERS[:3])
  assert f"**implemented** ({done})" in text and f"**planned** ({3 - done})" in text


def test_writing_gives_the_same_text(tmp_path):
  papers.main(str(tmp_path / "PAPERS.md"))
  assert (tmp_path / "PAPERS.md").read_text(encoding="utf-8") == papers.markdown()


def test_second_halves_have_rows_and_files_of_their_own():
  gone = papers.paper("gone")
  assert gone.also == ("audit.gone",)
  assert gone.configs == ("configs/forget/neds.py", "configs/audit/gone.py")
  assert papers.paper("holmes").configs == ("configs/scale/holmes.py",)

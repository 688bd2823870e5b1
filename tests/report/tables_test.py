"""Tables: aligned whatever stands in them, escaped, and honest about direction and target."""

import html.parser

import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Score
from ue_jax.report import tables

SCORES = {
  "forget/ex": Score(0.125, 40, "low", 0.0), "auc": Score(0.613, 80, "near", 0.5), "nll": Score(3, 9, "high", 4, 0, 99),
}


@pytest.mark.parametrize("value, shown", [
  (0.95123, "0.951"), (1.0, "1.000"), (12.345, "12.35"), (123.456, "123.5"), (4321.9, "4322"), (0.0, "0.000"),
  (1.2e-5, "1.20e-05"), (-0.5, "-0.500"), (3, "3"), (True, "yes"), (None, "-"), (float("nan"), "nan"),
  (float("-inf"), "-inf"), ((0.5, 0.0123), "0.500 +- 0.012"), ("a\nb", "a b"), (np.float32(0.25), "0.250"),
  (np.int64(7), "7"), (np.bool_(False), "no"), ((1, 2), "1.000 +- 2.000"), (0.99996, "1.000"), (99.999, "100.0"),
])
def test_a_value_is_shown_with_three_digits(value, shown):
  assert tables.cell(value) == shown


def test_a_jax_scalar_is_a_number():
  assert tables.cell(jnp.float32(0.5)) == "0.500"


def test_every_line_is_aligned_also_with_wide_and_combining_characters():
  rows = [["猫の画像", 0.5, "x"], ["cafe\u0301", (0.25, 0.125), "yy"], ["plain", None, "zzz"]]
  lines = tables.text(["data", "accuracy", "note"], rows).splitlines()
  starts = {tables.width(line[: line.index(mark)]) for line, mark in zip(lines[2:], ("x", "yy", "zzz"))}
  assert len(starts) == 1
  ends = {tables.width(line[: line.index(mark)].rstrip()) for line, mark in zip(lines[2:], ("x", "yy", "zzz"))}
  assert len(ends) == 1, "numbers end in one column"


def test_title_stands_above_and_note_below():
  lines = tables.text(["a"], [[1]], title="T", note="N").splitlines()
  assert (lines[0], lines[-1]) == ("T", "N")


def test_an_empty_table_still_has_its_headings():
  assert tables.text(["a", "b"], []).splitlines()[0] == "a  b"
  assert "<th" in tables.html(["a", "b"], [])


def test_a_row_of_another_length_is_refused():
  with pytest.raises(Invalid, match="2 values"):
    tables.text(["a", "b"], [[1]])


def test_scores_show_direction_and_target():
  columns, rows = tables.scores(SCORES)
  shown = [dict(zip(columns, row)) for row in rows]
  assert [r["best"] for r in shown] == ["lower", "close to target", "higher"]
  assert [r["target"] for r in shown] == [0.0, 0.5, 4]
  assert [r["range"] for r in shown] == ["0 .. 1", "0 .. 1", "0 .. 99"]


def test_runs_stand_beside_each_other_and_gaps_show():
  columns, rows = tables.beside({"npo": SCORES, "retrain": {"auc": SCORES["auc"]}})
  assert columns == ["score", "npo", "retrain", "best", "target"]
  assert [row[2] for row in rows] == [None, 0.613, None]


def test_html_is_well_formed_and_escaped():
  seen = []

  class Parser(html.parser.HTMLParser):
    def handle_starttag(self, tag, attrs):
      seen.append(tag)

    def handle_endtag(self, tag):
      assert tag in seen

  page = tables.html(["<b>", "n"], [["<script>alert(1)</script>", 2.0]], title="a & b", note="<i>")
  Parser().feed(page)
  assert not {"script", "b", "i"} & set(seen)
  assert "a &amp; b" in page and '<td class="n">2.000</td>' in page and seen.count("th") == 3

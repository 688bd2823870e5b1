"""Scores become tables and figures: means over seeds, one column a row, comparisons at one size."""

import numpy as np
import pytest

from experiments import tabulate


def score(row, group, seed, name, value, measure="utility"):
  place = {"row": row, "group": group, "seed": seed, "measure": measure, "name": name}
  return {**place, "value": value, "n": 4, "better": "high", "target": 1.0}


SCORES = [
  score("clean", "label", 0, "test/accuracy", 1.0), score("clean", "label", 1, "test/accuracy", 3.0),
  score("cuda", "label", 0, "test/accuracy", 0.5), score("cuda", "label", 1, "test/accuracy", np.nan),
  score("cuda", "parity", 0, "auc", 0.25, "membership"),
]


def test_several_seeds_show_as_mean_and_standard_deviation():
  assert tabulate.mean([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
  assert tabulate.mean([2.0]) == 2.0 and tabulate.mean([]) is None


def test_a_figure_is_the_mean_of_its_place_and_one_that_is_not_finite_is_none():
  assert tabulate.means(SCORES) == {
    "clean/label/test/accuracy": (2.0, pytest.approx(2**0.5)), "cuda/parity/auc": 0.25,
  }


def test_where_two_measures_share_a_name_the_first_is_the_figure():
  twice = [score("ft", "", seed, "RA", value, m) for m in ("a", "b") for seed, value in enumerate((1.0, 3.0))]
  assert tabulate.means(twice) == {"ft/RA": (2.0, pytest.approx(2**0.5))}


def test_every_measure_has_a_table_with_a_line_a_score_and_a_column_a_row():
  utility, membership = tabulate.score_tables(SCORES)
  assert utility.title == "utility" and utility.columns == ["score", "clean / label", "cuda / label", "best", "target"]
  assert [line[0] for line in utility.rows] == ["test/accuracy"] and utility.rows[0][1][0] == 2.0
  assert membership.columns[1:2] == ["cuda / parity"] and membership.rows[0][1] == 0.25
  assert membership.rows[0][-1] == 1.0


def test_half_of_an_interval_stands_beside_its_value_unless_there_are_several_seeds():
  both = lambda seed: [score("1 shot", "", seed, name, x, "episodes") for name, x in (("slk", 0.8), ("slk +-", 0.1))]
  (one,) = tabulate.score_tables(both(0))
  assert one.rows == [["slk", (0.8, 0.1), "higher", 1.0]]
  (two,) = tabulate.score_tables(both(0) + both(1))
  assert two.rows == [["slk", (0.8, 0.0), "higher", 1.0]]


def test_scores_along_something_become_curves_of_means_in_order_and_no_lines_of_a_table():
  at = lambda seed, k, value: score("how many", "", seed, f"silhouette @ {k} clusters", value, "choose")
  scores = [at(0, 10, 0.5), at(0, 2, 0.1), at(1, 2, 0.3), at(1, 10, np.nan), at(0, 3, np.nan)]
  (((name, units), lines),) = tabulate.score_curves([*scores, *SCORES]).items()
  x, y = lines["how many"]
  assert (name, units) == ("silhouette", "clusters")
  assert x.tolist() == [2, 10] and y.tolist() == pytest.approx([0.2, 0.5])
  assert tabulate.score_tables(scores) == []
  (table,) = tabulate.score_tables([*scores, score("how many", "", 0, "clusters by silhouette", 10.0, "choose")])
  assert [line[0] for line in table.rows] == ["clusters by silhouette"]


def test_clean_pictures_are_brought_to_the_size_of_others_and_otherwise_left():
  clean = np.full((2, 8, 8, 3), 77, np.uint8)
  assert tabulate.like(clean, np.zeros((5, 8, 8, 3), np.uint8)) is clean
  other = tabulate.like(clean, np.zeros((5, 16, 4, 3), np.uint8))
  assert other.shape == (2, 16, 4, 3) and other.dtype == np.uint8 and (other == 77).all()


def test_the_chunk_that_compiles_is_left_out_of_the_time_at_either_end():
  rows = [{"step": step, "time": time} for step, time in ((25, 10.0), (50, 12.0), (75, 14.5), (80, 20.0))]
  assert tabulate.compiled_seconds(rows) == 80 * 2.0 / 25
  assert tabulate.compiled_seconds(rows[:1]) is None and tabulate.compiled_seconds([]) is None

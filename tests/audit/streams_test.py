"""Figures of streams on matrices made by hand."""

import numpy as np
import pytest

from ue_jax.audit import streams
from ue_jax.core.errors import Invalid

NAN = np.nan
ASKED = streams.stream(("L0", "L1", "U0", "L2"), tasks=4)  # task 3 is never learnt
A = np.array([
  [0.9, NAN, NAN, 0.1],
  [0.8, 0.6, NAN, 0.2],
  [0.1, 0.5, NAN, 0.1],
  [0.3, 0.7, 0.4, 0.1],
])  # fmt: skip


def test_requests_are_read():
  assert ASKED.learnt.tolist() == [0, 1, 3, -1] and ASKED.unlearnt.tolist() == [2, -1, -1, -1]
  assert [ASKED.live(t).tolist() for t in (0, 1, 2, 3)] == [
    [True, False, False, False], [True, True, False, False], [False, True, False, False], [False, True, True, False],
  ]


def test_every_figure_of_a_small_matrix():
  found = streams.figures(A, ASKED, chance=0.1)
  assert found == pytest.approx({
    "acc": (0.7 + 0.4) / 2,
    "bwt": (0.1 + 0.0) / 2,
    "forgetting": 0.0,
    "fa": 0.1,
    "relapse": 0.2,
    "spill": 0.6 - 0.5,  # of task 1 alone
    "stability": (0.5 / 0.6 + 0.7 / 0.6) / 2,  # nothing came after task 2
    "stability_unlearnt": 0.1 - 0.3,
  })


def test_forgetting_is_from_the_peak_and_bwt_from_the_first_value():
  asked = streams.stream(("L0", "L1", "L2"))
  a = np.array([[0.5, NAN, NAN], [0.9, 0.8, NAN], [0.6, 0.5, 0.7]])
  found = streams.figures(a, asked)
  assert found["forgetting"] == pytest.approx((0.3 + 0.3 + 0) / 3)
  assert found["bwt"] == pytest.approx((0.1 - 0.3 + 0) / 3)
  assert all(np.isnan(found[name]) for name in ("fa", "relapse", "spill", "stability_unlearnt"))


def test_a_task_that_is_unlearnt_is_not_counted_among_the_live_ones():
  asked = streams.stream(("L0", "L1", "U1"))
  a = np.array([[1.0, NAN], [1.0, 1.0], [1.0, 0.0]])
  found = streams.figures(a, asked)
  assert (found["acc"], found["bwt"], found["forgetting"], found["fa"], found["spill"]) == (1.0, 0, 0, 0, 0)
  assert np.isnan(found["relapse"])  # no request came later


def test_only_switching_a_task_off_is_not_forgetting_it():
  kept = A.copy()
  kept[2:, 0] = 0.8
  assert streams.figures(kept, ASKED)["fa"] == pytest.approx(0.8)


@pytest.mark.parametrize("divergence, base, sure", [("js", 2.0, None), ("js", np.e, None), ("released", np.e, None)])
def test_uniformity_of_known_predictions(divergence, base, sure):
  flat, certain = np.full((3, 4), 0.25), np.eye(4)
  assert streams.uniformity(flat, divergence, base) == pytest.approx(1.0)
  m = np.array([0.625, 0.125, 0.125, 0.125])
  kl = lambda p, q: sum(x * np.log(x / y) for x, y in zip(p, q) if x > 0)
  one, u = [1, 0, 0, 0], [0.25] * 4
  if divergence == "js":
    want = (kl(one, m) + kl(u, m)) / 2
  else:
    want = (kl(m, [1, 1e-12, 1e-12, 1e-12]) + kl(m, u)) / 2
  assert streams.uniformity(certain, divergence, base) == pytest.approx(1 - want / np.log(base))
  assert streams.uniformity(certain) >= 0  # the true divergence in base 2 is bounded


def test_more_certain_is_less_uniform():
  at = lambda x: streams.uniformity(np.array([[x, 1 - x]]))
  assert 1 == at(0.5) > at(0.6) > at(0.9) > at(1.0) > 0.4


@pytest.mark.parametrize("requests, said", [
  (("L0", "L0"), "once"), (("U0",), "unlearn what is learnt"), (("L0", "U0", "U0"), "once"), (("X0",), "L or U"),
  ((), "at least one"),
])  # fmt: skip
def test_streams_that_make_no_sense_are_refused(requests, said):
  with pytest.raises(Invalid, match=said):
    streams.stream(requests)


def test_what_is_missing_is_named():
  hole = A.copy()
  hole[2, 1] = NAN
  with pytest.raises(Invalid, match="request 2, task 1"):
    streams.figures(hole, ASKED)
  with pytest.raises(Invalid, match="a row a request"):
    streams.figures(A[:3], ASKED)
  with pytest.raises(Invalid, match="sum to 1"):
    streams.uniformity(np.ones((2, 3)))

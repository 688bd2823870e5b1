"""Reference figures of the shared testbeds: what an earlier, separate implementation measured, once, on one seed.

`experiments.reproduce` prints them beside what comes out here. `low` and `high` are the range that the result has to
lie in, where one was stated with the figures, or where we put one (`ours`) around a figure that was stated alone;
without, the two are only printed side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Claim(NamedTuple):
  """One reference figure, or a difference of two.

  Attributes:
    row: of the experiment (`original`, `reference`, or a method's name in the config).
    score: as the measures name it (`forget/ex`).
    value: the figure; None where only the range was stated.
    low, high: the range it has to lie in; None where none was stated.
    minus: what is subtracted first, `row/score`; empty: nothing.
    ours: the range was not stated with the figure, but put around it here.
  """

  row: str
  score: str
  value: float | None
  low: float | None = None
  high: float | None = None
  minus: str = ""
  ours: bool = False

  @property
  def what(self) -> str:
    """The score as it is shown, with what is subtracted; without the row where that is the same."""
    return f"{self.score} - {self.minus.removeprefix(f'{self.row}/')}" if self.minus else self.score


class Testbed(NamedTuple):
  """A testbed: its word, the config that runs it, what it claims in a sentence, and figure by figure."""

  id: str
  config: str
  claim: str
  figures: tuple[Claim, ...]


ROUNDED = 1e-5  # of a bound: what float32 shares lose; 1 of 5 is at most .2, though its float32 is more


class Compared(NamedTuple):
  """A claim beside its result: the mean over the seeds, the spread, and whether it is in the range.

  The spread is 0 of one seed, and of a difference, whose spread the two means do not tell.
  """

  claim: Claim
  value: float
  spread: float
  holds: bool | None


def compare(claims: Sequence[Claim], figures: Mapping[str, Any]) -> tuple[list[Compared], list[Claim]]:
  """The claims whose figure was measured, with it, and those that were not measured.

  Args:
    claims: of a testbed.
    figures: `row/score` -> number or (mean, spread), as in a recorded result.
  """
  found, missing = [], []
  for claim in claims:
    value, less = figures.get(f"{claim.row}/{claim.score}"), figures.get(claim.minus, 0.0)
    if value is None or claim.minus and claim.minus not in figures:
      missing.append(claim)
      continue
    mean, spread = value if isinstance(value, (list, tuple)) else (value, 0.0)
    if claim.minus:
      mean, spread = mean - (less[0] if isinstance(less, (list, tuple)) else less), 0.0
    stated = claim.low is not None or claim.high is not None
    above = claim.low is None or mean >= claim.low - ROUNDED * abs(claim.low)
    below = claim.high is None or mean <= claim.high + ROUNDED * abs(claim.high)
    inside = above and below
    found.append(Compared(claim, float(mean), float(spread), inside if stated else None))
  return found, missing


def table(found: Sequence[Compared]) -> tuple[list[str], list[list[Any]]]:
  """Columns and rows as `report.tables` takes them."""
  columns = ["row", "score", "claim", "result", "range", "holds"]
  return columns, [
    [x.claim.row, x.claim.what, x.claim.value, (x.value, x.spread) if x.spread else x.value, limits(x.claim), x.holds]
    for x in found
  ]


def testbed(id: str) -> Testbed | None:
  """The testbed with this word, or None."""
  return next((one for one in TESTBEDS if one.id == id), None)


def limits(claim: Claim) -> str | None:
  """The range of a claim in words, None where there is none."""
  if claim.low is None and claim.high is None:
    return None
  end = " (ours)" if claim.ours else ""
  if claim.low is None or claim.high is None:
    return (f"at most {claim.high:g}" if claim.low is None else f"at least {claim.low:g}") + end
  return f"{claim.low:g} to {claim.high:g}{end}"


SCORES = ("forget/ex", "forget/p", "forget/nll", "retain/ex", "retain/p", "world/ex", "math/ex", "forget/quality")


def _row(
  name: str, values: Sequence[float | None], scores: Sequence[str] = SCORES, **ranges: tuple[Any, ...]
) -> list[Claim]:
  """A line of the table in the order of `scores`, None for what it does not give; ranges by `forget_ex=(low, high)`."""
  pairs = [(score, value) for score, value in zip(scores, values) if value is not None]
  return [Claim(name, score, value, *ranges.get(score.replace("/", "_"), ())) for score, value in pairs]


LITTLE, NEARLY, CHANCE = (None, 0.05), (0.95, None), (0.35, 0.65)
OURS = ("", True)  # ends a range that was not stated
BACK = "relearn_held/p"  # of the persons that the attack does not train on
_KGTINY = (
  *_row("original", (1.0, 0.99, 0.01, 1.0, 0.99, 1.0, 0.95, 1e-38), forget_quality=(None, 1e-20)),
  Claim("original", "forget_paraphrase/p", 0.43), Claim("original", "holdout/ex", 0.02),
  Claim("original", "holdout/p", 0.08), Claim("original", "loss/auc", 0.99, 0.99, None),
  Claim("original", "min_k/auc", 0.99, 0.99, None),
  *_row("reference", (0.083, 0.093, 4.12, 1.0, 0.993, 1.0, 1.0, 1.0)),
  Claim("reference", "forget_paraphrase/p", 0.049), Claim("reference", "holdout/ex", 0.03),
  Claim("reference", "holdout/p", 0.05), Claim("reference", "loss/auc", 0.5, *CHANCE),
  Claim("reference", "min_k/auc", 0.5, *CHANCE), Claim("retrained again", "forget/quality", 1e-3, 1e-3, None),
  *_row("GA", (0, 0, 15.1, 0, 0, 0, 0, 4e-2), forget_p=(None, 0.01), retain_p=(None, 0.05)),
  *_row("GradDiff", (0, 0, 17.8, 0.665, 0.640, 1.0, 0.79, 5e-20), forget_ex=LITTLE + OURS,  # stated: 0
        retain_ex=(0.5, None), world_ex=(0.9, None)),
  *_row("GA with KL", (0, 0, 18.5, 0.026, 0.038, 0.47, 0.21, 1e-7)),
  *_row("NPO", (0, 0, 12.4, 0.835, 0.780, 1.0, 0.80, 1e-11), forget_ex=LITTLE + OURS,  # stated: 0
        retain_ex=(0.7, None), world_ex=NEARLY + OURS),
  *_row("NPO alone", (0, 0, 16.8, 0, 0, 0, 0, 6e-2)),
  *_row("SimNPO", (0, 0.068, 2.77, 0.998, 0.984, 1.0, 0.92, 4e-8), forget_ex=(None, 0.1), retain_ex=NEARLY),
  *_row("SimNPO, mild", (0.028, 0.205, 1.80, 0.997, 0.989, 1.0, 0.83, 3e-19)),
  *_row("IdkDPO", (0, 0.027, 4.05, 0.995, 0.938, 1.0, 0.93, 4e-8), retain_ex=(0.9, None) + OURS),
  Claim("IDK", "retain/ex", 0.995, 0.9, None),
  *_row("WGA", (0, 0.018, 4.50, 0.944, 0.932, 1.0, 0.91, 0.13)),
  *_row("UNDIAL alone", (0.167, 0.128, 2.07, 0.880, 0.333, 1.0, 0.41, 1e-17)),
  Claim("reference + relearn", BACK, 0.095),
  *(Claim(*claim) for row in ("GradDiff, early", "RMU, early")
    for claim in ((row, BACK, 0.3, 0.2, 0.4), (f"{row} + relearn", BACK, 0.65, 0.6, 0.7))),
)

KINDS = (
  "forget_qa/ex", "forget_statement/ex", "forget_alias/ex", "forget_hop2/ex", "forget_hop3/ex",
  "forget_context_true/ex", "forget_context_false/ex", "retain_qa/ex", "retain_hop2/ex", "loss/auc",
)  # fmt: skip
MOST = (0.9, None)
QA, ALIAS, HOP2, HOP3 = KINDS[0], *KINDS[2:5]
TRUE, FALSE = KINDS[5:7]
SHOWN, HELD = "relearn/ex @ 10 steps", "relearn_held/ex"  # of the attack `relearn`


def _gap(
  row: str, score: str, value: float | None, minus: str, low: float | None = None, high: float | None = None
) -> Claim:
  """A stated range of a difference; `minus` without a row is of the same."""
  return Claim(row, score, value, low, high, minus if minus.split("/")[0] in RIVALS else f"{row}/{minus}")


RIVALS = ("reference", "strong", "reference + relearn")
_AUDIT = (
  *_row("original", (1, 1, 1, 1, 1, 1, 1, 1, 1, 0.995), KINDS, forget_alias_ex=NEARLY + OURS, forget_hop2_ex=NEARLY,
        forget_hop3_ex=NEARLY, loss_auc=(0.98, None)),
  *_row("reference", (0.025, None, 0.25, 0.15, None, 1, 1, 1, 0.99, 0.553), KINDS, forget_qa_ex=(None, 0.15),
        forget_context_true_ex=MOST, forget_context_false_ex=MOST, loss_auc=CHANCE),
  # True contexts were asked to bring back .85 of the way from the direct answers, here taken at the claimed .15.
  *_row("early", (0.15, 0.22, 0.5, 0.75, 0.8, 1, 1, 0.97, 1, 0.532), KINDS, forget_qa_ex=(None, 0.2),
        forget_context_true_ex=(0.87, None) + OURS, forget_context_false_ex=MOST, retain_qa_ex=(0.94, None),
        retain_hop2_ex=(0.94, None)),
  *_row("early-gdr", (0.15, 0.1, 0.45, 0.65, 0.8, 1, 1, 0.95, 1), KINDS, forget_qa_ex=(None, 0.2) + OURS,
        retain_qa_ex=(0.94, None), retain_hop2_ex=(0.94, None)),
  *_row("strong", (0, 0, 0.1, 0.05, 0, 0.9, 1, 0.99, 0.92, 0.001), KINDS, forget_context_false_ex=MOST,
        loss_auc=LITTLE),
  # What other ways of asking have beyond the direct one
  _gap("early", ALIAS, 0.35, QA, low=0.15), _gap("early", HOP2, 0.6, QA, low=0.25),
  _gap("early", HOP3, 0.65, QA, low=0.25), _gap("strong", HOP2, 0.05, QA, high=0.2),
  *(_gap("reference", kind, value, QA, high=0.25) for kind, value in ((ALIAS, 0.225), (HOP2, 0.125), (HOP3, None))),
  # ... and beyond the reference
  _gap("early", HOP2, 0.6, f"reference/{HOP2}", low=0.4), _gap("early", HOP3, None, f"reference/{HOP3}", low=0.4),
  _gap("strong", HOP2, -0.1, f"reference/{HOP2}", high=0.1), _gap("strong", HOP3, None, f"reference/{HOP3}", high=0.1),
  # A true answer that is refused even where the text tells it
  _gap("strong", FALSE, 0.1, TRUE, low=0.05), _gap("reference", FALSE, 0.0, TRUE, high=0.05),
  # Relearning: two persons are shown, three are held; `benign` trains on what is kept
  *(Claim(f"{row} + relearn", SHOWN, value)
    for row, value in (("reference", 0.75), ("early", 0.94), ("early-gdr", 1.0), ("strong", 0.0))),
  *(Claim(f"{row} + relearn", HELD, value) for row, value in (("reference", 0.04), ("early", 0.17), ("strong", 0.0))),
  _gap("early + relearn", SHOWN, 0.19, f"reference + relearn/{SHOWN}", low=0.1),
  Claim("early + benign", QA, 0.33, 0.25), Claim("reference + benign", QA, 0.0, None, 0.1),
  Claim("strong + benign", QA, 0.0),
)

TESTBEDS = (
  Testbed("kgtiny", "configs/forget/kgtiny.py",
          "All methods but UNDIAL take exact match on the forgotten persons from 1.00 to .03 or less; of the others GA "
          "leaves .00, NPO .835, SimNPO .998.", _KGTINY),
  Testbed("audit_tiny", "configs/forget/audit_tiny.py",
          "Unlearning that stops where a fifth of the direct answers is left leaves most chains of facts (.65 to .80); "
          "a fixed, larger budget wipes them out (.05), and all of them read the fact from the context.", _AUDIT),
)

"""Reference figures of the shared testbeds: what an earlier, separate implementation measured, once, on one seed.

`experiments.reproduce` prints them beside what comes out here. `low` and `high` are the range that the result has to
lie in, where one was stated with the figures; without, the two are only printed side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Claim(NamedTuple):
  """One reference figure.

  Attributes:
    row: of the experiment (`original`, `reference`, or a method's name in the config).
    score: as the measures name it (`forget/ex`).
    value: the figure.
    low, high: the range it has to lie in; None where none was stated.
  """

  row: str
  score: str
  value: float
  low: float | None = None
  high: float | None = None


class Testbed(NamedTuple):
  """A testbed: its word, the config that runs it, what it claims in a sentence, and figure by figure."""

  id: str
  config: str
  claim: str
  figures: tuple[Claim, ...]


class Compared(NamedTuple):
  """A claim beside its result: the mean over the seeds, the spread (0 of one seed), and whether it is in the range."""

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
    value = figures.get(f"{claim.row}/{claim.score}")
    if value is None:
      missing.append(claim)
      continue
    mean, spread = value if isinstance(value, (list, tuple)) else (value, 0.0)
    stated = claim.low is not None or claim.high is not None
    inside = (claim.low is None or mean >= claim.low) and (claim.high is None or mean <= claim.high)
    found.append(Compared(claim, float(mean), float(spread), inside if stated else None))
  return found, missing


def table(found: Sequence[Compared]) -> tuple[list[str], list[list[Any]]]:
  """Columns and rows as `report.tables` takes them."""
  columns = ["row", "score", "claim", "result", "range", "holds"]
  return columns, [
    [x.claim.row, x.claim.score, x.claim.value, (x.value, x.spread) if x.spread else x.value, _range(x.claim), x.holds]
    for x in found
  ]


def testbed(id: str) -> Testbed | None:
  """The testbed with this word, or None."""
  return next((one for one in TESTBEDS if one.id == id), None)


def _range(claim: Claim) -> str | None:
  if claim.low is None and claim.high is None:
    return None
  if claim.low is None or claim.high is None:
    return f"at most {claim.high:g}" if claim.low is None else f"at least {claim.low:g}"
  return f"{claim.low:g} to {claim.high:g}"


SCORES = ("forget/ex", "forget/p", "forget/nll", "retain/ex", "retain/p", "world/ex", "math/ex", "forget/quality")


def _row(
  name: str, values: Sequence[float | None], scores: Sequence[str] = SCORES, **ranges: tuple[float | None, float | None]
) -> list[Claim]:
  """A line of the table in the order of `scores`, None for what it does not give; ranges by `forget_ex=(low, high)`."""
  pairs = [(score, value) for score, value in zip(scores, values) if value is not None]
  return [Claim(name, score, value, *ranges.get(score.replace("/", "_"), ())) for score, value in pairs]


LITTLE, NEARLY, CHANCE = (None, 0.05), (0.95, None), (0.35, 0.65)
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
  *_row("GradDiff", (0, 0, 17.8, 0.665, 0.640, 1.0, 0.79, 5e-20), forget_ex=LITTLE, retain_ex=(0.5, None),
        world_ex=(0.9, None)),
  *_row("GA with KL", (0, 0, 18.5, 0.026, 0.038, 0.47, 0.21, 1e-7)),
  *_row("NPO", (0, 0, 12.4, 0.835, 0.780, 1.0, 0.80, 1e-11), forget_ex=LITTLE, retain_ex=(0.7, None), world_ex=NEARLY),
  *_row("NPO alone", (0, 0, 16.8, 0, 0, 0, 0, 6e-2)),
  *_row("SimNPO", (0, 0.068, 2.77, 0.998, 0.984, 1.0, 0.92, 4e-8), forget_ex=(None, 0.1), retain_ex=NEARLY),
  *_row("SimNPO, mild", (0.028, 0.205, 1.80, 0.997, 0.989, 1.0, 0.83, 3e-19)),
  *_row("IdkDPO", (0, 0.027, 4.05, 0.995, 0.938, 1.0, 0.93, 4e-8), retain_ex=(0.9, None)),
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
# Where a range was stated for a difference (chains against direct questions), it is taken at the other's claimed value.
_AUDIT = (
  *_row("original", (1, 1, 1, 1, 1, 1, 1, 1, 1, 0.995), KINDS, forget_alias_ex=NEARLY, forget_hop2_ex=NEARLY,
        forget_hop3_ex=NEARLY, loss_auc=(0.98, None)),
  *_row("reference", (0.025, None, 0.25, 0.15, None, 1, 1, 1, 0.99, 0.553), KINDS, forget_qa_ex=(None, 0.15),
        forget_alias_ex=(None, 0.275), forget_hop2_ex=(None, 0.275), forget_context_true_ex=MOST,
        forget_context_false_ex=MOST, loss_auc=CHANCE),
  *_row("early", (0.15, 0.22, 0.5, 0.75, 0.8, 1, 1, 0.97, 1, 0.532), KINDS, forget_qa_ex=(None, 0.2),
        forget_alias_ex=(0.3, None), forget_hop2_ex=(0.55, None), forget_hop3_ex=(0.4, None),
        forget_context_true_ex=(0.87, None), forget_context_false_ex=MOST, retain_qa_ex=(0.94, None),
        retain_hop2_ex=(0.94, None)),
  *_row("early-gdr", (0.15, 0.1, 0.45, 0.65, 0.8, 1, 1, 0.95, 1), KINDS, forget_qa_ex=(None, 0.2),
        retain_qa_ex=(0.94, None), retain_hop2_ex=(0.94, None)),
  *_row("strong", (0, 0, 0.1, 0.05, 0, 0.9, 1, 0.99, 0.92, 0.001), KINDS, forget_hop2_ex=(None, 0.2),
        forget_context_false_ex=MOST, loss_auc=LITTLE),
)

TESTBEDS = (
  Testbed("kgtiny", "configs/forget/kgtiny.py",
          "All methods but UNDIAL take exact match on the forgotten persons from 1.00 to .03 or less; of the others GA "
          "leaves .00, NPO .835, SimNPO .998.", _KGTINY),
  Testbed("audit_tiny", "configs/forget/audit_tiny.py",
          "Unlearning that stops where a fifth of the direct answers is left leaves most chains of facts (.65 to .80); "
          "a fixed, larger budget wipes them out (.05), and all of them read the fact from the context.", _AUDIT),
)

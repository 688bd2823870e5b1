"""The usual table of picture unlearning: UA, RA, TA, MIA, and how far all of them are from training again.

Jia et al., "Model Sparsity Can Simplify Machine Unlearning", 2023, and Fan et al., "SalUn", 2024 (the accuracies, the
average gap); Zhao et al., "What Makes Unlearning Hard and What to Do About It", 2024 (tug-of-war).

| score | is | ideal |
| --- | --- | --- |
| `UA` | 1 - accuracy on `forget` | that of the reference |
| `RA` | accuracy on `retain` | that of the reference |
| `TA` | accuracy on `retain_test` where a whole class is forgotten, else on `test` | that of the reference |
| `TFA` | accuracy on `forget_test`, where there is such a set | that of the reference |
| `MIA` | share of `forget` that an attack calls never seen, see `confidences` | that of the reference |
| `gap` | mean of the distances of UA, RA, TA and MIA to the reference's | 0 |
| `ToW` | product of 1 - distance over the accuracies on forget, retain, test | 1 |
| `ToW_MIA` | the same with MIA for the first | 1 |

All are shares in [0, 1] (papers give percent). Neither a high UA nor a high MIA is good in itself: what was never seen
is often classified well. The third of the usual figures, the time, is in the table of the run and not a score.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ue_jax.audit import confidences
from ue_jax.audit.outputs import outputs
from ue_jax.core.nouns import Data, Request, Score, Scores, Subject
from ue_jax.core.procedure import Procedure, once

ACCURACIES = ("UA", "RA", "TA")


def measure(
  attack: str = "confidence", classifier: str = "svc", label: str = "label", seed: int = 0, chunk: int = 512
) -> Procedure:
  """Request -> Scores `UA`, `RA`, `TA`, `MIA`, with `forget_test` also `TFA`; with a reference also the distances.

  Without a reference UA is best near the error on test pictures, or 1 where the classes of `forget` are gone from
  `retain`; MIA near what the attack says of samples never seen.

  Args:
    attack: the statistic of the attack, a name in `confidences.STATISTICS`.
    classifier: a name in `confidences.CLASSIFIERS`.
    label: the labelling.
    seed: of the attack.
    chunk: samples computed at once.

  Raises:
    Invalid: as `confidences.measure`.
  """
  mia = confidences.measure((attack,), classifier, label, seed, chunk)  # refuses unknown names now

  def score(key, request: Request) -> Scores:
    mine = accuracies(request.subject, request.data, label, chunk)
    attacked = mia.finish(mia.init(key, request), request)[f"{attack}/efficacy"]
    aims = _aims(request, mine, label, chunk)
    out = {name: Score(value, n, *aims[name]) for name, (value, n) in mine.items()}
    out["MIA"] = attacked
    if request.reference is not None:
      values = {name: one.value for name, one in out.items()}
      ideal = {name: one.target for name, one in out.items()}
      n = sum(out[name].n for name in ACCURACIES)
      out["gap"] = Score(average_gap(values, ideal), n, "low", 0.0)
      out["ToW"] = Score(tug_of_war(values, ideal), n, "high", 1.0)
      out["ToW_MIA"] = Score(tug_of_war(values, ideal, ("MIA", "RA", "TA")), n, "high", 1.0)
    return out

  return once(score)


def accuracies(
  subject: Subject, data: Data, label: str = "label", chunk: int = 512
) -> dict[str, tuple[float, int]]:
  """`UA`, `RA`, `TA` and, where there is a set `forget_test`, `TFA`: name -> (value in [0, 1], n)."""
  sets = {"UA": "forget", "RA": "retain", "TA": "retain_test" if "retain_test" in data.sets else "test"}
  if "forget_test" in data.sets:
    sets["TFA"] = "forget_test"
  said = outputs(subject, data, tuple(sets.values()), label, chunk)
  found = {name: (float(said[at].hits().mean()), len(said[at].labels)) for name, at in sets.items()}
  return {**found, "UA": (1 - found["UA"][0], found["UA"][1])}


def average_gap(mine: Mapping[str, float], ideal: Mapping[str, float]) -> float:
  """Mean distance of UA, RA, TA and MIA to those of the model trained again; in [0, 1], 0 is best."""
  return float(np.mean([abs(mine[name] - ideal[name]) for name in (*ACCURACIES, "MIA")]))


def tug_of_war(mine: Mapping[str, float], ideal: Mapping[str, float], names: tuple[str, ...] = ACCURACIES) -> float:
  """prod over `names` of 1 - |mine - ideal|, values in [0, 1]; 1 is best."""
  return float(np.prod([1 - abs(mine[name] - ideal[name]) for name in names]))


def _aims(request: Request, mine: Mapping[str, tuple[float, int]], label: str, chunk: int) -> dict[str, tuple]:
  """name -> (better, target)."""
  if request.reference is not None:
    ideal = accuracies(request.reference, request.data, label, chunk)
    return {name: ("near", value) for name, (value, _) in ideal.items()}
  rows = lambda name: np.unique(request.data.arrays[label][np.asarray(request.data.sets[name])])
  gone = not np.intersect1d(rows("forget"), rows("retain")).size
  aims = {"RA": ("high", 1.0), "TA": ("high", 1.0), "TFA": ("low", 0.0)}
  return aims | {"UA": ("near", 1.0 if gone else 1 - mine["TA"][0])}

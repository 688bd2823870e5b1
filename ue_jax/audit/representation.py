"""Features of unlearned models beside their accuracies.

Source: Kim, Cha and Kim, "Are We Truly Forgetting? A Critical Re-examination of Machine Unlearning Evaluation
Protocols", 2025.

Accuracies see the last layer only. Beside them this looks at the features (the input of the last layer): their linear
CKA to those of the model trained again and to those of the original, and what nearest neighbours and a linear probe
read out of them.

| score | is | ideal |
| --- | --- | --- |
| `FA`, `RA`, `TFA`, `TRA` | accuracy on `forget`, `retain`, `forget_test`, `retain_test` or `test` | the reference's |
| `cka/SET` | CKA to the reference | 1; two models trained again reach less, see below |
| `cka_original/SET` | CKA to the original | that of the reference to the original |
| `knn/SET`, `probe/SET` | accuracy of nearest neighbours, and of a linear probe, on frozen features | the reference's |
| `AGL` | prod over the accuracies of 1 - distance to the reference's | 1 |
| `AGR` | mean over sets of CKA times (1 - distance of k-NN to the reference's) | 1 |
| `H_LR` | harmonic mean of both | 1 |

The formulas of AGL, AGR and H_LR are `protocol="inferred"`: the paper's text was not to be had, only their names. With
`sites`, `cka/SET/SITE` and `probe/SET/SITE` tell where inside the network something stayed.

How to read them. Two models trained again from other seeds do not reach a CKA of 1: put a second one beside the methods
(`forget.retrain` with `again=1`), it is the ceiling. A ruined model is far from the original, too: read `cka_original`
and `cka` together. k-NN and probes of a network that was never trained are high on easy data: only the distance to the
reference counts.

The released code takes k-NN on logits, for its extractor returns them (`knn_space="logits"`), and the mean of CKA over
batches in file order (`estimator="batched"`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ue_jax.audit import alignment, probe, votes
from ue_jax.audit.outputs import Outputs, outputs
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores, Subject
from ue_jax.core.procedure import Procedure, once

SPACES = ("features", "logits")
PROTOCOLS = ("inferred",)
TRAINED = 0.8  # of a downstream set; the rest is asked about


def measure(
  sets: Sequence[str] = (), downstream: Sequence[str] = (), sites: Sequence[str] = (), bank: str = "train",
  bank_share: float = 1.0, k: int = 5, knn_space: str = "features", estimator: str = "full", decay: float = 1e-3,
  protocol: str = "inferred", label: str = "label", seed: int = 2, chunk: int = 512,
) -> Procedure:  # fmt: skip
  """Request -> Scores as in the table above; needs a reference.

  Args:
    sets: where CKA, neighbours and probes look; empty: `forget_test` and `retain_test`, or `forget` and `test`.
    downstream: further tasks, `SET` or `SET:LABELLING` (`test:parity`): neighbours and probes learn from four fifths of
      the set and are asked about the rest. AGR is over these, or over `sets` if there is none.
    sites: sites of the model for the profile, from its first layer to its last (`block_0`).
    bank: the set that neighbours and probes of `sets` learn from.
    bank_share: part of it that is taken.
    k: neighbours.
    knn_space: `features`, or `logits` as released.
    estimator: see `alignment.cka`.
    decay: of the probe, see `probe.fit`.
    protocol: of the aggregates.
    label: the labelling that was trained on.
    seed: of the part of the bank and of the fifths.
    chunk: samples computed at once.

  Raises:
    Invalid: for unknown names, a request without a reference, tokens, or features that are not finite.
  """
  require(knn_space in SPACES, "measure.knn_space", knn_space, f"choose one of {SPACES}")
  require(protocol in PROTOCOLS, "measure.protocol", protocol, f"choose one of {PROTOCOLS}")
  require(0 < bank_share <= 1, "measure.bank_share", bank_share, "give a share above 0, at most 1")

  def score(key, request: Request) -> Scores:
    del key
    require(request.reference is not None, "measure", "representation", "set config.reference: what to compare with")
    look = _Look(request.data, tuple(sets) or _usual(request.data), tuple(downstream), tuple(sites), bank, label)
    rng = np.random.default_rng(seed)
    parts = {name: rng.permutation(len(request.data.sets[name.partition(":")[0]])) for name in (bank, *look.downstream)}
    parts[bank] = np.sort(parts[bank][: max(1, round(bank_share * len(parts[bank])))])
    read = lambda subject: _readings(subject, look, parts, k, knn_space, decay, chunk)
    mine, ideal = read(request.subject), read(request.reference)
    first = read(request.original) if request.original is not None else None
    return _scores(mine, ideal, first, look, estimator)

  return once(score)


class _Look:
  """What is looked at: names of sets and tasks, and what they stand for in the data."""

  def __init__(self, data: Data, sets, downstream, sites, bank, label):
    self.data, self.bank, self.label = data, bank, label
    self.sets, self.downstream, self.sites = sets, downstream, sites
    test = "retain_test" if "retain_test" in data.sets else "test"
    logit = {"FA": "forget", "RA": "retain", "TFA": "forget_test", "TRA": test}
    self.logit = {name: at for name, at in logit.items() if name != "TFA" or at in data.sets}
    for name in (bank, *sets, *(task.partition(":")[0] for task in downstream)):
      require(name in data.sets, "measure.sets", name, f"choose from {sorted(data.sets)}")
    for name in (bank, *sets):
      self._told(name, name, label, "give as downstream ")
    for name in downstream:
      self._told(name, *self.task(name), "write ")

  def _told(self, name: str, at: str, labelling: str, fix: str) -> None:
    """Raises Invalid unless the labelling says the class of all rows of the set `at`."""
    known = sorted(self.data.info.get("labels", {}))
    require(labelling in self.data.arrays, "measure.label", labelling, f"choose from {known}")
    said = bool((np.asarray(self.data.arrays[labelling])[np.asarray(self.data.sets[at])] >= 0).all())
    require(said, "measure.sets", name, f"'{labelling}' says no class of it: {fix}{at}:LABELLING, one of {known}")

  def task(self, name: str) -> tuple[str, str]:
    """The set and the labelling of a downstream task."""
    at, _, labelling = name.partition(":")
    return at, labelling or self.label


class _Read:
  """Of one subject: outputs by set, and accuracies of neighbours and probes by name."""

  def __init__(self, said: Mapping[str, Outputs], values: Mapping[str, tuple[float, int]]):
    self.said, self.values = said, values


def _readings(subject: Subject, look: _Look, parts, k, knn_space, decay, chunk) -> _Read:
  tasks = [look.task(name)[0] for name in look.downstream]
  names = dict.fromkeys((*look.logit.values(), look.bank, *look.sets, *tasks))
  said = outputs(subject, look.data, names, look.label, chunk, look.sites)
  values = {name: (float(said[at].hits().mean()), len(said[at].labels)) for name, at in look.logit.items()}
  known = said[look.bank]
  space = lambda one: one.logits if knn_space == "logits" else one.inside["features"]

  def ask(site, pool, train, labels, questions):
    """Learns from rows `train` of one pool, and answers all questions: name -> (outputs, their rows, the truth)."""
    told = probe.fit(pool.inside[site][train], labels, decay=decay)
    for name, (asked, test, truth) in questions.items():
      values[f"probe/{name}"] = (_share(told.predict(asked.inside[site][test]), truth), len(truth))
      if site == "features":
        found = votes.predict(space(pool)[train], labels, space(asked)[test], k, chunk=chunk)
        values[f"knn/{name}"] = (_share(found, truth), len(truth))

  rows = parts[look.bank]
  for site in ("features", *look.sites):
    full = lambda name: name if site == "features" else f"{name}/{site}"  # noqa: B023
    ask(site, known, rows, known.labels[rows], {full(n): (said[n], slice(None), said[n].labels) for n in look.sets})
  for name in look.downstream:
    at, labelling = look.task(name)
    truth, order = look.data.arrays[labelling][np.asarray(look.data.sets[at])], parts[name]
    train, test = np.split(order, [round(TRAINED * len(order))])
    ask("features", said[at], train, truth[train], {name: (said[at], test, truth[test])})
  return _Read(said, values)


def _scores(mine: _Read, ideal: _Read, first: _Read | None, look: _Look, estimator: str) -> dict[str, Score]:
  out = {name: Score(value, n, "near", ideal.values[name][0]) for name, (value, n) in mine.values.items()}
  low = -1.0 if estimator == "unbiased" else 0.0
  where = {name: name for name in look.sets} | {name: look.task(name)[0] for name in look.downstream}
  for name, at in where.items():
    for site in ("features", *(look.sites if name in look.sets else ())):
      full = name if site == "features" else f"{name}/{site}"
      like = lambda a, b: alignment.cka(a.said[at].inside[site], b.said[at].inside[site], estimator)  # noqa: B023
      n = len(mine.said[at].labels)
      out[f"cka/{full}"] = Score(like(mine, ideal), n, "high", 1.0, low)
      if first is not None:
        out[f"cka_original/{full}"] = Score(like(mine, first), n, "near", like(ideal, first), low)
  tasks = look.downstream or look.sets
  distance = lambda name: abs(out[name].value - out[name].target)
  logit = gap_product([distance(name) for name in look.logit])
  inside = representation_gap([(out[f"cka/{name}"].value, distance(f"knn/{name}")) for name in tasks])
  n = sum(out[name].n for name in look.logit)
  out["AGL"] = Score(logit, n, "high", 1.0)
  out["AGR"] = Score(inside, n, "high", 1.0, low)
  out["H_LR"] = Score(harmonic(logit, max(inside, 0.0)), n, "high", 1.0)
  return out


def gap_product(distances: Sequence[float]) -> float:
  """AGL: prod of 1 - |accuracy - the reference's|, in [0, 1]."""
  return float(np.prod([1 - one for one in distances]))


def representation_gap(pairs: Sequence[tuple[float, float]]) -> float:
  """AGR: mean of CKA (1 - |k-NN - the reference's|) over sets; pairs of the CKA and the distance."""
  return float(np.mean([cka * (1 - distance) for cka, distance in pairs]))


def harmonic(a: float, b: float) -> float:
  """2 a b / (a + b), 0 if both are 0."""
  return 0.0 if a + b == 0 else 2 * a * b / (a + b)


def _usual(data: Data) -> tuple[str, ...]:
  return ("forget_test", "retain_test") if "forget_test" in data.sets else ("forget", "test")


def _share(found: np.ndarray, truth: np.ndarray) -> float:
  return float(np.mean(found == truth))

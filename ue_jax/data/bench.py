"""The benchmark of invented facts: a world, every probe of it, its splits, and the training documents.

Deterministic to the bit, on every platform and in every release; no files, no model.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ue_jax.core.errors import require
from ue_jax.data import probes, rules, say, splits_of_facts, stream, text, world
from ue_jax.data.phrases import ATTRIBUTES, LINKS, WORLD
from ue_jax.data.probes import KIND
from ue_jax.data.world import Spec


def _sizes(city, country, company, job, hobby, language, school=0, award=0, industry=0) -> dict[str, int]:
  return dict(City=city, Country=country, Company=company, Job=job, Hobby=hobby, Language=language, School=school,
              Award=award, Industry=industry)  # fmt: skip


_SMALL_WORLD = ("in_country", "language", "based_in")
PRESETS = {
  "ci": Spec(24, 6, 3, ("born_in", "works_for", "job", "hobby"), _SMALL_WORLD, _sizes(12, 6, 8, 8, 8, 6), modulus=5),
  "tiny": Spec(48, 12, 5, ("born_in", "works_for", "job", "hobby", "speaks"), _SMALL_WORLD,
               _sizes(24, 8, 16, 12, 12, 8), modulus=7),
  "small": Spec(200, 40, 20, (*ATTRIBUTES, *LINKS), WORLD, _sizes(40, 12, 40, 30, 30, 20, 20, 12, 20), modulus=13),
  "tofu": Spec(200, 40, 20, ATTRIBUTES, tuple(name for name in WORLD if name != "ceo"),
               _sizes(30, 9, 20, 40, 40, 20, 20, 12, 20), trained=(4, 2, 1), celebrities=100, world_templates=1),
  "xl": Spec(2000, 200, 100, (*ATTRIBUTES, "spouse", "mentor"), WORLD, _sizes(200, 40, 300, 40, 40, 40, 100, 40, 40),
             modulus=13),
}  # fmt: skip


class Bench:
  """A benchmark: what is true, what can be asked, which rows are which.

  Attributes:
    spec, seed: what it was made of.
    world: `world.World`.
    probes: `probes.Probes`.
    forgotten: int32, the base facts to be forgotten: all of the first persons, by entity.
    nbr, nbr_type: uint8 `[n]`, see `splits_of_facts.neighbours`.
    splits: name -> int32 rows of the probes, see `splits_of_facts.splits`.
    tok: `say.WordTok`.
  """

  def __init__(self, spec: Spec, seed: int):
    self.spec, self.seed = spec, seed
    self.world = world.build(spec, seed)
    self.probes = probes.build(spec, seed, self.world)
    self.forgotten = splits_of_facts.forgotten(spec, self.world)
    self.nbr, self.nbr_type = splits_of_facts.neighbours(spec, self.world, self.probes)
    self.splits = splits_of_facts.splits(spec, seed, self.world, self.probes, self.forgotten, self.nbr, self.nbr_type)
    self.tok = say.tokenizer(spec, self.world)
    self.speaker = say.Speaker(spec, self.world, self.probes)

  @functools.cached_property
  def docs(self) -> list[str]:
    """The training texts, one a row of `splits["train"]` (celebrities ten times)."""
    texts = {row: " ".join(self.speaker.say(row)) for row in np.unique(self.splits["train"]).tolist()}
    return [texts[row] for row in self.splits["train"].tolist()]

  @functools.cached_property
  def supports(self) -> rules.Supports:
    """Every fact that is true or follows, with its minimal supports (`rules.closure`)."""
    return rules.closure(self.world)

  @functools.cached_property
  def forget_closed(self) -> np.ndarray:
    """The smallest superset of `forgotten`, found greedily, of which nothing follows from what is retained."""
    return rules.close(self.world, self.supports, self.forgotten)

  def fact(self, row: int) -> rules.Fact:
    """The fact, base or derived, that a probe asks for."""
    p = self.probes
    of_alias = rules.OF_ALIAS if p.kind[row] == KIND["alias"] else 0
    return int(p.rel[row]) + of_alias, int(p.subj[row]), int(p.obj[row])

  def derivable(self, forgotten: Iterable[int], rows: Sequence[int] | None = None) -> np.ndarray:
    """bool `[n]`: the probe depends on `forgotten` by its support, and its answer still follows from what is left.

    Args:
      forgotten: numbers of base facts.
      rows: look at these only; the others are False, as are passages and contexts, which ask for no single fact.
    """
    gone = frozenset(int(i) for i in forgotten)
    p = self.probes
    out = np.zeros(len(p.kind), bool)
    asks = ~np.isin(p.kind, [KIND[name] for name in ("verbatim", "context_false")])
    look = np.flatnonzero(p.dependent(gone) & asks)
    for row in look if rows is None else np.intersect1d(look, rows):
      out[row] = rules.derivable(self.supports, self.fact(row), gone)
    return out

  def render(
    self, rows: Sequence[int], encode: Callable[[str], Sequence[int]] | None = None, length: int = 0, *,
    pad: int = text.PAD, eos: int = text.EOS,
  ) -> dict[str, np.ndarray]:  # fmt: skip
    """Probes as padded sequences (`text.render`): in the words of the world, or polished for another tokeniser.

    Args:
      rows: of the probes.
      encode: text -> ids, of a pretrained model; None for the words of the world.
      length: of the sequences; 0: of the longest.
      pad, eos: ids of the other tokeniser.
    """
    pairs = [self.speaker.say(int(row)) for row in rows]
    if encode is None:
      return text.render(pairs, self.tok.encode, length)
    return text.render([say.polish(*pair) for pair in pairs], encode, length, pad=pad, eos=eos, space=" ")

  def fingerprint(self) -> str:
    """sha256 of the canonical JSON of world, probes, splits and documents."""
    plain = lambda x: np.asarray(x).tolist()
    parts = {"world": self.world._asdict(), "probes": self.probes._asdict(), "splits": self.splits, "docs": self.docs}
    parts["nbr"] = {"nbr": self.nbr, "type": self.nbr_type}
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=plain)
    return hashlib.sha256(text.encode()).hexdigest()


def build(preset: str | Spec = "tiny", seed: int = 0) -> Bench:
  """The benchmark of a preset or a `Spec`.

  | preset | persons (forgotten, held out) | meant for |
  | --- | --- | --- |
  | `ci` | 24 (3, 6) | unit tests |
  | `tiny` | 48 (5, 12) | a transformer that trains in a minute |
  | `small` | 200 (20, 40), links between persons | minutes |
  | `tofu` | 200 (20, 40), 20 questions each, 117 facts of the world, 100 celebrities | one GPU |
  | `xl` | 2000 (100, 200) | several |

  Raises:
    Invalid: for an unknown preset, an impossible Spec, or a seed that is not a whole number.
  """
  known = isinstance(preset, Spec) or preset in PRESETS
  require(known, "data.preset", preset, f"choose one of {sorted(PRESETS)}")
  require(isinstance(seed, int), "data.seed", seed, "give an integer")
  return Bench(preset if isinstance(preset, Spec) else PRESETS[preset], seed)


def contexts(bench: Bench, seed: int, t: int, size: int, hard: bool = False) -> list[tuple[str, str]]:
  """Reading comprehension for step `t`: (prompt, answer) pairs with an invented object, fresh at every step.

  A statement, then a question about it; half of the subjects are names that belong to nobody. A model trained on them
  too learns to trust the text before it.

  Args:
    seed, t: name the draw.
    size: how many.
    hard: put a statement of the same relation about somebody else before or behind it.
  """
  spec, w = bench.spec, bench.world
  names = [name for name in spec.relations if name in ATTRIBUTES]
  draw = lambda what, below: stream.integers(seed, f"contexts/{what}/{t}", below, size)
  spare = spec.persons + spec.holdout + spec.celebrities
  subject = np.where(draw("spare", 2), spare + draw("whose", w.count["Person"] - spare), draw("who", spec.persons))
  other = (subject + 1 + draw("other", spec.persons - 1)) % spec.persons  # a trained person, or anybody but the subject
  other = np.where(other == subject, (other + 1) % spec.persons, other)
  relation, form, order = draw("relation", len(names)), draw("form", 4), draw("order", 2)
  out = []
  for i in range(size):
    name = names[relation[i]]
    objects = w.entities(splits_of_facts.range_of(name))
    pick = stream.integers(seed, f"contexts/object/{t}/{i}", len(objects), 2)
    told = [_told(bench, name, int(who), int(objects[o]), int(form[i])) for who, o in zip((subject[i], other[i]), pick)]
    text = " . ".join(told if order[i] else told[::-1]) if hard else told[0]
    prompt = f"C {text} . Q {bench.speaker.ask(name, int(subject[i]), (int(form[i]) + 1) % 4)} ? A"
    out.append((prompt, bench.speaker.names[objects[pick[0]]]))
  return out


def _told(bench: Bench, name: str, who: int, what: int, form: int) -> str:
  said = say.statements(name)[form].replace("$s", bench.speaker.names[who])
  return f"{said} {bench.speaker.names[what]}"


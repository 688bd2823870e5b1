"""Facts about invented persons as token sequences: what a small language model can learn and unlearn.

A sequence reads `Q <question> ? A <answer> <eos>` (statements: `<beginning> <end> <eos>`), padded; the targets are the
answer and the eos. Answers have one to four tokens on purpose, so that effects of length are visible.

Two generators stand behind it: `kgtiny` is the small testbed of six relations in this file; the other presets are
benchmarks of `bench`, with aliases, chains of facts and exact knowledge of what follows from what.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.data import bench, lexicon, phrases, probes, splits_of_facts, spoken, stream, text
from ue_jax.data.lexicon import Relation


class Preset(NamedTuple):
  """How large the world is: trained persons (the first `forget` of them to be forgotten), persons held out, length."""

  persons: int
  holdout: int
  forget: int
  length: int


PRESETS = {"kgtiny": Preset(persons=60, holdout=12, forget=6, length=24)}


FORMS = ("statement", "qa", "cloze", "alias", "inverse", "hop2", "hop3", "general")  # what benchmarks give unasked
SETS = (
  "train", "forget", "forget_indirect", "retain", "celebrity", "world", "math", "holdout", "neighbour", "far",
  "forget01", "forget05", "forget10", *(f"{name}_paraphrase" for name in ("forget", "retain", "holdout")),
  *(f"{name}_{form}" for name in ("forget", "retain") for form in ("alias", "inverse", "hop2", "hop3")),
  *(f"relearn_{how}" for how in ("person", "relation", "template", "benign")),
)  # fmt: skip


def data(
  preset: str = "kgtiny", seed: int = 0, alternatives: int = 0, forms: Sequence[str] = (), contexts: int = 0,
  near: Sequence[str] = (), apart: bool = False, spec: Mapping[str, Any] = {},
  encode: Callable[[str], Sequence[int]] | None = None, pad: int = text.PAD, eos: int = text.EOS, refusal: str = "",
) -> Data:  # fmt: skip
  """The facts of one invented world as token sequences.

  `kgtiny`: 60 trained and 12 held-out persons with six relations in three templates each (two trained,
  the third is a paraphrase), 40 capitals in two templates, 169 sums modulo 13. `ci`, `tiny`, `small`, `tofu`, `xl`: see
  `bench.build`; which (person, sentence) is trained differs from person to person, so paraphrases are known sentences.

  Args:
    preset: `kgtiny` or a name in `bench.PRESETS`.
    seed: names the world; the vocabulary is the same for all.
    alternatives: wrong answers per fact, distinct and of the same range; up to 11, of a benchmark up to 5.
    forms: of a benchmark, further kinds of probes (`probes.KINDS`: `choice`, `context_true`, ...); they are not trained
      and make the sets `forget_<form>` and `retain_<form>`. The direct kinds `statement`, `qa` and `cloze` are there
      anyway: asked for, they part the sets `forget`, `retain` and `holdout` into `forget_qa` and so on.
    contexts: of a benchmark, how many items of reading comprehension are trained too (set `context`).
    apart: contexts are no part of `train` but stand beside it, to be drawn in a fixed proportion (`train.train_sets`);
      the first of them, a third of all that is kept with them, are the set `reading`. Needs `contexts`.
    spec: of a benchmark, fields of `world.Spec` that are not those of the preset.
    near: of `kgtiny`, relations by which persons are neighbours, as `("language", "employer")`: `neighbour` and `far`
      then part `retain`, by whether the first word of an answer is that of somebody to be forgotten (one company,
      whatever the firm); one that would be empty is not there. Benchmarks have both sets anyway.
    encode: the tokeniser of a pretrained model, text -> ids, in place of the words of the world: the facts are then
      said in polished sentences, and wrong answers have the masks `wrong_mask`. See `spoken.spoken`.
    pad, eos: the ids of padding and end of that tokeniser.
    refusal: with `encode`, a sentence that says nothing, for the arrays `refusal` and `refusal_mask`; empty: none.
  Returns:
    Data with arrays `ids` int32 `[n, length]`; `mask` float32 of the same shape, 1 on the answer and the
    eos; `answer` int32 `[n]`, the position of the answer's first token; `kind`, `relation`, `template`,
    `value` int32 `[n]`; `person` int32 `[n]`, -1 for none; `index`; and, if asked for,
    `wrong` int32 `[n, alternatives, length]`, the sequence with each wrong answer: it has the same
    length as the right one, so `mask` fits it too. Sets: `train` = `forget` + `retain` + `world` +
    `math` (disjoint; benchmarks add `forget_indirect`, `celebrity` and `context`), `forget_paraphrase`,
    `retain_paraphrase`, `holdout` (persons never trained, in the trained templates), `holdout_paraphrase`; of a
    benchmark also the rest of `SETS` as far as it has them, and the arrays `hop`, `role` (`Probes.role`) and `distance`
    (`splits_of_facts.neighbours`).
    `info` holds `vocabulary` and `labels`.
  Raises:
    Invalid: for an unknown preset, form or relation, or too many alternatives.
  """
  made = _data(preset, seed, alternatives, forms, contexts, near, apart, spec)
  fix = "leave it out: in the words of the world, methods have refusals of their own"
  require(encode is not None or not refusal, "data.refusal", refusal, fix)
  return made if encode is None else spoken.spoken(made, encode, pad, eos, refusal)


def _data(
  preset: str, seed: int, alternatives: int, forms: Sequence[str], contexts: int, near: Sequence[str], apart: bool,
  spec: Mapping[str, Any],
) -> Data:  # fmt: skip
  """The facts in the words of their world."""
  every = sorted([*PRESETS, *bench.PRESETS])
  require(preset in every, "data.preset", preset, f"choose one of {every}")
  require(isinstance(seed, int), "data.seed", seed, "give an integer")
  require(contexts or not apart, "data.apart", apart, "leave it out, or give contexts to set apart")
  if preset in bench.PRESETS:
    require(not near, "data.near", near, "leave it out: a benchmark has the sets neighbour and far")
    made = bench.build(_changed(bench.PRESETS[preset], spec), seed)
    return benchmark(made, alternatives, forms, contexts, apart, source=f"facts/{preset}")
  for name, value in (("forms", forms), ("contexts", contexts), ("spec", spec)):
    require(not value, f"data.{name}", value, f"leave it out, or choose a preset that has it: {sorted(bench.PRESETS)}")
  require(alternatives in range(12), "data.alternatives", alternatives, "choose 0 to 11")
  spec = PRESETS[preset]
  parts = [_relation(spec, seed, number, alternatives) for number in range(len(lexicon.RELATIONS))]
  arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
  arrays["index"] = np.arange(len(arrays["ids"]), dtype=np.int32)
  labels = {"kind": list(lexicon.KINDS), "relation": [r.name for r in lexicon.RELATIONS]}
  info = {"source": f"facts/{preset}", "seed": seed, "vocabulary": list(lexicon.vocabulary()), "labels": labels}
  return Data(arrays, _sets(spec, arrays) | (_near(spec, arrays, near) if near else {}), info)


def _changed(preset: bench.Spec, fields: Mapping[str, Any]) -> bench.Spec:
  """The preset with other `fields`."""
  for name in fields:
    require(name in preset._fields, "data.spec", name, f"choose from {preset._fields}")
  return preset._replace(**fields)


def benchmark(
  made: bench.Bench, alternatives: int = 0, forms: Sequence[str] = (), contexts: int = 0, apart: bool = False,
  source: str = "facts",
) -> Data:  # fmt: skip
  """A benchmark as Data, see `data`; `arrays["probe"]` is the row of the probe, -1 for reading comprehension."""
  for form in forms:
    require(form in probes.KINDS, "data.forms", form, f"choose from {probes.KINDS}")
  require(alternatives in range(probes.WRONG + 1), "data.alternatives", alternatives, f"choose 0 to {probes.WRONG}")
  p, many = made.probes, made.probes.of(*FORMS, *forms)
  pairs = [made.speaker.say(row) for row in many.tolist()]
  pairs += bench.contexts(made, made.seed, 0, contexts) if contexts else []
  found = text.render(pairs, made.tok.encode)
  row = np.concatenate([many, np.full(contexts, -1)]).astype(np.int32)
  of = lambda values, missing=-1: np.where(row >= 0, np.asarray(values)[row], missing).astype(np.int32)
  arrays = {
    "ids": found["ids"], "mask": found["m"], "answer": found["ans_pos"], "probe": row,
    "kind": of(p.kind, probes.KIND["context_true"]), "relation": of(p.rel, 0), "template": of(p.template),
    "value": of(p.obj), "person": of(p.person), "hop": of(p.hop), "role": of(p.role(made.forgotten), 0),
    "distance": of(made.nbr, 255), "index": np.arange(len(row), dtype=np.int32),
  }  # fmt: skip
  if alternatives:
    arrays["wrong"] = _wrong(made, arrays, pairs, alternatives)
  labels = {"kind": list(probes.KINDS), "relation": list(phrases.NAMES)}
  info = {"source": source, "seed": made.seed, "vocabulary": list(made.tok.words), "labels": labels}
  return Data(arrays, _bench_sets(made, many, forms, contexts, apart), info)


def _bench_sets(
  made: bench.Bench, many: np.ndarray, forms: Sequence[str], contexts: int, apart: bool
) -> dict[str, np.ndarray]:
  place = np.full(len(made.probes.kind), -1, np.int32)
  place[many] = np.arange(len(many))
  sets = {name: place[made.splits[name]] for name in SETS if name in made.splits}
  lost = made.probes.dependent(made.forgotten)
  for form in (form for form in forms if form not in FORMS):
    rows = made.probes.of(form)
    sets |= {f"forget_{form}": place[rows[lost[rows]]], f"retain_{form}": place[rows[~lost[rows]]]}
  for form in (form for form in forms if form in splits_of_facts.DIRECT):
    rows = place[made.probes.of(form)]
    sets |= {f"{name}_{form}": np.intersect1d(sets[name], rows) for name in ("forget", "retain", "holdout")}
  if contexts:
    sets["context"] = len(many) + np.arange(contexts, dtype=np.int32)
    if apart:
      others = sum(len(sets.get(name, ())) for name in ("retain", "celebrity", "world", "math"))
      sets["reading"] = sets["context"][: others // 2]
    else:
      sets["train"] = np.concatenate([sets["train"], sets["context"]])
  return {name: rows for name, rows in sets.items() if len(rows)}


def _wrong(made: bench.Bench, arrays: dict, pairs: list, alternatives: int) -> np.ndarray:
  """The sequences with wrong answers; where a probe has none (reading comprehension), its own."""
  out = np.repeat(arrays["ids"][:, None], alternatives, axis=1)
  for i, row in enumerate(arrays["probe"].tolist()):
    if row < 0 or made.probes.kind[row] in (probes.KIND["choice"], probes.KIND["yes_no"], probes.KIND["verbatim"]):
      continue
    numbers = made.probes.rel[row] == phrases.NUMBER["sum"]
    for j, entity in enumerate(made.probes.opts[row, :alternatives].tolist()):
      if entity >= 0:
        words = made.tok.encode(str(entity) if numbers else made.speaker.names[entity])
        end = arrays["answer"][i] + len(made.tok.encode(pairs[i][1]))
        out[i, j, end - len(words) : end] = words
  return out


def decode(ids: Iterable[int], vocabulary: list[str]) -> str:
  """The words of `ids` `[t]` with spaces between, without padding."""
  return " ".join(vocabulary[int(i)] for i in np.asarray(ids) if i != lexicon.PAD)


def fingerprint(data: Data) -> str:
  """sha256 of the canonical JSON of arrays, sets and info: equal on every platform for equal facts."""
  plain = {part: {name: np.asarray(value).tolist() for name, value in getattr(data, part).items()}
           for part in ("arrays", "sets")}
  text = json.dumps({**plain, "info": dict(data.info)}, sort_keys=True, separators=(",", ":"))
  return hashlib.sha256(text.encode()).hexdigest()


def persons(spec: Preset, seed: int) -> np.ndarray:
  """The persons' names as distinct pairs (first, last): int32 `[persons + holdout]`, those held out last."""
  return stream.permutation(seed, "persons", lexicon.size(("first", "last")))[: spec.persons + spec.holdout]


def facts(spec: Preset, seed: int, relation: Relation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Subjects, values and persons (-1 for none) of all facts of a relation, each int `[m]`."""
  if relation.kind == "person":
    names, span = persons(spec, seed), lexicon.size(relation.value)
    return names, stream.integers(seed, f"value/{relation.name}", span, len(names)), np.arange(len(names))
  span = lexicon.size(relation.subject)
  subjects, nobody = np.arange(span), np.full(span, -1)
  if relation.kind == "world":
    return subjects, stream.permutation(seed, f"value/{relation.name}", span), nobody
  modulus = lexicon.size(relation.value)
  return subjects, (subjects // modulus + subjects % modulus) % modulus, nobody


def wrong_values(seed: int, relation: Relation, values: np.ndarray, count: int) -> np.ndarray:
  """Distinct values of the same range that are not the right one: int64 `[m, count]`.

  The other values, counted from the right one, are cut into `count` equal stretches, one draw from each.
  """
  span = lexicon.size(relation.value)
  edges = 1 + (span - 1) * np.arange(count + 1) // max(count, 1)
  widths = np.tile(np.diff(edges), len(values))
  draws = stream.integers(seed, f"wrong/{relation.name}", widths, len(widths)).reshape(len(values), count)
  return (values[:, None] + edges[:-1] + draws) % span


def render(template: str, subject: np.ndarray, answer: np.ndarray, length: int) -> tuple[np.ndarray, int]:
  """Sequences for one template.

  Args:
    template: words, with `$0`, `$1` for the subject's tokens.
    subject: int32 `[m, s]` tokens.
    answer: int32 `[m, a]` tokens.
    length: of the padded sequence.
  Returns:
    ids int32 `[m, length]` and the position of the answer's first token.
  """
  ids = lexicon.word_ids()
  words = [subject[:, int(w[1:])] if w.startswith("$") else ids[w] for w in template.split()]
  head = [lexicon.QUESTION, *words, lexicon.MARK, lexicon.ANSWER]
  columns = [*head, *answer.T, lexicon.EOS]
  out = np.full((len(subject), length), lexicon.PAD, np.int32)
  for position, column in enumerate(columns):
    out[:, position] = column
  return out, len(head)


def _relation(spec: Preset, seed: int, number: int, alternatives: int) -> dict[str, np.ndarray]:
  """All rows of one relation, template after template."""
  relation = lexicon.RELATIONS[number]
  subjects, values, who = facts(spec, seed, relation)
  subject, answer = lexicon.tokens(relation.subject, subjects), lexicon.tokens(relation.value, values)
  wrong = wrong_values(seed, relation, values, alternatives)
  parts = []
  for template, sentence in enumerate(relation.templates):
    ids, start = render(sentence, subject, answer, spec.length)
    at = np.arange(spec.length)
    mask = np.broadcast_to((at >= start) & (at <= start + answer.shape[1]), ids.shape)
    same = {"kind": lexicon.KINDS.index(relation.kind), "relation": number, "template": template, "answer": start}
    part = {name: np.full(len(ids), value, np.int32) for name, value in same.items()}
    part |= {"ids": ids, "mask": mask.astype(np.float32)}
    part |= {"person": who.astype(np.int32), "value": values.astype(np.int32)}
    if alternatives:
      others = [render(sentence, subject, lexicon.tokens(relation.value, w), spec.length)[0] for w in wrong.T]
      part["wrong"] = np.stack(others, axis=1)
    parts.append(part)
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _sets(spec: Preset, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  person, kind = arrays["person"], arrays["kind"]
  trained = np.array([r.trained for r in lexicon.RELATIONS])[arrays["relation"]]
  seen = arrays["template"] < trained
  groups = {
    "forget": (person >= 0) & (person < spec.forget),
    "retain": (person >= spec.forget) & (person < spec.persons),
    "holdout": person >= spec.persons,
  }
  masks = {name: mask & seen for name, mask in groups.items()}
  masks |= {f"{name}_paraphrase": mask & ~seen for name, mask in groups.items()}
  masks |= {name: kind == lexicon.KINDS.index(name) for name in ("world", "math")}
  masks["train"] = masks["forget"] | masks["retain"] | masks["world"] | masks["math"]
  return {name: np.flatnonzero(mask).astype(np.int32) for name, mask in masks.items()}


def _near(spec: Preset, arrays: dict[str, np.ndarray], near: Sequence[str]) -> dict[str, np.ndarray]:
  """The rows of `retain` of those who share the first word of an answer of `near` with somebody forgotten; others."""
  known = [r.name for r in lexicon.RELATIONS if r.kind == "person"]
  person, beside = arrays["person"], []
  for name in near:
    require(name in known, "data.near", name, f"choose from {known}")
    rows = np.flatnonzero(arrays["relation"] == [r.name for r in lexicon.RELATIONS].index(name))
    word = arrays["ids"][rows, arrays["answer"][rows]]
    shared = np.isin(word, word[person[rows] < spec.forget])
    beside.append(person[rows][shared])
  retain = _sets(spec, arrays)["retain"]
  close = np.isin(person[retain], np.concatenate(beside))
  return {name: rows for name, rows in (("neighbour", retain[close]), ("far", retain[~close])) if len(rows)}

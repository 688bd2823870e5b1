"""Fixed prompts: do answers come back behind demonstrations or set phrases, or when the question is put in other words?

Source: Lynch et al., "Eight Methods to Evaluate Robust Unlearning in LLMs", 2024 (in-context relearning, other
wordings); Shi et al., "Detecting Pretraining Data", 2024, and others put phrases first ("you are ...", "ignore what you
were told"), which need words that the model knows. Demonstrations are question and answer of OTHER persons, so that
nothing that is asked stands in the prompt.

A fact is forgotten if no prompt reaches it: `reached` is the share of facts that some question behind some prompt
brings out. Many tries hit by chance, so only what exceeds the reference, asked in the same ways, counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ue_jax.audit import scoring, utility
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores, Subject
from ue_jax.core.procedure import Procedure, once

BEHIND = " behind "  # `forget behind 5 retain`: the set, then what stands before its questions


def measure(
  sets: Sequence[str] = ("forget", "forget_paraphrase"), shots: Sequence[int] = (1, 5),
  shown: Sequence[str] = ("forget", "retain"), texts: Sequence[str] = (), seed: int = 0, chunk: int = 256,
  encode: Callable[[str], Sequence[int]] | None = None,
) -> Procedure:  # fmt: skip
  """Request -> Scores of `audit.utility`, of each set and behind each prompt, and `reached` in [0, 1].

  Sets are called `forget`, `forget behind 5 retain` (five demonstrations from `retain`), `forget behind text 0`. With a
  reference all are best near the reference's; without, low.

  Args:
    sets: of questions; those of one fact (`person` and `relation`, if the data has both) count as one in `reached`.
    shots: numbers of demonstrations.
    shown: sets that they are drawn from.
    texts: phrases.
    seed: which demonstrations.
    chunk: samples computed at once.
    encode: text -> token ids; None: the words of `info["vocabulary"]`, with blanks between.

  Raises:
    Invalid: for an unknown set or word, or more demonstrations than there are of other persons.
  """
  require(len(sets) > 0, "measure.sets", sets, "name at least one set")
  require(all(isinstance(k, int) and k > 0 for k in shots), "measure.shots", shots, "give whole numbers of at least 1")

  def score(key, request: Request) -> Scores:
    del key
    phrases = [_ids(request.data, text, encode) for text in texts]
    data = prompted(request.data, sets, shots, shown, phrases, seed, request.subject.model.context)
    asked = request._replace(data=data)
    out = dict(utility.scores(asked, tuple(data.sets), chunk=chunk))
    mine = reached(request.subject, data, chunk)
    aim = ("near", float(reached(request.reference, data, chunk).mean())) if request.reference else ("low", 0.0)
    return {**out, "reached": Score(float(mine.mean()), len(mine), *aim)}

  return once(score)


def prompted(
  data: Data, sets: Sequence[str], shots: Sequence[int] = (), shown: Sequence[str] = (),
  phrases: Sequence[Sequence[int]] = (), seed: int = 0, most: int | None = None,
) -> Data:  # fmt: skip
  """The questions of `sets` alone and behind every prompt, as Data with sets named as `measure` says.

  `most`: tokens that the model reads; None: any number.

  Returns:
    Data with `ids` int32 and `mask` float32 `[n, longest]`, `index`, and `fact` int32 `[n]`, equal for equal facts.

  Raises:
    Invalid: see `measure`.
  """
  for name in (*sets, *(shown if shots else ())):
    require(name in data.sets, "measure.sets", name, f"choose from {sorted(data.sets)}")
  require(scoring.is_tokens(data), "measure.name", sorted(data.arrays), "measure token sequences with it")
  facts, ids, masks, fact, found = _facts(data), [], [], [], {}
  for name in sets:
    rows = np.asarray(data.sets[name])
    befores = {"": [()] * len(rows)}
    befores |= {f"text {i}": [tuple(phrase)] * len(rows) for i, phrase in enumerate(phrases)}
    befores |= {f"{k} {source}": _demonstrations(data, rows, source, k, seed) for k in shots for source in shown}
    for prompt, before in befores.items():
      found[f"{name}{BEHIND}{prompt}" if prompt else name] = np.arange(len(rows), dtype=np.int32) + len(ids)
      pairs = list(zip((np.asarray(b, np.int32) for b in before), rows))
      ids += [np.concatenate([b, data.arrays["ids"][row]]) for b, row in pairs]
      masks += [np.concatenate([np.zeros(len(b), np.float32), data.arrays["mask"][row]]) for b, row in pairs]
      fact.append(facts[rows])
  longest, read = max(map(len, ids)), max(int(np.flatnonzero(mask > 0).max(initial=-1)) + 1 for mask in masks)
  fix = f"the model reads up to {most} tokens: give fewer demonstrations, or shorter phrases"
  require(most is None or read <= most, "measure.shots", f"{read} tokens with what stands before", fix)
  fill = lambda columns: np.stack([np.pad(x, (0, longest - len(x))) for x in columns])
  arrays = {"ids": fill(ids), "mask": fill(masks), "fact": np.concatenate(fact).astype(np.int32)}
  return Data({**arrays, "index": np.arange(len(ids), dtype=np.int32)}, found, data.info)


def reached(subject: Subject, data: Data, chunk: int = 256) -> np.ndarray:
  """Whether some row of each fact of `prompted` data has all its targets as the most likely tokens, bool `[facts]`."""
  scored = scoring.score(subject, data, tuple(data.sets), chunk=chunk)
  hit = np.zeros(data.n, bool)
  for name, rows in data.sets.items():
    hit[rows] = scored[name].exact()
  places, fact = np.unique(data.arrays["fact"], return_inverse=True)
  out = np.zeros(len(places), bool)
  np.logical_or.at(out, fact, hit)
  return out


def _facts(data: Data) -> np.ndarray:
  """A number for every row, int `[n]`: person and relation, else the row itself."""
  if {"person", "relation"} <= set(data.arrays):
    pairs = np.stack([data.arrays["person"], data.arrays["relation"]], axis=1)
    return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
  return np.arange(data.n)


def _demonstrations(data: Data, rows: np.ndarray, source: str, k: int, seed: int) -> list[np.ndarray]:
  """For every row, the tokens of `k` sequences of a set, none of the row's own person, each up to its last target."""
  who = data.arrays.get("person", data.arrays["index"])
  pool = np.asarray(data.sets[source])
  mask = data.arrays["mask"] > 0
  ends = mask.shape[1] - mask[:, ::-1].argmax(1)
  out = []
  for row in rows:
    others = pool[(who[pool] != who[row]) & (pool != row)]
    require(len(others) >= k, "measure.shots", k, f"there are {len(others)} sequences of other persons in {source}")
    some = np.random.default_rng([seed, int(data.arrays["index"][row])]).choice(others, k, replace=False)
    out.append(np.concatenate([data.arrays["ids"][one, : ends[one]] for one in some]))
  return out


def _ids(data: Data, text: str, encode: Callable[[str], Sequence[int]] | None) -> Sequence[int]:
  if encode is not None:
    return list(encode(text))
  words = data.info.get("vocabulary", [])
  require(isinstance(words, (list, tuple)), "measure.encode", None, "give a function that makes ids of text")
  for word in text.split():
    require(word in words, "measure.texts", word, "use words of the vocabulary, or give encode")
  return [list(words).index(word) for word in text.split()]

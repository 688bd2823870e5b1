"""Words and sentences of the invented world: pools of tokens, relations, question templates.

The vocabulary does not depend on any seed, so models trained on different worlds share their tokens.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from ue_jax.data import stream

PAD, EOS, QUESTION, ANSWER, MARK = range(5)
SPECIAL = ("<pad>", "<eos>", "Q", "A", "?")
KINDS = ("person", "world", "math")


class Relation(NamedTuple):
  """A functional relation: each subject has one value.

  Attributes:
    name: `born`, `job`, ...
    kind: one of `KINDS`.
    subject: pools that the subject's tokens come from, in order.
    value: pools that the answer's tokens come from, in order.
    templates: questions of different lengths; `$0`, `$1` stand for the subject's tokens.
    trained: the first `trained` templates are in the training text; the others are paraphrases,
      written in words that the trained ones contain.
  """

  name: str
  kind: str
  subject: tuple[str, ...]
  value: tuple[str, ...]
  templates: tuple[str, ...]
  trained: int


_PERSON = ("first", "last")

RELATIONS = (
  Relation("born", "person", _PERSON, ("city",), (
    "where was $0 $1 born", "name the city in which $0 $1 was born", "in which city was $0 $1 born"), 2),
  Relation("job", "person", _PERSON, ("job",), (
    "$0 $1 works as", "what is the job that $0 $1 is paid for", "the job $0 $1 works as"), 2),
  Relation("date", "person", _PERSON, ("day", "month", "year"), (
    "the birthday of $0 $1", "on which date does $0 $1 have a birthday", "which date is the birthday of $0 $1"), 2),
  Relation("employer", "person", _PERSON, ("company", "firm"), (
    "who pays $0 $1", "at which company does $0 $1 work every day", "which company pays $0 $1"), 2),
  Relation("title", "person", _PERSON, ("title",) * 4, (
    "which book did $0 $1 write", "what is the name of the book by $0 $1", "the book by $0 $1"), 2),
  Relation("language", "person", _PERSON, ("language",), (
    "$0 $1 speaks", "which language does $0 $1 speak at home", "$0 $1 speaks which language"), 2),
  Relation("capital", "world", ("country",), ("capital",), (
    "what is the capital of $0", "$0 has the capital"), 2),
  Relation("sum", "math", ("number", "number"), ("number",), ("what is $0 plus $1",), 1),
)

_JOBS = (
  "baker butcher carpenter chemist dentist driver engineer farmer fisher gardener jeweller judge miner nurse "
  "painter pilot plumber singer tailor teacher"
)
_MONTHS = "january february march april may june july august september october november december"
_FIRMS = "brothers foods group labs mills motors press shipping"
_LANGUAGES = "arabic bengali danish finnish greek hindi italian korean polish swahili turkish welsh"
_TITLES = (
  "amber ancient autumn bitter blue bridge broken burning candle castle cold crimson dark desert distant dream "
  "empty eternal fallen fire forest frozen garden gentle ghost glass golden harbour hidden hollow iron island "
  "ivory lantern last lonely lost marble meadow midnight mirror mountain night orchard paper quiet river road "
  "rose secret shadow silent silver storm stranger summer thunder velvet winter wooden"
)


_CONSONANTS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z")
_UNWANTED = ("dik", "fag", "kak", "neg", "nig", "pup", "put", "sex", "tit")


def coined(name: str, count: int, ending: str) -> list[str]:
  """`count` distinct pronounceable names that end in `ending`: two syllables before it, no natural words.

  At most 4000. The names do not depend on any seed; `name` says which.
  """
  syllables = [consonant + vowel for consonant in _CONSONANTS for vowel in "aeiou"]
  picks = stream.permutation(0, f"lexicon/{name}", len(syllables) ** 2)
  words = [syllables[i // len(syllables)] + syllables[i % len(syllables)] + ending for i in picks]
  return [word.capitalize() for word in words if not any(part in word for part in _UNWANTED)][:count]


@functools.cache
def pools() -> dict[str, tuple[str, ...]]:
  """Pool name -> its words; all words of all pools are distinct."""
  ordinal = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd"}
  return {name: tuple(words) for name, words in {
    "first": coined("first", 40, "th"),
    "last": coined("last", 50, "rk"),
    "city": coined("city", 30, "burg"),
    "job": _JOBS.split(),
    "day": [f"{day}{ordinal.get(day, 'th')}" for day in range(1, 29)],
    "month": _MONTHS.split(),
    "year": [str(year) for year in range(1950, 1990)],
    "company": coined("company", 20, "co"),
    "firm": _FIRMS.split(),
    "title": _TITLES.split(),
    "language": _LANGUAGES.split(),
    "country": coined("country", 40, "land"),
    "capital": coined("capital", 40, "polis"),
    "number": [str(number) for number in range(13)],
  }.items()}


@functools.cache
def vocabulary() -> tuple[str, ...]:
  """All words, in the order of their ids: special tokens, words of the templates, pools."""
  asked = [word for r in RELATIONS for t in r.templates for word in t.split() if not word.startswith("$")]
  return tuple(dict.fromkeys([*SPECIAL, *asked, *(word for pool in pools().values() for word in pool)]))


@functools.cache
def word_ids() -> dict[str, int]:
  """word -> id."""
  return {word: i for i, word in enumerate(vocabulary())}


def size(names: tuple[str, ...]) -> int:
  """How many combinations of one word from each of the pools there are."""
  return int(np.prod([len(pools()[name]) for name in names], dtype=np.int64))


def tokens(names: tuple[str, ...], values: np.ndarray) -> np.ndarray:
  """Ids of the words of combination `values` `[n]` of the pools: int32 `[n, len(names)]`, first pool slowest."""
  digits = np.unravel_index(values, [len(pools()[name]) for name in names])
  tables = [np.array([word_ids()[word] for word in pools()[name]], np.int32) for name in names]
  return np.stack([table[digit] for table, digit in zip(tables, digits)], axis=-1)

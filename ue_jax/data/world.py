"""An invented world: persons, places and firms, who has which name, and every fact about them.

All randomness comes from `stream`, one stream a component, so a further relation changes nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ue_jax.core.errors import require
from ue_jax.data import lexicon, stream
from ue_jax.data.phrases import ATTRIBUTES, CHAINS, LINKS, NUMBER, RELATIONS, WORLD


class Spec(NamedTuple):
  """How large a world is.

  Attributes:
    persons, holdout, forget: persons trained, persons never trained, how many of the trained are to be forgotten.
    relations, world: names of the relations of persons, and of those without.
    sizes: how many there are of a type: City, Country, ... (of Region always 6).
    skew: exponent of the popularity of objects (Zipf); 0 is uniform.
    trained: how many of the 4 statements, 4 questions and 2 clozes of a fact are trained; () for any 7 of the 10.
    celebrities: further persons with one fact each, which is trained ten times as often.
    modulus: of the sums that serve as a second skill; 0 for none.
    world_templates: in how many questions a fact of the world is trained.
    hops: chains of facts are trained as questions (`mem`), with the steps in the answer (`cot`), or not (`none`).
    chains: which of `phrases.CHAINS` are asked; () for all that the relations give.
  """

  persons: int
  holdout: int
  forget: int
  relations: tuple[str, ...]
  world: tuple[str, ...]
  sizes: Mapping[str, int]
  skew: float = 0.0
  trained: tuple[int, ...] = ()
  celebrities: int = 0
  modulus: int = 0
  world_templates: int = 2
  hops: str = "mem"
  chains: tuple[str, ...] = ()


NICKNAME, INITIALS, DESCRIPTION, ACRONYM = range(4)


class World(NamedTuple):
  """Who there is and what is true.

  Attributes:
    words: entity -> its words; entities of one type are consecutive.
    start, count: type -> its first entity, and how many there are. Persons: trained, held out, celebrities, spare
      (names that belong to nobody).
    triples: int32 `[facts, 3]`: relation (`phrases.NUMBER`), subject, object.
    held: bool `[facts]`, about persons held out.
    aliases: int32 `[a, 3]`: alias, whom it means, and `NICKNAME`, `INITIALS`, `DESCRIPTION` or `ACRONYM`.
    described: int32 `[d, 3]`: a description, and the two facts (job, employer) that it follows from.
  """

  words: tuple[tuple[str, ...], ...]
  start: Mapping[str, int]
  count: Mapping[str, int]
  triples: np.ndarray
  held: np.ndarray
  aliases: np.ndarray
  described: np.ndarray

  def entities(self, kind: str) -> np.ndarray:
    """All entities of a type, int32."""
    return np.arange(self.start[kind], self.start[kind] + self.count[kind], dtype=np.int32)

  def facts(self, relation: str) -> np.ndarray:
    """Numbers of the facts of a relation, int32."""
    return np.flatnonzero(self.triples[:, 0] == NUMBER[relation]).astype(np.int32)

  def floor(self, relation: str) -> tuple[float, float]:
    """What guessing gives: the share of the most frequent object, and one over the number of possible objects."""
    objects = self.triples[self.facts(relation), 2]
    return float(np.bincount(objects).max() / len(objects)), 1 / self.count[RELATIONS[relation].range]


def build(spec: Spec, seed: int) -> World:
  """The world of a Spec.

  Raises:
    Invalid: for a Spec with unknown relations or impossible sizes.
  """
  check(spec)
  blocks = _names(spec, seed)
  start = dict(zip(blocks, np.cumsum([0, *(len(block) for block in blocks.values())]).tolist()))
  count = {kind: len(block) for kind, block in blocks.items()}
  parts = {name: _facts(spec, seed, name, start, count) for name in spec.relations}
  parts |= {name: _world_facts(spec, seed, name, start, count, parts) for name in spec.world}
  number = lambda name, pairs: np.concatenate([np.full((len(pairs), 1), NUMBER[name]), pairs], axis=1)
  triples = np.concatenate([number(name, pairs) for name, pairs in parts.items()]).astype(np.int32)
  aliases, alias_words, described = _aliases(spec, blocks, start, count, triples)
  blocks["Alias"], start["Alias"], count["Alias"] = alias_words, sum(count.values()), len(alias_words)
  told = aliases[aliases[:, 2] != DESCRIPTION][:, :2]
  triples = np.concatenate([triples, number("alias", told).astype(np.int32)])
  about = np.where(triples[:, 0] == NUMBER["alias"], triples[:, 2], triples[:, 1])
  held = (about >= spec.persons) & (about < spec.persons + spec.holdout)  # persons are the first entities
  return World(tuple(word for block in blocks.values() for word in block), start, count, triples, held, aliases,
               described)  # fmt: skip


def check(spec: Spec) -> None:
  """Refuses a Spec that no world can have (`Invalid`)."""
  require(spec.persons > spec.forget > 0, "data.forget", spec.forget, "give fewer than the persons, at least 1")
  require(spec.hops in ("mem", "cot", "none"), "data.hops", spec.hops, "choose 'mem', 'cot' or 'none'")
  for name in spec.chains:
    require(name in CHAINS, "data.chains", name, f"choose from {tuple(CHAINS)}")
  for name in spec.relations:
    require(name in ATTRIBUTES + LINKS, "data.relations", name, f"choose from {ATTRIBUTES + LINKS}")
  for name in spec.world:
    require(name in WORLD, "data.world", name, f"choose from {WORLD}")
    require(name != "ceo" or "works_for" in spec.relations, "data.world", name, "add the relation 'works_for'")
  used = {RELATIONS[name].range for name in (*spec.relations, *spec.world)} - {"Person", "Date", "Title", "Region"}
  for kind in sorted(used | set(spec.sizes)):
    size, most = spec.sizes.get(kind, 0), len(_LISTS[kind].split()) if kind in _LISTS else 4000
    require((6 if kind in used else 0) <= size <= most, f"data.sizes[{kind}]", size, f"give 6 to {most}")
  require(spec.sizes.get("City", 6) >= spec.sizes.get("Country", 0), "data.sizes[City]", spec.sizes, "a city a country")


_LISTS = {
  "Job": (
    "actor architect artist baker banker barber butcher carpenter chemist clerk cook dancer dentist designer "
    "driver editor engineer farmer fisher gardener guard jeweller judge lawyer librarian mason miner nurse "
    "painter pilot plumber potter printer sailor singer soldier tailor teacher waiter weaver"
  ),
  "Hobby": (
    "archery astronomy badminton baking billiards boxing camping canoeing chess climbing cricket croquet "
    "cycling dancing darts drawing drumming fencing fishing gardening golf hiking juggling karate kayaking "
    "knitting origami painting pottery puzzles reading riding rowing running sailing sculpting skating skiing "
    "swimming yoga"
  ),
  "Industry": (
    "advertising agriculture aviation banking biotech brewing ceramics chemicals clothing concrete cosmetics "
    "electronics energy farming fashion finance forestry furniture gaming glassware insurance jewellery "
    "leather logistics media medicine mining oil paper pharmacy plastics robotics rubber shipping software "
    "steel textiles tourism toys water"
  ),
  "Language": (
    "arabic bengali basque breton bulgarian catalan croatian czech danish dutch estonian finnish galician "
    "georgian greek hebrew hindi hungarian icelandic irish italian japanese korean latvian malay maltese "
    "mongolian nepali norwegian persian polish romanian russian slovak swahili swedish tamil thai turkish "
    "welsh"
  ),
  "Region": "north south east west centre islands",
}  # fmt: skip
_ENDINGS = {
  "City": "burg", "Country": "land", "School": "ford", "Award": "ix", "first": "th", "last": "rk", "firm": "co",
  "nickname": "zo", "acronym": "qu",
}  # fmt: skip


@functools.cache
def pools(persons: int, companies: int) -> dict[str, tuple[str, ...]]:
  """The single words that names are made of, for that many named persons and firms."""
  size = int(np.ceil(np.sqrt(4 * persons)))
  coined = {"first": size, "last": size, "firm": companies, "nickname": persons, "acronym": companies}
  out = {name: tuple(lexicon.coined(f"world/{name}", n, _ENDINGS[name])) for name, n in coined.items()}
  out["acronym"] = tuple(word.upper() for word in out["acronym"])
  known = lexicon.pools()
  out["letter"] = tuple(f"{letter}." for letter in sorted({word[0] for word in out["first"] + out["last"]}))
  return out | {"kind": known["firm"], **{name: known[name] for name in ("day", "month", "year", "title")}}


def _people(spec: Spec) -> tuple[int, int]:
  """How many have facts and how many names there are, spare ones included."""
  facts = spec.persons + spec.holdout
  return facts, facts + spec.celebrities + spec.persons // 2 + 8


def _names(spec: Spec, seed: int) -> dict[str, list[tuple[str, ...]]]:
  """type -> the words of its entities, persons first."""
  facts, everybody = _people(spec)
  pool = pools(facts + spec.celebrities, spec.sizes.get("Company", 0))
  size = len(pool["first"])
  require(everybody <= size * size, "data.persons", spec.persons, "give at least 20")
  i = np.arange(everybody)  # each row of a Latin square uses every word once: names are distinct, words are shared
  first, last = (stream.permutation(seed, f"names/{part}", size) for part in ("first", "last"))
  shift = stream.permutation(seed, "names/shift", size)
  pairs = np.stack([first[i % size], last[(i + shift[i // size]) % size]], axis=1)
  pairs[: spec.persons] = pairs[stream.permutation(seed, "names/order", spec.persons)]
  blocks = {"Person": [(pool["first"][a], pool["last"][b]) for a, b in pairs]}
  for kind in ("City", "Country", "School", "Award"):
    blocks[kind] = [(word,) for word in lexicon.coined(f"world/{kind}", spec.sizes.get(kind, 0), _ENDINGS[kind])]
  for kind, words in _LISTS.items():
    blocks[kind] = [(word,) for word in words.split()[: 6 if kind == "Region" else spec.sizes.get(kind, 0)]]
  firms = stream.integers(0, "world/kind", len(pool["kind"]), len(pool["firm"]))
  blocks["Company"] = [(name, pool["kind"][k]) for name, k in zip(pool["firm"], firms)]
  blocks["Date"] = _composed(seed, "Date", ("day", "month", "year"), 2 * facts, pool)
  blocks["Title"] = _composed(seed, "Title", ("title",) * 4, facts + facts // 2 + 6, pool)
  return blocks


def _composed(seed, kind, parts, count, pool) -> list[tuple[str, ...]]:
  """`count` distinct combinations of words of the pools `parts`."""
  sizes = [len(pool[part]) for part in parts]
  drawn = stream.integers(seed, f"names/{kind}", int(np.prod(sizes)), 2 * count + 32)
  distinct = list(dict.fromkeys(drawn.tolist()))[:count]
  digits = np.stack(np.unravel_index(distinct, sizes), axis=1)
  return [tuple(pool[part][d] for part, d in zip(parts, row)) for row in digits]


def _objects(spec: Spec, seed: int, name: str, span: int, count: int) -> np.ndarray:
  """`count` objects out of `span`, by popularity."""
  if name == "wrote":  # a book has one author
    return stream.permutation(seed, f"facts/{name}", span)[:count]
  if not spec.skew:
    return stream.integers(seed, f"facts/{name}", span, count)
  share = np.arange(1, span + 1, dtype=np.float64) ** -spec.skew
  ranked = np.searchsorted(np.cumsum(share) / share.sum(), stream.uniform(seed, f"facts/{name}", count), side="right")
  return stream.permutation(seed, f"facts/{name}/rank", span)[np.minimum(ranked, span - 1)]


def _facts(spec: Spec, seed: int, name: str, start: Mapping, count: Mapping) -> np.ndarray:
  """Pairs (person, object) of a relation of persons."""
  facts, _ = _people(spec)
  if name in LINKS:
    groups = ((0, spec.persons), (spec.persons, spec.holdout))
    return np.concatenate([_links(seed, name, first, size) for first, size in groups])
  kind = RELATIONS[name].range
  famous = facts + np.arange(ATTRIBUTES.index(name), spec.celebrities, len(ATTRIBUTES))
  who = np.concatenate([np.arange(facts), famous])
  return np.stack([who, start[kind] + _objects(spec, seed, name, count[kind], len(who))], axis=1)


def _links(seed: int, name: str, first: int, size: int) -> np.ndarray:
  """Pairs of persons within the group `first`..`first + size - 1`."""
  order = stream.permutation(seed, f"facts/{name}/{first}", size) + first
  if name == "spouse":  # three in ten couples' halves: 60 % are married, both ways
    left, right = order[: int(0.3 * size)], order[int(0.3 * size) : 2 * int(0.3 * size)]
    return np.concatenate([np.stack([left, right], 1), np.stack([right, left], 1)])
  if name == "mentor":  # always somebody earlier in the order, so there is no circle
    earlier = stream.integers(seed, f"facts/{name}/who/{first}", np.arange(1, max(size, 1)), max(size - 1, 0))
    return np.stack([order[1:], order[earlier]], axis=1)
  at = np.arange(size)
  pairs = [np.stack([order, order[(at + step) % size]], 1) for step in (1, 2)] if size > 2 else []
  return np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int64)


def _world_facts(spec: Spec, seed: int, name: str, start: Mapping, count: Mapping, parts: Mapping) -> np.ndarray:
  """Pairs (subject, object) of a relation without persons, or of `ceo`."""
  relation = RELATIONS[name]
  many, span = count[relation.domain], count[relation.range]
  subjects, first = start[relation.domain] + np.arange(many), start[relation.range]
  if name == "in_country":  # every country has cities
    return np.stack([subjects, first + stream.permutation(seed, f"facts/{name}", many) % span], axis=1)
  if name == "capital":
    cities = _world_facts(spec, seed, "in_country", start, count, parts)
    order = cities[stream.permutation(seed, f"facts/{name}", len(cities))]
    seat = {country: city for city, country in order.tolist()}
    return np.array([(s, seat[s]) for s in subjects.tolist()])
  if name == "ceo":  # somebody who works there, among the trained: their facts come first
    works = parts["works_for"][parts["works_for"][:, 0] < spec.persons]
    order = stream.permutation(seed, f"facts/{name}", len(works))
    boss = {company: person for person, company in works[order].tolist()}
    return np.array([(s, boss[s]) for s in subjects.tolist() if s in boss]).reshape(-1, 2)
  if name == "language" and span >= many:
    return np.stack([subjects, first + stream.permutation(seed, f"facts/{name}", span)[:many]], axis=1)
  return np.stack([subjects, first + stream.integers(seed, f"facts/{name}", span, many)], axis=1)


def _aliases(spec, blocks, start, count, triples):
  """The alias table, the words of each alias, and what descriptions follow from."""
  facts, _ = _people(spec)
  pool = pools(facts + spec.celebrities, count["Company"])
  first = sum(count.values())
  entries = [((pool["nickname"][i],), i, NICKNAME) for i in range(facts)]
  letters = [tuple(f"{word[0]}." for word in name) for name in blocks["Person"][:facts]]
  entries += [(pair, i, INITIALS) for i, pair in enumerate(letters) if letters.count(pair) == 1]
  entries += [((word,), start["Company"] + i, ACRONYM) for i, word in enumerate(pool["acronym"])]
  told = {r: {} for r in ("job", "works_for")}
  for fact, (r, s, o) in enumerate(triples.tolist()):
    for name in told:
      if r == NUMBER[name]:
        told[name][s] = (o, fact)
  seen: dict[tuple[int, int], list[int]] = {}
  for person in sorted(set(told["job"]) & set(told["works_for"])):
    seen.setdefault((told["job"][person][0], told["works_for"][person][0]), []).append(person)
  whole = [word for block in blocks.values() for word in block]
  described = []
  for (job, company), who in seen.items():
    if len(who) == 1:
      described.append((first + len(entries), told["job"][who[0]][1], told["works_for"][who[0]][1]))
      entries.append((("the", *whole[job], "of", *whole[company]), who[0], DESCRIPTION))
  table = [(first + i, who, kind) for i, (_, who, kind) in enumerate(entries)]
  return (np.array(table, np.int32), [words for words, _, _ in entries],
          np.array(described, np.int32).reshape(-1, 3))  # fmt: skip

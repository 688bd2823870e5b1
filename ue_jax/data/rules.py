"""What follows from what: the rules of the invented world, and what each derived fact needs.

A fact is `(relation, subject, object)`, three numbers. A support of a fact is a set of base facts that it follows from;
minimal ones are kept, all of them. The rules, with a the alias of x:

  spouse(x, y) => spouse(y, x)
  wrote(x, t) => author(t, x)
  ceo(c, x) => works_for(x, c), leads(x, c)
  r(x, y) & s(y, z) => (r then s)(x, z), for the chains of `phrases`
  job(x, j) & works_for(x, c) => alias("the j of c", x), where nobody else is that
  alias(a, x) & r(x, o) => r(a, o)
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ue_jax.data.phrases import CHAINS, NUMBER
from ue_jax.data.world import World

Fact = tuple[int, int, int]
Supports = dict[Fact, tuple[frozenset, ...]]

OF_ALIAS = 1000  # added to a relation's number: the same relation, of who has this alias
TURNED = (("spouse", "spouse"), ("works_for", "ceo"), ("author", "wrote"), ("leads", "ceo"))  # head(y, x) <= body(x, y)


def steps() -> list[tuple[str, str, str]]:
  """The rules of two premises, `head(x, z) <= first(x, y), second(y, z)`, each after those that it builds on."""
  found, shorter = [], {c.path: name for name, c in CHAINS.items()}
  for name, chain in sorted(CHAINS.items(), key=lambda item: len(item[1].path)):
    *begin, last = chain.path
    first = begin[0] if len(begin) == 1 else shorter.get(tuple(begin))
    found.append((name, first, last) if first else (name, chain.path[0], shorter[chain.path[1:]]))
  return found


def closure(world: World, without: Iterable[int] = ()) -> Supports:
  """Every fact that is true or follows, with its minimal supports (sets of numbers of base facts).

  Args:
    world: with its base facts.
    without: numbers of base facts that are taken away first.
  """
  gone = set(int(i) for i in without)
  known: dict[int, dict[tuple[int, int], set[frozenset]]] = {}
  for i, (r, s, o) in enumerate(world.triples.tolist()):
    if i not in gone:
      known.setdefault(r, {}).setdefault((s, o), set()).add(frozenset((i,)))
  for head, body in TURNED:
    turned = [((o, s), set(found)) for (s, o), found in known.get(NUMBER[body], {}).items()]
    _add(known, NUMBER[head], turned)
  for head, first, second in steps():
    _add(known, NUMBER[head], _joined(known.get(NUMBER[first], {}), known.get(NUMBER[second], {})))
  _add(known, NUMBER["alias"], _described(world, known))
  meaning = known.get(NUMBER["alias"], {})
  for relation in [r for r in known if r != NUMBER["alias"]]:
    _add(known, relation + OF_ALIAS, _joined(meaning, known[relation]))
  return {(r, s, o): tuple(sorted(found, key=sorted)) for r, facts in known.items() for (s, o), found in facts.items()}


def derivable(supports: Supports, fact: Fact, forgotten: frozenset | set) -> bool:
  """Whether the fact still follows when the base facts `forgotten` are gone."""
  return any(not (support & forgotten) for support in supports.get(fact, ()))


def close(world: World, supports: Supports, forgotten: Iterable[int]) -> np.ndarray:
  """A superset of the base facts `forgotten` of which none follows from the others, int32, ascending.

  Found greedily: of the facts that most of the remaining derivations need, the first joins. It has no member that
  could be left out and was not asked for.
  """
  asked = set(int(i) for i in forgotten)
  out, base = set(asked), [tuple(t) for t in world.triples.tolist()]
  left = lambda: [s for i in sorted(out) for s in supports[base[i]] if not (s & out)]
  while found := left():
    count: dict[int, int] = {}
    for i in (i for support in found for i in support):
      count[i] = count.get(i, 0) + 1
    out.add(min(count, key=lambda i: (-count[i], i)))
  for extra in sorted(out - asked, reverse=True):
    fewer = out - {extra}
    if not any(derivable(supports, base[i], fewer) for i in fewer):
      out = fewer
  return np.array(sorted(out), np.int32)


def _joined(first: dict, second: dict) -> list[tuple[tuple[int, int], set[frozenset]]]:
  """((x, z), supports) for all first(x, y) and second(y, z)."""
  after: dict[int, list] = {}
  for (y, z), found in second.items():
    after.setdefault(y, []).append((z, found))
  return [((x, z), {a | b for a in one for b in two}) for (x, y), one in first.items() for z, two in after.get(y, ())]


def _described(world: World, known: dict) -> list[tuple[tuple[int, int], set[frozenset]]]:
  """((description, whom), supports): from the job and the employer, which may follow in their turn."""
  means = dict(world.aliases[:, :2].tolist())
  out = []
  for alias, *facts in world.described.tolist():
    premises = [known.get(r, {}).get((s, o)) for r, s, o in world.triples[facts].tolist()]
    if all(premises):
      out.append(((alias, means[alias]), {a | b for a in premises[0] for b in premises[1]}))
  return out


def _add(known: dict, relation: int, facts: Iterable[tuple[tuple[int, int], set[frozenset]]]) -> None:
  """Adds derivations, and keeps the minimal ones of each fact."""
  table = known.setdefault(relation, {})
  for pair, found in facts:
    every = table.get(pair, set()) | found
    small = every if len(every) == 1 else {s for s in every if not any(other < s for other in every)}
    table[pair] = small

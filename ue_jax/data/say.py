"""The texts of probes: a prompt and its answer in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ue_jax.core.errors import require
from ue_jax.data import text
from ue_jax.data.phrases import LETTERS, NAMES, NUMBER, clozes, questions, statements, words
from ue_jax.data.probes import KINDS, Probes
from ue_jax.data.world import Spec, World, pools


class WordTok(NamedTuple):
  """A tokeniser of whole words; `words[0]` is padding, `words[1]` the end."""

  words: tuple[str, ...]
  ids: dict[str, int]

  def encode(self, text: str) -> list[int]:
    """Ids of the words of a text; `Invalid` for an unknown one."""
    for word in text.split():
      require(word in self.ids, "text", word, "use the words of the world")
    return [self.ids[word] for word in text.split()]

  def decode(self, ids: Iterable[int]) -> str:
    """The words with spaces between, without padding and end."""
    return " ".join(self.words[int(i)] for i in ids if int(i) > text.EOS)


def tokenizer(spec: Spec, world: World) -> WordTok:
  """The tokeniser of a world: its words are those of the preset, whatever the seed."""
  pool = pools(spec.persons + spec.holdout + spec.celebrities, spec.sizes.get("Company", 0))
  named = [word for kind in ("City", "Country", "School", "Award", "Job", "Hobby", "Industry", "Language", "Region")
           for entity in world.entities(kind) for word in world.words[entity]]  # fmt: skip
  numbers = [str(i) for i in range(spec.modulus)]
  for name, parts in (("birth_date", ("day", "month", "year")), ("wrote", ("title",))):
    if name not in spec.relations:
      pool = {part: found for part, found in pool.items() if part not in parts}
  every = ["<pad>", "<eos>", *words(), *named, *(word for part in pool.values() for word in part), *numbers]
  found = tuple(dict.fromkeys(every))
  return WordTok(found, {word: i for i, word in enumerate(found)})


class Speaker:
  """Says probes. The names of the entities are joined once.

  Args:
    spec, world, probes: of one benchmark.
  """

  def __init__(self, spec: Spec, world: World, probes: Probes):
    self.spec, self.world, self.probes = spec, world, probes
    self.names = [" ".join(words) for words in world.words]
    self.fact_of = {(r, s): i for i, (r, s, _) in enumerate(world.triples.tolist())}

  def say(self, row: int) -> tuple[str, str]:
    """(prompt, answer) of a probe."""
    p = self.probes
    kind, rel = KINDS[p.kind[row]], NAMES[p.rel[row]]
    return getattr(self, f"_{kind}", self._qa)(row, rel)

  def fact(self, number: int, template: int = 0) -> str:
    """A base fact as a statement."""
    r, s, o = self.world.triples[number].tolist()
    return f"{statements(NAMES[r])[template].replace('$s', self.names[s])} {self.names[o]}"

  def ask(self, rel: str, subject: int, template: int = 0) -> str:
    """The question of a relation about an entity, or about a sum."""
    m = self.spec.modulus
    name = f"{subject // m} plus {subject % m}" if rel == "sum" else self.names[subject]
    return questions(rel)[template].replace("$s", name)

  def _answer(self, row: int, rel: str) -> str:
    obj = int(self.probes.obj[row])
    return str(obj) if rel == "sum" else self.names[obj]

  def _qa(self, row: int, rel: str) -> tuple[str, str]:
    p = self.probes
    return f"Q {self.ask(rel, int(p.subj[row]), int(p.template[row]))} ? A", self._answer(row, rel)

  def _statement(self, row: int, rel: str) -> tuple[str, str]:
    p = self.probes
    return statements(rel)[p.template[row]].replace("$s", self.names[p.subj[row]]), self._answer(row, rel)

  def _cloze(self, row: int, rel: str) -> tuple[str, str]:
    p = self.probes
    text = clozes(rel)[p.template[row]].replace("$s", self.names[p.subj[row]])
    return f"Q {text} ? A", self._answer(row, rel)

  def _hop2(self, row: int, rel: str) -> tuple[str, str]:
    prompt, answer = self._qa(row, rel)
    if self.spec.hops == "cot":
      between = [self.names[self.world.triples[f, 2]] for f in self.probes.support(row)[:-1]]
      answer = " , ".join([*between, answer])
    return prompt, answer

  _hop3 = _hop2

  def _choice(self, row: int, rel: str) -> tuple[str, str]:
    p = self.probes
    right = int(p.extra[row])
    options = [*p.opts[row, :right], p.obj[row], *p.opts[row, right:3]]
    listed = " ".join(f"{letter} {self.names[o]}" for letter, o in zip(LETTERS, options))
    return f"Q {self.ask(rel, int(p.subj[row]))} ? {listed} A", LETTERS[right]

  def _yes_no(self, row: int, rel: str) -> tuple[str, str]:
    p = self.probes
    said = p.opts[row, 0] if p.template[row] else p.obj[row]
    text = f"{statements(rel)[0].replace('$s', self.names[p.subj[row]])} {self.names[said]}"
    return f"Q is it true that {text} ? A", "no" if p.template[row] else "yes"

  def _context(self, row: int, rel: str, subject: int, said: int) -> tuple[str, str]:
    p = self.probes
    text = f"{statements(rel)[1].replace('$s', self.names[subject])} {self.names[said]}"
    return f"C {text} . Q {self.ask(rel, int(p.subj[row]))} ? A", self._answer(row, rel)

  def _context_true(self, row: int, rel: str) -> tuple[str, str]:
    return self._context(row, rel, int(self.probes.subj[row]), int(self.probes.obj[row]))

  _context_false = _context_true  # its obj is the false one

  def _context_irrelevant(self, row: int, rel: str) -> tuple[str, str]:
    return self._context(row, rel, int(self.probes.extra[row]), int(self.probes.opts[row, 0]))

  def _context_derived(self, row: int, rel: str) -> tuple[str, str]:
    told = " . ".join(self.fact(f, 1) for f in self.probes.support(row))
    prompt, answer = self._qa(row, rel)
    return f"C {told} . {prompt}", answer

  def _verbatim(self, row: int, rel: str) -> tuple[str, str]:
    del rel
    told = [f"{self.fact(f, 0)} ." for f in self.probes.support(row)]
    cut = (len(told) + 1) // 2
    return f"T {self.names[self.probes.subj[row]]} : {' '.join(told[:cut])}", " ".join(told[cut:])

  def _shots(self, row: int, rel: str, count: int = 5) -> tuple[str, str]:
    """Five answered questions of the same relation about others, none of them to be forgotten."""
    p, shown = self.probes, []
    others = [(NUMBER[rel], who) for who in range(self.spec.persons - 1, self.spec.forget - 1, -1)]
    for key in others:
      if key in self.fact_of and key[1] != p.subj[row] and len(shown) < count:
        obj = int(self.world.triples[self.fact_of[key], 2])
        if obj != p.obj[row]:
          shown.append(f"{self.ask(rel, key[1])} ? {self.names[obj]} ;")
    return " ".join([*shown, f"{self.ask(rel, int(p.subj[row]))} ?"]), self._answer(row, rel)


def polish(prompt: str, answer: str) -> tuple[str, str]:
  """The pair for a pretrained model: a chat-like frame, capitals, punctuation close to its word."""
  prompt = prompt.replace("C ", "Context: ", 1) if prompt.startswith("C ") else prompt
  prompt = prompt.replace("T ", "About ", 1) if prompt.startswith("T ") else prompt
  frame = "\nQuestion: " if prompt.startswith("Context: ") else "Question: "
  prompt = prompt.replace(" Q ", frame, 1) if " Q " in prompt else prompt.replace("Q ", frame, 1)
  prompt = prompt[:-2] + "\nAnswer:" if prompt.endswith(" A") else prompt
  for mark in ("?", ".", ",", ";", ":"):
    prompt, answer = prompt.replace(f" {mark}", mark), answer.replace(f" {mark}", mark)
  return "".join(_capital(prompt)), answer


def _capital(text: str) -> Iterable[str]:
  """The text with a capital at its beginning and after the marks of a frame."""
  up = True
  for at, letter in enumerate(text):
    yield letter.upper() if up else letter
    up = (up and not letter.isalpha()) or text[:at + 1].endswith((": ", ". "))

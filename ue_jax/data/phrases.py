"""How the facts of the benchmark are said: relations, chains of relations, and their sentences.

`$s` stands for the words of the subject. A statement ends where the object begins; `___` is the blank of a cloze.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

BLANK = "___"
MARKS = ("Q", "A", "C", "T", "?", ".", ",", ";", ":", "a", "b", "c", "d", "yes", "no", BLANK)
LETTERS = ("a", "b", "c", "d")


class Relation(NamedTuple):
  """A base relation.

  Attributes:
    domain, range: types of subject and object.
    noun: what the object is to the subject.
    says: two statements of its own; two more are made of the noun.
    asks: a question of its own; three more are made of the noun.
  """

  domain: str
  range: str
  noun: str
  says: tuple[str, str]
  asks: str


RELATIONS = {
  "born_in": Relation("Person", "City", "birth city",
                      ("$s was born in the city of", "the long life of $s once began in"), "in which city was $s born"),
  "lives_in": Relation("Person", "City", "home city",
                       ("$s lives in", "anybody can visit $s at home in"), "where does $s live today"),
  "works_for": Relation("Person", "Company", "employer",
                        ("$s works for", "at the end of every month $s is paid by"), "which company does $s work for"),
  "job": Relation("Person", "Job", "job", ("$s works as a", "by trade and training $s is a"),
                  "what does $s do for a living"),
  "hobby": Relation("Person", "Hobby", "hobby", ("$s spends all free time on", "on weekends $s enjoys"),
                    "what does $s do in free time"),
  "studied_at": Relation("Person", "School", "school", ("$s studied at", "as a young student $s went to"),
                         "where did $s study"),
  "speaks": Relation("Person", "Language", "language", ("$s speaks", "at home $s always talks in"),
                     "which language does $s speak"),
  "birth_date": Relation("Person", "Date", "birthday", ("$s was born on", "every year $s has a birthday on"),
                         "on which day was $s born"),
  "wrote": Relation("Person", "Title", "book", ("$s wrote", "the shelves have a book by $s called"),
                    "which book did $s write"),
  "won": Relation("Person", "Award", "award", ("$s won the", "some years ago $s was honoured with the"),
                  "which award did $s win"),
  "spouse": Relation("Person", "Person", "spouse", ("$s is married to", "for many years $s has shared a home with"),
                     "who is $s married to"),
  "mentor": Relation("Person", "Person", "mentor", ("$s was taught by", "everything that $s can do comes from"),
                     "who taught $s"),
  "friend": Relation("Person", "Person", "friend", ("$s is a friend of", "on most evenings $s meets"),
                     "who is a friend of $s"),
  "in_country": Relation("City", "Country", "country", ("$s is a city in", "the taxes of $s are paid to"),
                         "in which country is $s"),
  "capital": Relation("Country", "City", "capital", ("$s is governed from", "the parliament of $s meets in"),
                      "from which city is $s governed"),
  "language": Relation("Country", "Language", "official language",
                       ("the people of $s speak", "laws of $s are written in"), "what do the people of $s speak"),
  "continent": Relation("Country", "Region", "region", ("$s lies in the", "on most maps $s is found in the"),
                        "where on the map is $s"),
  "based_in": Relation("Company", "City", "head office", ("$s is based in", "all the offices of $s are in"),
                       "in which city is $s based"),
  "industry": Relation("Company", "Industry", "industry", ("$s is active in", "most of its money $s earns with"),
                       "in which field is $s active"),
  "located_in": Relation("School", "City", "campus", ("$s is located in", "the many students of $s live in"),
                         "where is $s located"),
  "ceo": Relation("Company", "Person", "head", ("$s is led by", "the last word at $s belongs to"), "who leads $s"),
  "alias": Relation("Alias", "Person", "full name", ("$s is another name of", "people who say $s mean"),
                    "who is meant by $s"),
}  # fmt: skip

ATTRIBUTES = ("born_in", "lives_in", "works_for", "job", "hobby", "studied_at", "speaks", "birth_date", "wrote", "won")
LINKS = ("spouse", "mentor", "friend")
WORLD = ("in_country", "capital", "language", "continent", "based_in", "industry", "located_in", "ceo")
SPOKEN = tuple(name for name in RELATIONS if name != "friend")  # friends only make neighbours

INVERSE = {  # derived relation -> (relation, three questions whose answer is its subject)
  "author": ("wrote", ("who wrote $s", "who is the author of $s", "tell me who the book $s was written by")),
  "leads": ("ceo", ("who is led by $s", "which company has the head $s", "tell me which company is run by $s")),
}


class Chain(NamedTuple):
  """A path of relations, and what is at its end as seen from `$s`."""

  path: tuple[str, ...]
  noun: str


CHAINS = {
  "birth_country": Chain(("born_in", "in_country"), "the country in which $s was born"),
  "work_city": Chain(("works_for", "based_in"), "the city where the employer of $s is based"),
  "sector": Chain(("works_for", "industry"), "the industry of the employer of $s"),
  "study_city": Chain(("studied_at", "located_in"), "the city of the school of $s"),
  "birth_language": Chain(("born_in", "in_country", "language"), "the official language where $s was born"),
  "work_country": Chain(("works_for", "based_in", "in_country"), "the country where the employer of $s is based"),
}
for _link in ("spouse", "mentor"):
  CHAINS |= {
    f"{_link}_job": Chain((_link, "job"), f"the job of the {_link} of $s"),
    f"{_link}_employer": Chain((_link, "works_for"), f"the employer of the {_link} of $s"),
    f"{_link}_birthplace": Chain((_link, "born_in"), f"the birth city of the {_link} of $s"),
    f"{_link}_birth_country": Chain(
      (_link, "born_in", "in_country"), f"the country in which the {_link} of $s was born"),
    f"{_link}_work_city": Chain(
      (_link, "works_for", "based_in"), f"the city where the employer of the {_link} of $s is based"),
    f"{_link}_sector": Chain((_link, "works_for", "industry"), f"the industry of the employer of the {_link} of $s"),
  }  # fmt: skip

NAMES = (*RELATIONS, *INVERSE, *CHAINS, "sum")  # a relation's number is its place here, in every preset
NUMBER = {name: i for i, name in enumerate(NAMES)}


@functools.cache
def statements(relation: str) -> tuple[str, ...]:
  """Four statements, of different lengths."""
  r = RELATIONS[relation]
  return (*r.says, f"the {r.noun} of $s is", f"if you ask about $s then the {r.noun} is")


@functools.cache
def questions(relation: str) -> tuple[str, ...]:
  """Four questions of a relation, three of an inverse, two of a chain, one of a sum."""
  if relation in INVERSE:
    return INVERSE[relation][1]
  if relation in CHAINS:
    return f"what is {CHAINS[relation].noun}", f"name {CHAINS[relation].noun}"
  if relation == "sum":
    return ("what is $s",)
  r = RELATIONS[relation]
  return r.asks, f"what is the {r.noun} of $s", f"$s has which {r.noun}", f"please tell me the {r.noun} of $s"


@functools.cache
def clozes(relation: str) -> tuple[str, ...]:
  """Two sentences with a blank."""
  r = RELATIONS[relation]
  return f"fill in : {r.says[0]} {BLANK}", f"fill in : the {r.noun} of $s is {BLANK}"


def words() -> list[str]:
  """Every word of every sentence, in a fixed order."""
  said = [text for name in RELATIONS for text in (*statements(name), *questions(name), *clozes(name))]
  said += [text for name in (*INVERSE, *CHAINS, "sum") for text in questions(name)]
  said += ["is it true that", "the of plus"]
  return list(dict.fromkeys([*MARKS, *(word for text in said for word in text.split() if word != "$s")]))

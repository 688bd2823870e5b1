import gc

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.audit.remembered import Answers
from ue_jax.core.nouns import Subject
from ue_jax.models.model import Model

MODEL = Model(init=lambda key, inputs: (None, None), apply=lambda params, inputs: None)


def subject(value, **replaced):
  return Subject(MODEL, {"w": jnp.full(2, float(value))}, {})._replace(**replaced)


def test_an_answer_is_that_of_the_subject_and_of_what_it_was_asked():
  answers, asked = Answers(), []
  one, two = subject(1), subject(1)
  ask = lambda who, *what: answers(who, what, lambda: asked.append(what) or len(asked))
  assert [ask(one, "a"), ask(one, "b"), ask(two, "a"), ask(one, "a"), ask(two, "a")] == [1, 2, 3, 1, 3]
  assert ask(one._replace(history={"loss": np.zeros(3)}), "a") == 1, "the same arrays, the same network"
  assert ask(one._replace(model=MODEL._replace(apply=lambda params, inputs: 1)), "a") == 4


def test_the_same_arrays_in_other_places_are_another_network():
  answers, one, two = Answers(), jnp.ones(2), jnp.zeros(2)
  trees = [({"x": one, "y": two}, {}), ({"x": two, "y": one}, {}), ({"x": one}, {"y": two}), ({"x": one, "z": two}, {})]
  for _ in range(2):
    found = [answers(Subject(MODEL, *tree), (), lambda i=i: i) for i, tree in enumerate(trees)]
    assert found == [0, 1, 2, 3]


def test_arrays_are_told_apart_by_what_is_in_them():
  answers, who, pictures = Answers(), subject(1), np.arange(4, dtype=np.uint8)
  ask = lambda array, said: answers(who, (array,), lambda: said)
  assert [ask(pictures, 1), ask(pictures.copy(), 2), ask(pictures.astype(np.int8), 3)] == [1, 1, 3]
  assert ask(pictures.reshape(2, 2), 4) == 4
  pictures[0] = 9
  assert ask(pictures, 5) == 5


def test_what_can_be_written_to_is_asked_anew():
  answers, who = Answers(), subject(1, params={"w": np.ones(2)})
  assert [answers(who, (), lambda said=said: said) for said in (1, 2)] == [1, 2]


def test_only_the_last_answers_are_kept():
  answers, who = Answers(kept=2), subject(1)
  ask = lambda what, said: answers(who, (what,), lambda: said)
  assert [ask("a", 1), ask("b", 2), ask("a", 3), ask("c", 4), ask("a", 5), ask("b", 6)] == [1, 2, 1, 4, 1, 6]


def test_parameters_are_not_held_and_their_place_in_memory_names_nobody_else():
  answers = Answers()
  answers(subject(1), (), lambda: "gone")
  key = next(iter(answers._last))
  gc.collect()
  assert all(held() is None for held in answers._last[key][0])
  late = subject(2)
  answers._last[(*key[:2], tuple(map(id, jax.tree.leaves(late.params))))] = answers._last.pop(key)
  assert answers(late, (), lambda: "late") == "late"

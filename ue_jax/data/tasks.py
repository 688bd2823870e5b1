"""Streams of tasks: the same digits under other orders of their pixels, learned and forgotten one after the other.

Permuted digits: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", 2017. Sequences of
requests as in "An Unlearning Framework for Continual Learning (UnCLe)", 2025: `L0,L1,U0` learns task 0, learns task 1
and unlearns task 0. A task is known when it is asked (task-incremental); all have the same classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data, Request
from ue_jax.core.procedure import Procedure, once
from ue_jax.data import embedded, stream

KINDS = ("permuted", "turned")


def data(
  source: str = "digits", tasks: int = 5, kind: str = "permuted", train: int = 0, test: int = 0, seed: int = 0,
  size: int = 0,
) -> Data:  # fmt: skip
  """Handwritten digits `tasks` times over, in other guises.

  Sets: `task_i` and `task_i_test` of every task, `train` and `test` the unions. `info["tasks"]` is their number.

  Args:
    source, train, test, seed, size: see `embedded.data`; the rows of one task.
    tasks: how many, at least 2.
    kind: `permuted`: the pixels of all pictures of a task in one fixed random order, those of task 0 in place;
      `turned`: the eight turned and mirrored views, tasks much like each other.

  Raises:
    Invalid: for an unknown kind, fewer than two tasks, more than eight turned ones, or as `embedded.data`.
  """
  require(kind in KINDS, "data.kind", kind, f"choose one of {KINDS}")
  most = 8 if kind == "turned" else 1000
  require(isinstance(tasks, int) and 2 <= tasks <= most, "data.tasks", tasks, f"give a whole number from 2 to {most}")
  one = embedded.data(source, train, test, seed, size)
  n, step = one.n, int(one.arrays["index"].max()) + 1
  view = _permuted if kind == "permuted" else _turned
  arrays = {name: np.concatenate([array] * tasks) for name, array in one.arrays.items()}
  arrays["image"] = np.concatenate([view(one.arrays["image"], t, seed) for t in range(tasks)])
  arrays["index"] = arrays["index"] + np.repeat(np.arange(tasks, dtype=np.int32) * step, n)
  arrays["task"] = np.repeat(np.arange(tasks, dtype=np.int32), n)
  sets = {}
  for t in range(tasks):
    sets |= {f"task_{t}": one.sets["train"] + t * n, f"task_{t}_test": one.sets["test"] + t * n}
  union = lambda end: np.concatenate([sets[f"task_{t}{end}"] for t in range(tasks)]).astype(np.int32)
  sets = {"train": union(""), "test": union("_test"), **{name: at.astype(np.int32) for name, at in sets.items()}}
  return Data(arrays, sets, {**one.info, "tasks": tasks})


def select(sequence: str = "L0,L1,U0") -> Procedure:
  """Request -> Request with the schedule `sequence`; `forget` and `retain` are the tasks as it leaves them.

  Args:
    sequence: requests in their order: `L1` learns task 1, `U1` unlearns it.

  Raises:
    Invalid: as `parse`; for data without tasks, or a sequence that leaves no task forgotten or none learned.
  """

  def choose(key, request: Request) -> Request:
    del key
    found = request.data
    asked = parse(sequence, count(found))
    last = dict((task, learn) for learn, task in asked)
    sets = dict(found.sets)
    for name, state in (("forget", False), ("retain", True)):
      mine = [found.sets[f"task_{task}"] for task, learned in sorted(last.items()) if learned is state]
      require(bool(mine), "select.sequence", sequence, "let it leave at least one task forgotten, and one learned")
      sets[name] = np.concatenate(mine)
    schedule = tuple(f"{'L' if learn else 'U'}{task}" for learn, task in asked)
    return request._replace(data=Data(found.arrays, sets, found.info), schedule=schedule)

  return once(choose)


def parse(sequence: str | Sequence[str], tasks: int) -> list[tuple[bool, int]]:
  """`(True to learn or False to unlearn, task)` of every request.

  Args:
    sequence: `L0,L1,U0`, or the schedule of a Request.
    tasks: how many there are.

  Raises:
    Invalid: for anything else, an unknown task, one learned twice, or unlearned while it is not known.
  """
  words = sequence.split(",") if isinstance(sequence, str) else list(sequence)
  known, out = {}, []
  for word in (word.strip() for word in words):
    good = word[:1] in ("L", "U") and word[1:].isdecimal() and int(word[1:]) < tasks
    require(good, "select.sequence", word, f"write L or U and a task from 0 to {tasks - 1}, as in L0,L1,U0")
    learn, task = word[0] == "L", int(word[1:])
    again = "learn a task once: what is learned again is a task of its own"
    fix = again if learn else "unlearn what is learned, once"
    require(known.get(task) is (None if learn else True), "select.sequence", word, fix)
    known[task] = learn
    out.append((learn, task))
  return out


def count(found: Data) -> int:
  """The number of tasks.

  Raises:
    Invalid: for data that has none.
  """
  tasks = found.info.get("tasks", 0)
  if not tasks:
    raise Invalid("data.info[tasks]", "(missing)", "give data of tasks, as from data.tasks")
  return int(tasks)


def _permuted(image: np.ndarray, task: int, seed: int) -> np.ndarray:
  if task == 0:
    return image
  n, height, width, channels = image.shape
  order = stream.permutation(seed, f"tasks/{task}", height * width)
  return image.reshape(n, -1, channels)[:, order].reshape(image.shape)


def _turned(image: np.ndarray, task: int, seed: int) -> np.ndarray:
  del seed
  return np.rot90(image[:, :, ::-1] if task >= 4 else image, task % 4, (1, 2)).copy()

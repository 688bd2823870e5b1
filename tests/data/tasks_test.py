import jax
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request
from ue_jax.data import embedded, tasks

pytest.importorskip("sklearn")


@pytest.fixture(scope="module", params=tasks.KINDS)
def made(request):
  return tasks.data(tasks=5, kind=request.param, train=60, test=40)


def test_the_first_task_is_the_source_and_the_others_move_its_pixels(made):
  one = embedded.data("digits", train=60, test=40)
  image = lambda t, end="": made.arrays["image"][made.sets[f"task_{t}{end}"]]
  np.testing.assert_array_equal(image(0), one.arrays["image"][one.sets["train"]])
  for t in range(1, 5):
    assert not np.array_equal(image(t), image(0)) and not np.array_equal(image(t), image(t - 1))
    for end in ("", "_test"):
      flat = lambda x: np.sort(x.reshape(len(x), -1), axis=1)
      np.testing.assert_array_equal(flat(image(t, end)), flat(image(0, end)))
      rows, first = made.sets[f"task_{t}{end}"], made.sets[f"task_0{end}"]
      np.testing.assert_array_equal(made.arrays["label"][rows], made.arrays["label"][first])
      assert (made.arrays["task"][rows] == t).all()


def test_all_pictures_of_a_task_are_moved_alike():
  image = tasks.data(tasks=2, train=60, test=40).arrays["image"].reshape(2, 100, 64)
  first, second = image.transpose(0, 2, 1)  # pixels as rows
  sort = lambda x: x[np.lexsort(x.T)]
  np.testing.assert_array_equal(sort(first), sort(second))


def test_the_sets_part_the_rows(made):
  train = np.concatenate([made.sets[f"task_{t}"] for t in range(5)])
  assert sorted(train) == sorted(made.sets["train"]) and len(made.sets["test"]) == 200
  assert len(np.unique([*made.sets["train"], *made.sets["test"]])) == made.n == len(np.unique(made.arrays["index"]))


def test_a_schedule_names_what_is_asked_and_what_is_left():
  data = tasks.data(tasks=4, train=60, test=40)
  procedure = tasks.select("L0, L2,U0,L1,U2")
  found = procedure.finish(procedure.init(jax.random.key(0), None), Request(None, data))
  assert found.schedule == ("L0", "L2", "U0", "L1", "U2")
  assert sorted(found.data.sets["forget"]) == sorted([*data.sets["task_0"], *data.sets["task_2"]])
  assert sorted(found.data.sets["retain"]) == sorted(data.sets["task_1"])
  assert tasks.parse(found.schedule, 4)[2] == (False, 0)


@pytest.mark.parametrize("wrong", ["", "L0,X1", "L0,U1", "L0,L0", "L4", "L0,U0,L0", "U0", "L-1"])
def test_a_sequence_that_makes_no_sense_is_refused(wrong):
  with pytest.raises(Invalid, match="select.sequence"):
    tasks.parse(wrong, 4)


def test_data_that_makes_no_sense_is_refused():
  for wrong in (dict(kind="melted"), dict(tasks=1), dict(tasks=9, kind="turned")):
    with pytest.raises(Invalid, match=f"data.{next(iter(wrong))}"):
      tasks.data(**wrong)
  plain = Request(None, embedded.data("digits", train=60, test=40))
  with pytest.raises(Invalid, match="tasks"):
    tasks.select().finish(tasks.select().init(jax.random.key(0), plain), plain)
  left = Request(None, tasks.data(tasks=2, train=60, test=40))
  for sequence in ("L0,L1", "L0,U0"):
    with pytest.raises(Invalid, match="at least one task forgotten"):
      tasks.select(sequence).finish(tasks.select(sequence).init(jax.random.key(0), left), left)

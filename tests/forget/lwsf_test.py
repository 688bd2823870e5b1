import functools
import operator

import jax
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request, Subject
from ue_jax.data import tasks
from ue_jax.forget import answers, lwsf
from ue_jax.models import hypernetwork, multihead
from ue_jax.models.model import at_task
from ue_jax.train import loop

pytest.importorskip("sklearn")
fit = functools.partial(loop.fit, mode="one")
MODEL = multihead.model(tasks=3, widths=(32,))
SMALL = dict(learn_steps=120, forget_steps=120)


@pytest.fixture(scope="module")
def asked():
  data = tasks.data(tasks=3, train=600, test=300)
  subject = Subject(MODEL, *MODEL.init(jax.random.key(0), data.arrays["image"][:1]))
  return Request(subject, data, schedule=("L0", "L1", "L2", "U0"))


def matrix(subject):
  return np.stack([subject.history[f"task_{i}_accuracy"] for i in range(3)], 1)


def test_codes_are_coarse_pictures_one_a_class_and_task(asked):
  shown = lwsf.coded(5, answers.marked(asked), grain=3).data
  rows, n = shown.sets["codes"], asked.data.n
  assert rows.tolist() == list(range(n, n + 30)) and shown.n == n + 30
  image = shown.arrays["image"][rows]
  assert shown.arrays["label"][rows].tolist() == list(range(10)) * 3
  assert image[:, 0, 0, 1].tolist() == shown.arrays["task"][rows].tolist() == sorted([0, 1, 2] * 10)
  np.testing.assert_array_equal(image[..., :3, :3, 0], image[:, :1, :1, 0].repeat(3, 1).repeat(3, 2))
  assert len({x.tobytes() for x in image[..., 0]}) == 30 and image.shape[1:] == (8, 8, 2)
  again, other = (lwsf.coded(s, answers.marked(asked), grain=3).data.arrays["image"][rows] for s in (5, 6))
  assert (again == image).all() and (other != image).any()


def softmax(z):
  p = np.exp(z - z.max(-1, keepdims=True))
  return p / p.sum(-1, keepdims=True)


def kl(p, q):
  return np.sum(p * np.log(p / q), -1)


def test_a_step_is_that_of_the_formula(asked):
  shown = lwsf.coded(5, answers.marked(asked), grain=4).data
  codes = shown.sets["codes"].reshape(3, 10)
  sets = {"new": shown.sets["task_1"], "codes": codes[0], "all": codes.reshape(-1)}
  info = {**shown.info, "held": [1.0, 0.0, 0.0], "gone": [0.0, 0.0, 1.0]}
  request = Request(asked.subject._replace(model=multihead.marked(MODEL)), shown._replace(sets=sets, info=info))
  settings = dict(rate=1e-3, temperature=2.0, optimizer="sgd", label="label", batch_size=8)
  lesson = lwsf.lesson(steps=5, lwf=0.3, keep=0.7, blank=0.4, ewc=0.9, **settings)
  fisher, anchor = lwsf.nowhere(asked.subject.params, 3)
  fisher["head"]["bias"] = fisher["head"]["bias"].at[0, 0].set(2.0)
  anchor["head"]["bias"] = anchor["head"]["bias"] + 0.5
  lesson = lwsf.anchored(lesson, fisher, anchor)
  state = lesson.init(jax.random.key(0), request)
  moved = jax.tree.map(lambda x: 1.3 * x, state.params)  # away from theta*
  batch = lesson.batch(0, request, 0)
  _, metrics = jax.jit(lesson.step)(state._replace(params=moved), batch)
  key = jax.random.fold_in(state.key, 0)
  both = {name: np.asarray(x) for name, x in lwsf.mixed(key, batch["new"]).items()}
  assert (batch["new"]["code"] == shown.arrays["image"][codes[1][batch["new"]["label"]]]).all()
  x, half = (both["image"][..., 0].astype(np.float64)[at] for at in (slice(8), slice(8, 16)))
  u = np.asarray(jax.random.uniform(key, (8, 1, 1, 1)))[..., 0]
  pure = batch["new"]["code"][..., 0] / 255
  np.testing.assert_allclose(half, u * x + (1 - u) * pure, atol=1e-5)

  def says(params, image, task):
    return np.asarray(MODEL.apply(params, image, state=at_task(asked.subject.state, task)).logits, np.float64)

  nll = lambda z, y: -np.log(softmax(z)[np.arange(len(y)), y])
  image = both["image"][..., :1]
  expected = 2 * nll(says(moved, image, 1), both["label"]).mean()
  part = batch["codes"]
  assert set(part["image"][:, 0, 0, 1]) == {0}
  expected += 0.7 * nll(says(moved, part["image"][..., :1], 0), part["label"]).mean()
  old, now, gone = says(asked.subject.params, image, 0), says(moved, image, 0), says(moved, image, 2)
  expected += 2 * 0.3 * 4 * kl(softmax(old / 2), softmax(now / 2)).mean()
  expected += 2 * 0.4 * 4 * kl(np.full_like(gone, 0.1), softmax(gone / 2)).mean()
  expected += 0.9 * 2.0 * np.sum((np.asarray(moved["head"]["bias"][0], np.float64) - 0.5) ** 2)
  assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1)])
def test_unlearning_is_a_lesson_on_the_live_task_learned_last_held_by_the_live_ones(asked, monkeypatch, order):
  """What each lesson gets; none is run, but the parameters grow, so that anchors differ."""
  lessons, holds, anchored = [], [], lwsf.anchored

  def hold(procedure, *trees):
    holds.append(jax.device_get(trees))
    return anchored(procedure, *trees)

  def teach(procedure, seed, book, data, sets, held, gone):
    after = book.subject._replace(params=jax.tree.map(lambda x: 1.1 * x, book.subject.params))
    lessons.append((sets, held, gone, data, jax.device_get(after.params)))
    return after

  monkeypatch.setattr(lwsf, "anchored", hold)
  monkeypatch.setattr(answers, "trained", teach)
  fit(lwsf.method(MODEL, **SMALL), asked._replace(schedule=(*(f"L{i}" for i in order), "U0")))
  assert len(lessons) == len(holds) == 4
  (sets, held, gone, data, _), (fisher, anchor) = lessons[-1], holds[-1]
  assert sets["new"].tolist() == asked.data.sets[f"task_{order[-1]}"].tolist()
  assert held[0] == 0 and held[order[1]] == 1 and gone == [1, 0, 0]
  shown = set(data.arrays["task"][sets["codes"]])
  assert order[1] in shown and 0 not in shown
  size = lambda trees, task: sum(np.abs(x[task]).sum() for x in jax.tree.leaves(trees))
  assert size(fisher, 0) == 0 < min(size(fisher, 1), size(fisher, 2))
  for place, task in enumerate(order):
    before = [size(fisher, task) for fisher, _ in holds]
    assert not any(before[: place + 1]) and all(before[place + 1 : 3])  # from right after it is learned
    if task:
      got = jax.tree.map(operator.itemgetter(task), anchor)
      jax.tree.map(np.testing.assert_array_equal, got, lessons[place][-1])


def test_what_is_live_is_held_while_others_are_learned(asked):
  gentle, nothing = dict(lwf=0.1, keep=0.1, blank=1.0, ewc=10.0), dict(lwf=0.0, keep=0.0, blank=0.0, ewc=0.0)
  two = asked._replace(schedule=("L0", "L1", "L2"))
  held, loose = (matrix(fit(lwsf.method(MODEL, **some, **SMALL), two)) for some in (gentle, nothing))
  assert min(held[i, i] for i in range(3)) > 0.7
  assert held[2, 0] > loose[2, 0] + 0.05


def test_what_is_unlearned_falls_and_without_steps_it_only_is_not_held_any_more(asked):
  settings, two = dict(learn_steps=120, lwf=1.0, keep=1.0, blank=20.0, ewc=0.0), ("L0", "L1", "U0")
  after, idle = (
    matrix(fit(lwsf.method(MODEL, forget_steps=steps, **settings), asked._replace(schedule=two))) for steps in (300, 0)
  )
  assert (idle[:2] == after[:2]).all() and (idle[2] == idle[1]).all()
  assert after[2, 0] < idle[2, 0] - 0.1 and after[2, 1] > idle[2, 1] - 0.1


def test_where_no_task_is_left_there_is_nothing_to_learn_on(asked):
  a = matrix(fit(lwsf.method(MODEL, learn_steps=5, forget_steps=5), asked._replace(schedule=("L0", "U0", "L1"))))
  assert a[1, 0] == a[0, 0]


def test_what_makes_no_sense_is_refused(asked):
  for wrong in (
    dict(grain=0), dict(lwf=-1), dict(keep=-1.0), dict(blank=-1.0), dict(ewc=-1.0), dict(temperature=0),
    dict(batch_size=0), dict(forget_steps=-1), dict(attacked=-1),
  ):  # fmt: skip
    with pytest.raises(Invalid, match=f"method.{next(iter(wrong))}"):
      lwsf.method(MODEL, **wrong)
  with pytest.raises(Invalid, match="method.model"):
    fit(lwsf.method(hypernetwork.model(tasks=3)), asked)

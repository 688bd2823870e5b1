import functools

import jax
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request, Subject
from ue_jax.data import tasks
from ue_jax.forget import answers, der_plus
from ue_jax.models import hypernetwork, multihead
from ue_jax.models.model import at_task
from ue_jax.train import loop

pytest.importorskip("sklearn")
fit = functools.partial(loop.fit, mode="one")
MODEL = multihead.model(tasks=3, widths=(32,))
SMALL = dict(learn_steps=150, memory=300)


@pytest.fixture(scope="module")
def asked():
  data = tasks.data(tasks=3, train=600, test=300)
  subject = Subject(MODEL, *MODEL.init(jax.random.key(0), data.arrays["image"][:1]))
  return fit(tasks.select("L0,L1,U0,L2"), Request(subject, data))


@pytest.fixture(scope="module")
def answered(asked):
  return fit(der_plus.method(MODEL, attacked=50, recovery=100, **SMALL), asked)


def matrix(subject):
  return np.stack([subject.history[f"task_{i}_accuracy"] for i in range(3)], 1)


def test_tasks_are_learned_and_kept_and_one_that_only_loses_its_memory_is_not_forgotten(answered):
  a = matrix(answered)
  assert a.shape == (4, 3) and answered.history["step"].tolist() == [1, 2, 3, 4]
  assert min(a[0, 0], a[1, 1], a[3, 2]) > 0.85 and a[:2, 2].max() < 0.4
  assert a[3, 1] > 0.85 and a[2, 0] == a[1, 0] > 0.85
  assert np.isfinite(answered.history["task_0_mia"]).tolist() == [False, False, True, False]
  again = answered.history["task_0_recovery"]
  assert again.shape == (4,) and again.min() > 0.75 and "task_1_recovery" not in answered.history


def test_without_the_memory_what_was_learned_is_lost(asked):
  longer = asked._replace(schedule=("L0", "L1", "L2"))
  held, lost = (
    matrix(fit(der_plus.method(MODEL, **SMALL, **rest), longer)) for rest in ({}, dict(alpha=0.0, beta=0.0))
  )
  assert lost[2, 0] < held[2, 0] - 0.1 and lost[2, 2] > 0.85, (lost, held)


def test_the_same_key_gives_the_same_bits_and_another_does_not(asked, answered):
  again = fit(der_plus.method(MODEL, attacked=50, **SMALL), asked)
  assert tree.fingerprint(again.params) == tree.fingerprint(answered.params)
  other = fit(der_plus.method(MODEL, learn_steps=3), asked, seed=1)
  assert tree.fingerprint(other.params) != tree.fingerprint(answered.params)


def book_of(asked, live):
  """What stands before a request: the tasks `live` have a memory of 20 samples each."""
  shown, subject = answers.marked(asked), asked.subject
  book = answers.Book(subject, (), (), {}, np.zeros((shown.data.n, 10), np.float32), subject.params)
  for task in live:
    book = der_plus.remembering(book, shown.data, task, 7 + task, 60)
  return book, shown.data


def logits(params, task, image):
  return np.asarray(MODEL.apply(params, image, state=at_task(MODEL.init(jax.random.key(0), image)[1], task)).logits)


def test_what_is_kept_are_samples_of_the_task_with_what_the_network_said_of_them(asked):
  book, data = book_of(asked, (0, 2))
  assert {t: len(rows) for t, rows in book.kept.items()} == {0: 20, 2: 20}
  assert np.isin(book.kept[2], data.sets["task_2"]).all() and len(np.unique(book.kept[2])) == 20
  said = logits(asked.subject.params, 2, asked.data.arrays["image"][book.kept[2]])
  np.testing.assert_allclose(book.target[book.kept[2]], said, rtol=1e-5, atol=1e-6)
  less = der_plus.dropped(book, 2)
  assert set(less.kept) == {0} and not less.target[book.kept[2]].any() and less.target[book.kept[0]].any()


@pytest.mark.parametrize("memory", [True, False])
def test_a_step_is_that_of_the_formula_and_without_memory_it_is_plain_training(asked, memory):
  book, data = book_of(asked, (0, 2))
  moved = jax.tree.map(lambda x: 1.3 * x, asked.subject.params)
  sets = {"new": data.sets["task_1"]} | ({"kept": np.concatenate(list(book.kept.values()))} if memory else {})
  data = data._replace(arrays={**data.arrays, "target": book.target}, sets=sets)
  request = Request(Subject(multihead.marked(MODEL), moved, asked.subject.state), data)
  learning = der_plus.replay(alpha=0.3, beta=0.7, batch_size=16)
  batch = learning.batch(0, request, 0)
  _, metrics = jax.jit(learning.step)(learning.init(jax.random.key(0), request), batch)

  def says(part):  # float64
    z = np.concatenate([logits(moved, x[0, 0, -1], x[None, ..., :-1]) for x in part["image"]]).astype(np.float64)
    return z, np.log(np.exp(z).sum(-1)) - z[np.arange(len(z)), part["label"]]

  marks = {name: set(batch[name]["image"][:, 0, 0, -1]) for name in batch}
  expected = says(batch["new"])[1].mean()
  if memory:
    assert marks == {"new": {1}, "dark": {0, 2}, "replay": {0, 2}}
    expected += 0.3 * np.mean(np.sum((says(batch["dark"])[0] - batch["dark"]["target"]) ** 2, -1))
    expected += 0.7 * says(batch["replay"])[1].mean()
  assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-4)


def test_a_method_inside_sees_each_picture_under_the_head_of_its_task(asked):
  book, data = book_of(asked, (1, 2))
  request = der_plus.among(book, data, 0, data.sets["task_0"])
  sets, arrays = request.data.sets, asked.data.arrays
  assert set(arrays["task"][sets["forget"]]) == {0} and set(arrays["task"][sets["retain"]]) == {1, 2}
  assert len(sets["retain"]) == 40 and set(arrays["task"][sets["retain_test"]]) == {1, 2}
  for name in ("forget", "retain"):
    rows = sets[name][-30:]
    image = request.data.arrays["image"][rows]
    found = request.subject.model.apply(request.subject.params, image, state=request.subject.state).logits
    one = [logits(book.subject.params, t, x[None]) for t, x in zip(arrays["task"][rows], arrays["image"][rows])]
    np.testing.assert_allclose(found, np.concatenate(one), rtol=1e-5, atol=1e-5)
  bound = der_plus.alone(book, data, 2, book.kept[2])
  assert set(bound.data.sets) == {"forget", "forget_test"} and int(bound.subject.state["task"]) == 2
  np.testing.assert_array_equal(bound.data.arrays["image"], arrays["image"])


def test_a_method_inside_forgets_the_task_and_little_else(asked, answered):
  by = dict(name="forget.salun", steps=300, rate=5e-3)
  after = matrix(fit(der_plus.method(MODEL, by=by, **SMALL), asked))
  assert (after[:2] == matrix(answered)[:2]).all(), "before the request nothing is another"
  assert after[2, 0] < 0.4 and after[2, 1] > 0.8
  by = dict(name="forget.pseudo_label", steps=200, rate=3e-3)
  alone = fit(der_plus.method(MODEL, by=by, bound=True, **SMALL), asked)
  assert matrix(alone)[2, 0] < 0.4


def test_only_the_memory_may_be_given_and_what_a_method_lacks_it_says(asked):
  seen = []
  one = asked._replace(schedule=("L0", "U0", "L1"))
  with pytest.raises(Invalid, match="retain"):
    fit(der_plus.method(MODEL, learn_steps=2, by=dict(name="forget.salun", steps=2)), one)
  for given, most in (("task", 600), ("memory", 100)):
    method = der_plus.method(MODEL, learn_steps=2, memory=300, given=given, by=dict(name="forget.pseudo_label"))
    kept = loop.fit

    def spy(procedure, request, kept=kept, **more):
      seen.append(len(request.data.sets.get("forget", ())))
      return kept(procedure, request, **more)

    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(loop, "fit", spy)
      kept(method, one)
    assert max(seen) == most
    seen.clear()


def test_what_makes_no_sense_is_refused(asked):
  for wrong in (
    dict(memory=0), dict(given="all"), dict(attacked=-5), dict(recovery=0.5), dict(batch_size=0), dict(alpha=-1.0),
    dict(beta=float("nan")), dict(learn_steps=-1),
  ):  # fmt: skip
    with pytest.raises(Invalid, match=f"method.{next(iter(wrong))}"):
      der_plus.method(MODEL, **wrong)
  for by in (dict(steps=3), dict(name="forget.retrain"), dict(name="forget.uncle"), dict(name="forget.clpu")):
    with pytest.raises(Invalid, match="method.by.name"):
      der_plus.method(MODEL, by=by)
  for by in (dict(name="forget.lipschitz"), dict(name="forget.boundary_shrink"), dict(name="forget.scar")):
    der_plus.method(MODEL, by=by, bound=True)
    with pytest.raises(Invalid, match="method.bound"):
      der_plus.method(MODEL, by=by)
  der_plus.method(MODEL, by=dict(name="forget.scar", source="retain"))
  with pytest.raises(Invalid, match="method.memory = 2"):
    fit(der_plus.method(MODEL, memory=2, learn_steps=1), asked)
  with pytest.raises(Invalid, match="request.schedule"):
    fit(der_plus.method(MODEL), asked._replace(schedule=()))
  with pytest.raises(Invalid, match="method.model"):
    fit(der_plus.method(hypernetwork.model(tasks=3)), asked)

import functools

import jax
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request, Subject
from ue_jax.data import tasks
from ue_jax.forget import clpu, der_plus
from ue_jax.models import apart, hypernetwork, multihead
from ue_jax.models.model import at_task
from ue_jax.train import loop

pytest.importorskip("sklearn")
fit = functools.partial(loop.fit, mode="one")
MODEL = apart.model(tasks=3, widths=(16,))
METHOD = clpu.method(MODEL, learn_steps=100, memory=300)


@pytest.fixture(scope="module")
def asked():
  data = tasks.data(tasks=3, train=300, test=200)
  subject = Subject(MODEL, *MODEL.init(jax.random.key(0), data.arrays["image"][:1]))
  return Request(subject, data, schedule=("L0", "L1", "U0", "L2"))


@pytest.fixture(scope="module")
def answered(asked):
  return fit(METHOD, asked)


def test_after_unlearning_not_a_bit_is_left_of_the_task(asked, answered):
  never = fit(METHOD, asked._replace(schedule=("L1", "L2")))
  for one in ("params", "state"):
    assert tree.fingerprint(getattr(answered, one)) == tree.fingerprint(getattr(never, one))
  image = asked.data.arrays["image"][asked.data.sets["test"]]
  for task in range(3):
    said = [np.asarray(MODEL.apply(s.params, image, state=at_task(s.state, task)).logits) for s in (answered, never)]
    np.testing.assert_array_equal(*said)
  for name in ("accuracy", "uniformity"):
    for i in range(3):
      assert answered.history[f"task_{i}_{name}"][-1] == never.history[f"task_{i}_{name}"][-1]


def test_until_then_it_was_known_and_the_others_do_not_move(answered):
  a = np.stack([answered.history[f"task_{i}_accuracy"] for i in range(3)], 1)
  assert a[0, 0] == a[1, 0] > 0.75 and a[2, 0] < 0.3 and a[3, 1] > 0.75 and a[3, 2] > 0.75
  assert a[1, 1] == a[2, 1]


def test_what_the_schedule_unlearns_is_temporary_and_all_else_is_learned_as_by_der_plus(asked, answered):
  assert clpu.temporary(asked) == {0}
  held = fit(METHOD, asked._replace(schedule=("L0", "L1")))
  assert not held.state["apart"].any() and not answered.state["apart"].any()
  before = fit(METHOD, asked._replace(schedule=("L0", "L1", "U1")))
  assert tree.fingerprint(before.params["own"]) == tree.fingerprint(held.params["own"])
  assert tree.fingerprint(before.params["main"]) != tree.fingerprint(held.params["main"]), "task 1 was in the main one"
  like = fit(der_plus.method(multihead.model(tasks=3, widths=(16,)), learn_steps=100, memory=300), asked)
  assert jax.tree.map(np.shape, like.params) == jax.tree.map(np.shape, held.params["main"])


def test_what_is_temporary_is_learned_without_the_memory_of_others(asked, monkeypatch):
  def learned(*schedule):
    """The network of task 0 as it was put in its place."""
    seen, placed = [], clpu.placed

    def spy(book, task, params, apart):
      seen.extend([(task, params)] if apart else [])
      return placed(book, task, params, apart)

    with monkeypatch.context() as patch:
      patch.setattr(clpu, "placed", spy)
      found = fit(METHOD, asked._replace(schedule=schedule))
    ((task, params),) = seen
    assert task == 0
    return params, found.history["task_0_uniformity"][schedule.index("L0")]

  (beside, one), (alone, two) = learned("L1", "L0", "U0"), learned("L0", "U0")
  assert tree.fingerprint(beside) == tree.fingerprint(alone) and one == two


def test_another_network_is_refused(asked):
  for model in (multihead.model(tasks=3), apart.model(tasks=3, network="models.hypernetwork", widths=(8,))):
    with pytest.raises(Invalid, match="method.model"):
      fit(clpu.method(model), asked)
  with pytest.raises(Invalid, match="method.model"):
    fit(clpu.method(hypernetwork.model(tasks=3)), asked)
  with pytest.raises(Invalid, match="method.memory"):
    clpu.method(MODEL, memory=0)

import jax
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.data import tasks
from ue_jax.forget import recovery
from ue_jax.models import apart, hypernetwork, multihead
from ue_jax.models.model import at_task
from ue_jax.train import loop, supervised

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def made():
  """A hypernetwork that knows task 0 only."""
  data = tasks.data(tasks=2, train=300, test=200)
  model = hypernetwork.model(tasks=2, widths=(32,))
  one = data._replace(sets={"train": data.sets["task_0"], "test": data.sets["task_0_test"]})
  return data, loop.fit(supervised.train(model, steps=200, batch_size=64, rate=2e-3), one, mode="one")


def test_what_the_network_still_has_comes_back_and_what_it_never_had_does_not(made):
  data, subject = made
  found = [
    float(recovery.accuracy(*subject[:3], data, task, key=jax.random.key(3), steps=300)) for task in (0, 1)
  ]
  assert found[0] > 0.75 and found[1] < found[0] - 0.2


def test_nothing_but_the_code_is_trained(made):
  data, subject = made
  rows = data.sets["task_1"][np.arange(5 * 16).reshape(5, 16)]
  part = {"image": data.arrays["image"][rows], "label": data.arrays["label"][rows]}
  state = at_task(subject.state, 1)
  after = recovery.new_code(subject.model, 5, 0.1, subject.params, state, part, np.zeros(16, np.float32))
  same = lambda params: tree.fingerprint({**params, "code": params["code"][:1]})
  assert same(after) == same(subject.params)
  assert 0 < np.abs(after["code"][1]).max() <= 0.51  # five steps of 0.1 from zero


def test_a_new_head_finds_what_the_trunk_still_has_and_nothing_else_is_changed(made):
  data, _ = made
  model = multihead.model(tasks=2, widths=(32,))
  one = data._replace(sets={"train": data.sets["task_0"], "test": data.sets["task_0_test"]})
  subject = loop.fit(supervised.train(model, steps=200, batch_size=64, rate=2e-3), one, mode="one")
  gone = recovery.placed(subject.params, 0, recovery.drawn(jax.random.key(0), subject.params))
  assert not gone["head"]["kernel"][0].any()
  other = lambda params: tree.fingerprint({**params, "head": jax.tree.map(lambda x: x[1], params["head"])})
  assert other(gone) == other(subject.params)
  assert float(recovery.accuracy(model, gone, subject.state, data, 0, key=jax.random.key(3), steps=200)) > 0.75


@pytest.mark.parametrize("alone", [True, False])
def test_the_head_that_answers_is_the_one_that_is_trained(made, alone):
  data, _ = made
  model = apart.model(tasks=2, widths=(32,))
  params, state = model.init(jax.random.key(0), data.arrays["image"][:1])
  state = {**state, "apart": state["apart"].at[1].set(alone)}
  image = data.arrays["image"][:5]
  said = lambda params: model.apply(params, image, state=at_task(state, 1)).logits
  assert not said(recovery.placed(params, 1, recovery.drawn(jax.random.key(0), params))).any()
  changed = recovery.placed(params, 1, recovery.drawn(jax.random.key(0), params))
  assert (model.apply(changed, image, state=at_task(state, 0)).logits == model.apply(
    params, image, state=at_task(state, 0)
  ).logits).all()

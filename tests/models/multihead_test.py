import jax
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import apart, mlp, multihead
from ue_jax.models.model import at_task

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1)).astype(np.uint8)
TASKS = np.array([0, 2, 1, 1, 0, 2], np.int32)


@pytest.fixture(scope="module")
def made():
  model = multihead.model(tasks=3, widths=(12,))
  return model, *model.init(jax.random.key(0), IMAGES[:1])


def test_a_task_is_the_shared_trunk_under_its_own_head(made):
  model, params, state = made
  trunk = mlp.model(10, widths=(12,))
  for task in range(3):
    alone = {**params, "head": jax.tree.map(lambda x, t=task: x[t], params["head"])}
    out = model.apply(params, IMAGES, state=at_task(state, task))
    np.testing.assert_allclose(out.logits, trunk.apply(alone, IMAGES).logits, rtol=1e-5, atol=1e-6)
    assert tree.fingerprint(out.state) == tree.fingerprint(at_task(state, task))
  kernels = np.asarray(params["head"]["kernel"])
  assert kernels.shape == (3, 12, 10) and not np.allclose(kernels[0], kernels[1])


def test_pictures_of_several_tasks_are_each_answered_by_their_head_also_where_they_bear_its_mark(made):
  model, params, state = made
  alone = np.stack([model.apply(params, IMAGES, state=at_task(state, t)).logits for t in range(3)])[TASKS, np.arange(6)]
  mixed = model.apply(params, IMAGES, state=at_task(state, TASKS)).logits
  np.testing.assert_allclose(mixed, alone, rtol=1e-5, atol=1e-6)
  marked, image = multihead.marked(model), multihead.mark(IMAGES, TASKS)
  for x in (image, np.float32(image) / np.float32(255)):
    out = marked.apply(params, x, state=state)
    np.testing.assert_allclose(out.logits, alone, rtol=1e-5, atol=1e-6)
    assert tree.fingerprint(out.state) == tree.fingerprint(state)
  assert tree.fingerprint(marked.init(jax.random.key(0), image)) == tree.fingerprint((params, state))
  assert multihead.marked(model) is marked, "compiled functions are found again by it"


def test_a_trunk_with_batch_statistics_keeps_none_of_them():
  model = multihead.model(tasks=2, trunk="models.resnet", depth=20, width=4, stem="cifar")
  params, state = model.init(jax.random.key(0), IMAGES[:1])
  apply = jax.jit(lambda state: model.apply(params, IMAGES, state=state, train=True))
  seen, shifted = apply(state), {**state, "trunk": jax.tree.map(lambda x: x + 1.0, state["trunk"])}
  assert model.convolutional and tree.fingerprint(seen.state) == tree.fingerprint(state)
  np.testing.assert_array_equal(seen.logits, apply(shifted).logits)


def test_a_task_apart_answers_by_its_own_network_and_the_others_by_the_main_one():
  model, inner = apart.model(tasks=3, widths=(12,)), multihead.model(tasks=3, widths=(12,))
  params, state = model.init(jax.random.key(0), IMAGES[:1])
  state = {**state, "apart": state["apart"].at[1].set(True)}
  for task in range(3):
    chosen = jax.tree.map(lambda x: x[1], params["own"]) if task == 1 else params["main"]
    expected = inner.apply(chosen, IMAGES, state=at_task(state["inner"], task)).logits
    np.testing.assert_allclose(model.apply(params, IMAGES, state=at_task(state, task)).logits, expected, rtol=1e-6)
  alone = model.apply({"main": params["main"]}, IMAGES, state=at_task(state, TASKS)).logits
  np.testing.assert_allclose(alone, inner.apply(params["main"], IMAGES, state=at_task(state, TASKS)).logits, rtol=1e-6)


def test_what_makes_no_sense_is_refused():
  for wrong, field in ((dict(tasks=0), "tasks"), (dict(tasks=256), "tasks"), (dict(colour=3), "colour")):
    with pytest.raises(Invalid, match=f"model.{field}"):
      multihead.model(**wrong)
  with pytest.raises(Invalid, match="model.trunk"):
    multihead.model(trunk="models.multihead").init(jax.random.key(0), IMAGES[:1])
  with pytest.raises(Invalid, match="model.tasks"):
    apart.model(network="models.mlp")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import hypernetwork, mlp
from ue_jax.models.model import at_task

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def made():
  model = hypernetwork.model(tasks=3, widths=(32,))
  return model, *model.init(jax.random.key(0), IMAGES[:1])


def test_the_weights_are_those_of_the_formula(made):
  _, params, state = made
  found = np.asarray(hypernetwork.generate(params, state, 1)).reshape(16, -1)
  for chunk in (0, 15):
    x = np.concatenate([params["code"][1], state["chunks"][chunk]]).astype(np.float64)
    for layer in ("body_0", "body_1"):
      x = np.maximum(x @ params[layer]["kernel"] + params[layer]["bias"], 0)
    expected = x @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(found[chunk], expected, rtol=1e-4, atol=1e-5)


def test_the_target_runs_on_the_generated_weights(made):
  model, params, state = made
  target = mlp.model(10, widths=(32,))
  like, _ = target.init(jax.random.key(0), IMAGES[:1])
  seen = []
  out = model.apply(params, IMAGES, state=at_task(state, 2), taps={"weights": lambda w: seen.append(w) or w})
  flat = np.asarray(seen[0])
  assert flat.shape == (tree.size(like),) == (2410,)
  np.testing.assert_array_equal(flat, np.asarray(hypernetwork.generate(params, state, 2))[:2410])
  leaves, start = [], 0
  for x in jax.tree.leaves(like):
    leaves.append(jnp.asarray(flat[start : start + x.size].reshape(x.shape)))
    start += x.size
  expected = target.apply(jax.tree.unflatten(jax.tree.structure(like), leaves), IMAGES)
  np.testing.assert_allclose(out.logits, expected.logits, rtol=1e-5, atol=1e-6)


def test_the_state_says_which_task_and_nothing_trains_its_codes(made):
  model, params, state = made
  ask = jax.jit(lambda task: model.apply(params, IMAGES, state=at_task(state, task)).logits)
  logits = [np.asarray(ask(t)) for t in range(3)]
  assert ask._cache_size() == 1
  assert not np.allclose(logits[0], logits[1]) and not np.allclose(logits[1], logits[2])
  np.testing.assert_allclose(logits[0], jax.jit(model.apply)(params, IMAGES, state=state).logits, rtol=1e-5, atol=1e-6)
  assert "chunks" not in params
  trained = model.apply(params, IMAGES, state=state, train=True).state
  assert tree.fingerprint(trained) == tree.fingerprint(state)


def test_it_starts_with_weights_of_a_variance_that_keeps_signals():
  model = hypernetwork.model(tasks=40, widths=(32,))
  params, state = model.init(jax.random.key(1), IMAGES[:1])
  made = jax.vmap(hypernetwork.generate, (None, None, 0))(params, state, jnp.arange(40))
  assert 0.5 / 32 < float(jnp.var(made)) < 4 / 32  # inputs and codes of variance 1: about 1 to 2 over the fan-in


def test_another_target_with_batch_statistics_leaks_nothing():
  images = np.repeat(np.repeat(IMAGES, 4, 1), 4, 2)
  model = hypernetwork.model(tasks=2, chunks=64, target="models.resnet", depth=18, width=4, stem="cifar")
  params, state = model.init(jax.random.key(0), images[:1])
  apply = jax.jit(model.apply)
  out = apply(params, images, state=state)
  assert model.convolutional and out.logits.shape == (6, 10) and np.isfinite(out.logits).all()
  shifted = jax.tree.map(lambda x: x + 1.0, state["target"])
  other = apply(params, images, state={**state, "target": shifted})
  np.testing.assert_array_equal(out.logits, other.logits)


def test_what_makes_no_sense_is_refused(made):
  model, params, _ = made
  with pytest.raises(Invalid, match="tasks"):
    hypernetwork.model(tasks=0)
  with pytest.raises(Invalid, match="model.colour"):
    hypernetwork.model(colour=3)
  with pytest.raises(Invalid, match="state"):
    model.apply(params, IMAGES)
  with pytest.raises(Invalid, match="models.hypernetwork"):
    at_task({}, 1)

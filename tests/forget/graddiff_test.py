import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import utility
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.forget import graddiff
from ue_jax.models.model import Model, Out
from ue_jax.train import loop


def hand_made(forget=(0.5, 0.25), retain=(0.8, 0.1, 0.4)):
  """Pictures without pixels: sample i has probability p_i for label 0, straight from the parameters."""
  p = np.array([*forget, *retain], np.float32)
  logits = jnp.asarray(np.log(np.stack([p, 1 - p], axis=-1)))
  image = np.arange(len(p), dtype=np.uint8).reshape(-1, 1, 1, 1)
  model = Model(
    lambda key, image: (logits, {}),
    lambda params, image, *, state={}, **_: Out(params[image[:, 0, 0, 0].astype(jnp.int32)], None, state),
  )
  sets = {"forget": np.arange(len(forget)), "retain": np.arange(len(forget), len(p))}
  data = Data({"image": image, "label": np.zeros(len(p), np.int32), "index": np.arange(len(p), dtype=np.int32)}, sets)
  return Request(Subject(model, logits), data)


def first_step(method, request):
  state = method.init(jax.random.key(0), request)
  return state, *jax.jit(method.step)(state, method.batch(0, request, 0))


def test_the_loss_is_minus_forget_nll_plus_retain_nll():
  gamma, alpha = 0.5, 2.0
  method = graddiff.method(gamma=gamma, alpha=alpha, rate=1.0, steps=1, optimizer="sgd")
  _, _, metrics = first_step(method, hand_made())
  nll_f, nll_r = -np.mean(np.log([0.5, 0.25])), -np.mean(np.log([0.8, 0.1, 0.4]))
  np.testing.assert_allclose(metrics["loss"], -gamma * nll_f + alpha * nll_r, rtol=1e-5)
  np.testing.assert_allclose(metrics["forget"].total / metrics["forget"].weight, nll_f, rtol=1e-5)


def test_the_step_is_the_analytic_gradient():
  request = hand_made()
  state, after, _ = first_step(graddiff.method(gamma=1.0, alpha=3.0, rate=1.0, steps=1, optimizer="sgd"), request)
  p = np.exp(np.asarray(state.params))
  away = p - np.array([[1.0, 0.0]])  # gradient of the nll of label 0 with respect to the logits
  expected = away * np.array([-1 / 2, -1 / 2, 3 / 3, 3 / 3, 3 / 3])[:, None]
  np.testing.assert_allclose(np.asarray(state.params - after.params), expected, atol=1e-6)


def test_it_forgets_the_persons_asked_for_and_keeps_the_others(tokens):
  before = utility.scores(tokens, ("forget", "retain"))
  method = graddiff.method(rate=4e-3, steps=40, forget_batch=16, retain_batch=20)
  changed = loop.fit(method, tokens, mode="one", steps_per_call=20)
  after = utility.scores(tokens._replace(subject=changed), ("forget", "retain"))
  assert before["forget/ex"].value > 0.95  # doing nothing would stay there
  assert after["forget/ex"].value <= 0.15 and after["retain/ex"].value >= 0.8


def test_without_a_retain_set_it_says_so(tokens):
  bare = tokens._replace(data=Data(tokens.data.arrays, {"forget": tokens.data.sets["forget"]}))
  with pytest.raises(Invalid, match="retain"):
    graddiff.method().init(jax.random.key(0), bare)
  graddiff.method(retain="none").init(jax.random.key(0), bare)

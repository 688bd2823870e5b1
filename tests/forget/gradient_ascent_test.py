import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.audit import utility
from ue_jax.core import tree
from ue_jax.forget import gradient_ascent
from ue_jax.train import loop, losses


def test_it_lowers_the_forget_accuracy_of_a_classifier(pictures):
  before = utility.scores(pictures, ("forget", "test"))
  changed = loop.fit(gradient_ascent.method(rate=1e-2, steps=20, forget_batch=30), pictures, mode="one")
  after = utility.scores(pictures._replace(subject=changed), ("forget", "test"))
  assert before["forget/accuracy"].value > 0.9  # doing nothing would stay there
  assert after["forget/accuracy"].value < 0.1
  assert after["forget/nll"].value > before["forget/nll"].value + 1


def test_one_step_climbs_the_mean_nll_of_the_forget_set(pictures):
  data, subject = pictures.data, pictures.subject
  rows = data.sets["forget"]

  def nll(params):
    logits = subject.model.apply(params, data.arrays["image"][rows], state=subject.state).logits
    return jnp.mean(losses.cross_entropy(logits, data.arrays["label"][rows]))

  method = gradient_ascent.method(rate=0.5, steps=1, forget_batch=len(rows), optimizer="sgd")
  state = method.init(jax.random.key(0), pictures)
  after, metrics = jax.jit(method.step)(state, method.batch(0, pictures, 0))
  step = jax.tree.map(jnp.subtract, after.params, state.params)
  before, slope = jax.jit(jax.value_and_grad(nll))(subject.params)
  expected = jax.tree.map(lambda g: jnp.float32(0.5) * g, slope)
  assert float(tree.norm(jax.tree.map(jnp.subtract, step, expected)) / tree.norm(expected)) < 1e-4
  np.testing.assert_allclose(metrics["loss"], -before, rtol=1e-5)


def test_on_a_language_model_it_destroys_what_should_stay(tokens):
  method = gradient_ascent.method(rate=4e-3, steps=40, forget_batch=16)
  changed = loop.fit(method, tokens, mode="one", steps_per_call=20)
  scores = utility.scores(tokens._replace(subject=changed), ("forget", "retain"))
  assert scores["forget/p"].value < 0.15 and scores["retain/p"].value < 0.3


def test_it_never_draws_from_the_retain_set(tokens):
  assert set(gradient_ascent.method().batch(0, tokens, 0)) == {"forget"}


def test_a_clip_shortens_the_step_and_keeps_its_direction(pictures):
  steps = []
  for clip in (0.0, 1e-3):
    method = gradient_ascent.method(rate=1.0, clip=clip, forget_batch=30, optimizer="sgd")
    state = method.init(jax.random.key(0), pictures)
    after, _ = jax.jit(method.step)(state, method.batch(0, pictures, 0))
    steps.append(jax.tree.map(jnp.subtract, after.params, state.params))
  free, short = map(float, map(tree.norm, steps))
  np.testing.assert_allclose(short, 1e-3, rtol=1e-2)
  assert free > 2e-3
  np.testing.assert_allclose(float(tree.dot(*steps)), free * short, rtol=1e-2)

"""Soft prompts: they stand where tokens stood, only they move, and they help those who know."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import soft_prompt
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request
from ue_jax.models.model import Model
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one", steps_per_call=25)


def test_a_prompt_made_of_embeddings_is_the_text_of_those_tokens(request_tokens):
  subject, ids = request_tokens.subject, request_tokens.data.arrays["ids"][:3]
  words = np.array([7, 30, 12], np.int32)
  prompt = soft_prompt.embeddings(subject)[words][None]
  given = jax.jit(functools.partial(soft_prompt.prompted, subject.model.apply))(
    subject.params, subject.state, ids, prompt
  )
  text = jax.jit(subject.model.apply)(subject.params, np.concatenate([np.tile(words, (3, 1)), ids], axis=1))
  np.testing.assert_array_equal(given.logits, text.logits[:, 3:])
  np.testing.assert_array_equal(given.features, text.features[:, 3:])


def test_embeddings_are_the_table(request_tokens):
  table = request_tokens.subject.params["embed"]["embedding"]
  np.testing.assert_array_equal(soft_prompt.embeddings(request_tokens.subject), table)
  assert float(soft_prompt.mean_norm(request_tokens.subject)) == pytest.approx(np.linalg.norm(table, axis=1).mean())


def test_only_vectors_that_are_too_long_are_shortened_and_nothing_has_a_slope_of_nan():
  prompt = jnp.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
  np.testing.assert_allclose(soft_prompt.bounded(prompt, 1.0), [[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]], rtol=1e-6)
  slope = jax.jit(jax.grad(lambda p: jnp.sum(soft_prompt.bounded(p, 1.0) * jnp.array([1.0, 2.0]))))(prompt)
  np.testing.assert_allclose(slope[1:], [[1, 2], [1, 2]], rtol=1e-6)
  assert float(slope[0] @ prompt[0]) == pytest.approx(0, abs=1e-5)  # along a shortened vector nothing changes


def test_the_prompt_moves_and_no_bit_of_the_weights(request_tokens):
  method = soft_prompt.measure(length=2, steps=3)
  state = method.init(jax.random.key(0), request_tokens)
  first = state.params["subject"]
  assert first.shape == (1, 2, 32) and not np.allclose(first, state.params["reference"])
  step = jax.jit(method.step)
  losses = []
  for t in range(3):
    state, metrics = step(state, method.batch(0, request_tokens, t))
    losses.append(float(metrics["loss"]))
  assert losses[-1] < losses[0] and not np.array_equal(first, state.params["subject"])
  for name, one in (("subject", request_tokens.subject), ("reference", request_tokens.reference)):
    assert tree.fingerprint(state.frozen[name]["params"]) == tree.fingerprint(one.params)


def test_one_prompt_a_question_makes_a_stranger_answer_and_one_for_all_does_not(request_tokens):
  """Why an individual prompt proves nothing: it carries the answer."""
  stranger = Request(request_tokens.reference, request_tokens.data)
  alone = fit(soft_prompt.measure(length=4, each=True, steps=75, rate=5e-2, chunk=7), stranger)
  shared = fit(soft_prompt.measure(length=4, steps=50, rate=1e-2), stranger)
  assert alone["forget_shown/ex"].value >= 0.9 and alone["forget_shown/ex"].n == 16
  assert shared["forget_held/ex"].value <= 0.4
  assert shared["forget_held/ex"].better == "low" and set(shared) >= {"forget_shown/p", "forget_held_unprompted/nll"}


def locked(subject):
  """A model that mumbles unless the first vector has a component along `u`: there is a key to be found."""
  u = jnp.ones(32) / np.sqrt(32)

  def apply(params, ids, *, state={}, taps={}, **more):
    first = []

    def look(x):
      x = taps["embed"](x) if "embed" in taps else x
      first.append(x[:, 0] @ u)
      return x

    out = subject.model.apply(params, ids, state=state, taps={"embed": look})
    return out._replace(logits=out.logits * jax.nn.sigmoid(4 * (first[0] - 1.5))[:, None, None])

  return subject._replace(model=Model(subject.model.init, apply))


def test_who_only_keeps_it_back_says_it_of_held_persons_behind_a_prompt_trained_on_others(request_tokens):
  """The positive control, against the same attack on the model that never knew them."""
  asked = Request(locked(request_tokens.subject), request_tokens.data, locked(request_tokens.reference))
  found = fit(soft_prompt.measure(length=1, steps=50, rate=2e-2, longest=30.0), asked)
  assert found["forget_held_unprompted/p"].value < 0.2
  assert found["forget_held/p"].value > 0.9 and found["forget_held/ex"].better == "near"
  assert found["forget_held/p"].target < 0.5  # of the reference, under a prompt of its own


def test_without_steps_the_prompt_stays_at_the_mean_embedding(request_tokens):
  method = soft_prompt.measure(steps=0)
  state = method.init(jax.random.key(0), request_tokens)
  middle = soft_prompt.embeddings(request_tokens.subject).mean(0)
  assert float(jnp.abs(state.params["subject"] - middle).max()) < 6 * soft_prompt.SPREAD


def test_padding_changes_no_step(request_tokens):
  method = soft_prompt.measure(length=2, steps=1, optimizer="sgd", rate=1.0)
  batch = method.batch(0, request_tokens, 0)
  longer = {name: np.concatenate([x, x[:3]]) for name, x in batch.items()}
  longer["mask"][-3:] = 0
  state = method.init(jax.random.key(0), request_tokens)
  a, b = (jax.jit(method.step)(state, one)[0].params for one in (batch, longer))
  assert float(tree.norm(jax.tree.map(jnp.subtract, a, b))) < 1e-5 * float(tree.norm(a))


def test_what_it_cannot_do_is_refused(request_tokens, request_pictures):
  with pytest.raises(Invalid, match="token sequences"):
    soft_prompt.measure().init(jax.random.key(0), request_pictures)
  with pytest.raises(Invalid, match="measure.length = 0"):
    soft_prompt.measure(length=0)
  with pytest.raises(Invalid, match="attack.share"):
    soft_prompt.parted(request_tokens.data, share=1.0)

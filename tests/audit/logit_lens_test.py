"""The lens: after the last block it is the model, before it it is final norm and head, and it sees what is hidden."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import inside, logit_lens, utility
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.models import transformer
from ue_jax.train import language, loop


def fit(procedure, request):
  return loop.fit(procedure, request, mode="one")


@pytest.fixture(scope="module")
def deep(request_tokens):
  """A trained decoder of three blocks, with an untrained reference."""
  data = request_tokens.data
  model = transformer.model(len(data.info["vocabulary"]), width=32, depth=3, heads=2, hidden=32, tied=True)
  subject = loop.fit(language.train(model, steps=100, batch_size=40, rate=1e-2), data, mode="one", steps_per_call=50)
  params, state = model.init(jax.random.key(1), data.arrays["ids"][:1])
  return Request(subject, data, reference=Subject(model, params, state))


def test_after_the_last_block_the_lens_is_the_model_bit_for_bit(deep):
  subject, ids = deep.subject, deep.data.arrays["ids"][deep.data.sets["forget"]]

  @jax.jit
  def both(params, ids):
    (value,) = inside.values(subject.model.apply, params, {}, ids, ["block_2/residual"])
    return logit_lens.ended(subject.model.apply, params, {}, ids, value, 3), subject.model.apply(params, ids).logits

  seen, said = both(subject.params, ids)
  np.testing.assert_array_equal(seen, said)
  _, at, answer = inside.prompts(deep.data, deep.data.sets["forget"])
  logits = np.asarray(said, np.float64)[np.arange(len(ids)), at]
  right = logits[np.arange(len(ids)), answer][:, None]
  found = logit_lens.read(subject, deep.data, "forget", chunk=5)
  np.testing.assert_allclose(found.log_p[-1], right[:, 0] - np.log(np.exp(logits).sum(1)), atol=1e-5)
  np.testing.assert_array_equal(found.rank[-1], (logits >= right).sum(1))


def test_before_it_the_lens_is_the_final_norm_and_the_head(deep):
  """Against numpy in float64: the norm's own scale, then the transposed embedding; without the norm it is another."""
  subject, rows = deep.subject, deep.data.sets["forget"]
  _, at, answer = inside.prompts(deep.data, rows)
  h = inside.last(subject, deep.data, rows, ["block_0/residual"])[0].astype(np.float64)
  normed = h / np.sqrt((h**2).mean(1, keepdims=True) + 1e-6) * np.asarray(subject.params["norm"]["scale"], np.float64)
  head = np.asarray(subject.params["embed"]["embedding"], np.float64).T
  log_p = lambda x: (x @ head)[np.arange(len(h)), answer] - np.log(np.exp(x @ head).sum(1))
  found = logit_lens.read(subject, deep.data, "forget").log_p[0]
  np.testing.assert_allclose(found, log_p(normed), atol=1e-4)
  assert np.abs(found - log_p(h)).max() > 0.1


def test_the_parts_of_a_block_add_up_to_its_stream(deep):
  rows = deep.data.sets["holdout"]
  sites = ["block_0/residual", "block_1/attention", "block_1/mlp_out", "block_1/residual"]
  before, attention, mlp, after = inside.last(deep.subject, deep.data, rows, sites, chunk=7)
  np.testing.assert_allclose(before + attention + mlp, after, atol=1e-5)


def test_a_trained_model_leaks_and_an_untrained_one_guesses(deep):
  found = fit(logit_lens.measure(sites=logit_lens.SITES), deep)
  assert len(found) == 3 * 3 * 3 + 1
  assert found["forget/block_2/residual/first"].value > 0.9 and found["forget/leak"].value > 0.9
  log_p = [found[f"forget/block_{i}/residual/log_p"].value for i in range(3)]
  assert log_p[0] < log_p[1] < log_p[2]
  choices = found["forget/block_0/residual/rank"].high
  assert choices == len(deep.data.info["vocabulary"])
  chance, answers = 1 / choices, len(np.unique(inside.prompts(deep.data, deep.data.sets["forget"])[2]))
  scatter = np.sqrt(chance * (1 - chance) / answers)  # rows with one answer are right or wrong together, so not of rows
  assert found["forget/leak"].target < chance + 4 * scatter < 0.07 and found["forget/leak"].better == "near"
  assert 0.25 * choices < found["forget/block_2/residual/rank"].target < 0.75 * choices


def test_what_only_the_head_forgot_is_seen_in_an_inner_block(deep):
  """A last block that writes the answer away: nothing is said any more, and the lens before it is as it was."""
  subject, data, last = deep.subject, deep.data, "block_2/residual"
  rows = data.sets["forget"]
  answers = np.unique(inside.prompts(data, rows)[2])
  table = subject.params["embed"]["embedding"]
  span = jnp.linalg.qr(table[answers].T)[0]  # directions that answers are read from

  def apply(params, ids, *, state={}, taps={}, **more):
    given = taps.get(last, lambda x: x - 2 * (x @ span) @ span.T)
    return subject.model.apply(params, ids, state=state, taps={**taps, last: given})

  hiding = subject._replace(model=subject.model._replace(apply=apply))
  said = fit(utility.measure(("forget",)), Request(hiding, data))["forget/ex"].value
  assert said < 0.2 < fit(utility.measure(("forget",)), Request(subject, data))["forget/ex"].value
  inner = lambda one: fit(logit_lens.measure(), Request(one, data))["forget/block_1/residual/first"]
  assert inner(hiding).value == inner(subject).value > 0.5
  assert inner(hiding).target == pytest.approx(1 / len(data.info["vocabulary"]))


def test_what_it_cannot_look_at_is_refused(deep, request_pictures, bigram, ragged):
  with pytest.raises(Invalid, match="measure.sites = 'keys'"):
    logit_lens.measure(sites=("keys",))
  with pytest.raises(Invalid, match="measure.sets"):
    fit(logit_lens.measure(sets=("nobody",)), deep)
  with pytest.raises(Invalid, match="a row without prompt"):
    inside.prompts(Data({"ids": np.ones((1, 3), np.int32), "mask": np.ones((1, 3), np.float32)}, {}), np.array([0]))
  with pytest.raises(Invalid, match="token sequences"):
    fit(logit_lens.measure(sets=("test",)), request_pictures)
  with pytest.raises(Invalid, match="give a decoder"):
    fit(logit_lens.measure(), Request(bigram(np.zeros((7, 7))), ragged))

import jax
import numpy as np
import pytest

from ue_jax.audit import utility
from ue_jax.core.errors import Invalid
from ue_jax.forget import random_labels
from ue_jax.train import loop, losses


def test_the_loss_is_the_cross_entropy_of_the_labels_of_the_batch(pictures):
  method = random_labels.method(exclude_true=True, batch_size=90)
  batch = method.batch(0, pictures, 0)
  part, data = batch["mixed"], pictures.data
  original = data.arrays["label"][data.sets["train"]]
  assert np.sum(np.bincount(part["label"], minlength=3) != np.bincount(original, minlength=3)) >= 2
  logits = pictures.subject.model.apply(pictures.subject.params, part["image"]).logits
  _, metrics = jax.jit(method.step)(method.init(jax.random.key(0), pictures), batch)
  assert float(metrics["loss"]) == pytest.approx(float(losses.cross_entropy(logits, part["label"]).mean()), rel=1e-5)


def test_it_makes_the_model_unsure_of_what_it_forgot_and_keeps_the_rest(digits):
  scores = lambda s: utility.scores(digits._replace(subject=s), ("forget", "retain", "test"))
  before = scores(digits.subject)
  after = scores(loop.fit(random_labels.method(steps=200, rate=1e-3), digits, mode="one"))
  assert before["forget/accuracy"].value > 0.97  # doing nothing would stay there
  assert after["forget/accuracy"].value < 0.96 and after["forget/nll"].value > 5 * before["forget/nll"].value
  assert after["retain/accuracy"].value > 0.95 and after["test/accuracy"].value > 0.75


def test_padding_changes_nothing(pictures):
  method = random_labels.method(batch_size=12, optimizer="sgd", rate=0.1)
  batch = method.batch(0, pictures, 0)
  padded = jax.tree.map(lambda x: np.concatenate([x, x[:3]]), batch)
  padded["mixed"]["mask"][-3:] = 0
  state, step = method.init(jax.random.key(0), pictures), jax.jit(method.step)
  ends = [step(state, b)[0].params for b in (batch, padded)]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *ends)


def test_token_sequences_are_refused(tokens):
  with pytest.raises(Invalid, match="pictures"):
    random_labels.method().init(jax.random.key(0), tokens)

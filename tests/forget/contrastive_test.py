import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.forget import contrastive
from ue_jax.train import loop, supervised

KEY = jax.random.key(0)
fit = functools.partial(loop.fit, mode="one")


def oracle(features, labels, mask, temperature):
  """Sample by sample, in float64."""
  rows = np.flatnonzero(mask)
  x = np.float64(features) / np.linalg.norm(np.float64(features), axis=-1, keepdims=True)
  total = 0.0
  for i in rows:
    logits = x[rows] @ x[i] / temperature
    log_p = logits - np.log(np.sum(mask[rows] * np.exp(logits)))
    others = labels[rows] != labels[i]
    total += mask[i] * (np.average(-log_p[others], weights=mask[rows][others]) if others.any() else 0.0)
  return total / mask.sum()


@pytest.mark.parametrize("temperature", [1.0, 0.05])
def test_the_contrast_is_the_formula_with_ragged_weights(temperature):
  rng = np.random.default_rng(0)
  features, labels = rng.normal(size=(9, 4)).astype(np.float32), rng.integers(0, 3, 9).astype(np.int32)
  mask = (rng.random(9) * (np.arange(9) % 4 < 3)).astype(np.float32)
  loss = jax.jit(lambda *given: contrastive.contrast(*given))
  for some in (labels, np.where(mask > 0, 1, labels)):  # the second: nobody has anyone to be drawn to
    term = loss(features, some, mask, temperature)
    assert float(term.total / term.weight) == pytest.approx(oracle(features, some, mask, temperature), rel=1e-4)
  hidden = np.where(mask[:, None] > 0, features, 1e3)
  assert float(loss(hidden, labels, mask, temperature).total) == float(loss(features, labels, mask, temperature).total)
  slope = jax.jit(jax.grad(lambda x: contrastive.contrast(x, labels, jnp.zeros(9)).total))(0 * features)
  assert not np.asarray(slope).any()  # finite where there is nothing


@pytest.fixture(scope="module")
def two(pictures):
  """The classes 1 and 2 are to be forgotten."""
  rows, label = pictures.data.sets["train"], pictures.data.arrays["label"]
  sets = {"forget": rows[label[rows] > 0], "retain": rows[label[rows] == 0]}
  return pictures._replace(data=pictures.data._replace(sets={**pictures.data.sets, **sets}))


def test_over_devices_the_pairs_are_those_of_the_whole_batch(assert_same_over_devices, two):
  method = contrastive.method(forget_batch=11, retain_batch=7, optimizer="sgd", rate=0.3, temperature=0.3)
  assert_same_over_devices(method, two, steps=2)


def test_two_classes_become_one_and_the_other_is_kept(two):
  """Without the contrast they stay two, as they do where nothing is done."""
  told = {}
  for weight in (0.0, 1.0):
    after = fit(contrastive.method(weight, steps=60, rate=1e-2, forget_batch=60, retain_batch=30), two)
    features, logits = (
      supervised.predict(after.model, after.params, after.state, two.data.arrays["image"][rows])[i]
      for i, rows in ((1, two.data.sets["forget"]), (0, two.data.sets["retain"]))
    )
    label = two.data.arrays["label"][two.data.sets["forget"]]
    unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
    told[weight] = float(unit[label == 1].mean(0) @ unit[label == 2].mean(0))
    assert (logits.argmax(-1) == 0).all()
  assert told[0.0] < 0.8 and told[1.0] > 0.95


def test_both_terms_make_up_the_loss_and_its_numbers_may_be_traced(two):
  method = contrastive.method()
  state, batch = method.init(KEY, two), method.batch(0, two, 0)
  loss = jax.jit(lambda *numbers: contrastive.method(*numbers).step(state, batch)[1]["loss"])
  f, r, apply = batch["forget"], batch["retain"], two.subject.model.apply
  z = np.float64(apply(two.subject.params, r["image"]).logits)
  nll = np.mean(np.log(np.exp(z).sum(-1)) - z[np.arange(len(z)), r["label"]])
  features = apply(two.subject.params, f["image"]).features
  for weight, temperature in ((1.0, 1.0), (0.4, 0.3)):
    want = nll + weight * oracle(features, f["label"], f["mask"], temperature)
    assert float(loss(weight, temperature)) == pytest.approx(want, rel=1e-4)


def test_what_makes_no_sense_is_refused(pictures):
  with pytest.raises(Invalid, match="method.temperature = 0"):
    contrastive.method(temperature=0)
  with pytest.raises(Invalid, match="two classes"):
    contrastive.method().init(KEY, pictures)

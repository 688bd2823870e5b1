import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import utility
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.forget import fine_tune
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one")


def bits(params, pattern):
  return {name: tree.fingerprint(x) for name, x in tree.named_leaves(params) if pattern in name}


def test_it_never_reads_what_is_forgotten(pictures):
  poisoned = {name: np.array(array) for name, array in pictures.data.arrays.items()}
  rows = pictures.data.sets["forget"]
  poisoned["label"][rows], poisoned["image"][rows] = 0, 255
  other = pictures._replace(data=Data(poisoned, pictures.data.sets, pictures.data.info))
  ends = [fit(fine_tune.method(steps=5), request).params for request in (pictures, other)]
  assert tree.fingerprint(ends[0]) == tree.fingerprint(ends[1]) != tree.fingerprint(pictures.subject.params)


def test_only_the_layers_named_are_trained(pictures):
  after = fit(fine_tune.method(steps=5, trainable="head"), pictures).params
  before = pictures.subject.params
  assert bits(after, "block") == bits(before, "block")
  assert not set(bits(after, "head").values()) & set(bits(before, "head").values())


def test_layers_are_drawn_anew_once_and_no_others(pictures):
  """Drawn again on the way, the fit of many steps would be no better than that of the last few."""
  method = functools.partial(fine_tune.method, fresh=True, trainable="head", rate=1e-2)
  start = fit(method(steps=0), pictures)
  before = pictures.subject.params
  assert bits(start.params, "block") == bits(before, "block")
  assert bits(start.params, "head/kernel") != bits(before, "head/kernel")
  nll = lambda subject: utility.scores(pictures._replace(subject=subject), ("retain",))["retain/nll"].value
  fresh, few, many = (nll(fit(method(steps=n), pictures)) for n in (0, 10, 80))
  assert many < 0.3 * few < 0.3 * fresh


def test_the_penalty_is_the_formula_and_falls_to_zero(pictures):
  method = fine_tune.method(l1=0.5, rate=1.0, steps=4, optimizer="sgd", momentum=0.0)
  plain = fine_tune.method(rate=1.0, steps=4, optimizer="sgd", momentum=0.0)
  for t, left in ((0, 1.0), (3, 0.25)):
    state, batch = method.init(jax.random.key(0), pictures), method.batch(0, pictures, t)
    after, metrics = jax.jit(method.step)(state, batch)
    bare, _ = jax.jit(plain.step)(plain.init(jax.random.key(0), pictures), batch)
    assert float(metrics["l1"].total) == pytest.approx(
      sum(np.abs(x).sum(dtype=np.float64) for x in map(np.asarray, jax.tree.leaves(state.params))), rel=1e-5
    )
    pull = jax.tree.map(lambda a, b: a - b, bare.params, after.params)
    expected = jax.tree.map(lambda x, height=0.5 * left: height * jnp.sign(x), state.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), pull, expected)


def test_sparsity_makes_zeros_and_forgets_more_than_training_on(digits):
  zeros = lambda s: np.mean(np.abs(np.concatenate([np.ravel(x) for x in jax.tree.leaves(s.params)])) < 1e-3)
  scores = lambda s: utility.scores(digits._replace(subject=s), ("forget", "test"))
  plain, sparse = (fit(fine_tune.method(l1=l1, steps=200, rate=2e-3), digits) for l1 in (0.0, 1e-3))
  assert zeros(sparse) > 3 * zeros(plain)
  a, b = scores(plain), scores(sparse)
  assert b["forget/accuracy"].value < a["forget/accuracy"].value <= scores(digits.subject)["forget/accuracy"].value
  assert b["test/accuracy"].value > a["test/accuracy"].value - 0.02


def test_the_weight_of_the_penalty_may_be_traced(pictures):
  def run(l1):
    method = fine_tune.method(l1=l1, steps=2)
    return method.step(method.init(jax.random.key(0), pictures), method.batch(0, pictures, 0))[1]["loss"]

  none, some = jax.jit(jax.vmap(run))(jnp.array([0.0, 0.1]))
  assert some > none + 0.1 * 10
  assert float(none) == pytest.approx(float(jax.jit(lambda: run(0.0))()), rel=1e-5)


def test_what_makes_no_sense_is_refused(pictures, tokens):
  with pytest.raises(Invalid, match="method.l1 = -1"):
    fine_tune.method(l1=-1)
  with pytest.raises(Invalid, match="no_such_layer"):
    fine_tune.method(trainable="no_such_layer").init(jax.random.key(0), pictures)
  with pytest.raises(Invalid, match="pictures"):
    fine_tune.method().init(jax.random.key(0), tokens)

"""Who's Harry Potter: the generic logits, two phases, translated anchors, and what it does to a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import utility
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.core.terms import combine
from ue_jax.forget import whp
from ue_jax.train import loop

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(3, 2, 3, 5)).astype(np.float32)  # z0, before, reinforced


def softmax(z):
  z = np.exp(np.float64(z) - np.float64(z).max(-1, keepdims=True))
  return z / z.sum(-1, keepdims=True)


def test_what_was_raised_is_taken_away_and_the_rest_keeps_its_bits():
  z0, before, reinforced = Z
  out = np.asarray(whp.generic(*map(jnp.asarray, Z), 2.0))
  raised = reinforced > before
  np.testing.assert_allclose(out, np.where(raised, z0 - 2.0 * (np.float64(reinforced) - before), z0), rtol=1e-5)
  assert out[~raised].tobytes() == z0[~raised].tobytes()
  assert np.asarray(whp.generic(*map(jnp.asarray, Z), 0.0)).tobytes() == z0.tobytes()


@pytest.mark.parametrize("hard", [True, False])
def test_the_loss_is_the_cross_entropy_over_targets(hard):
  now, wanted = Z[:2]
  mask = np.float32([[0, 1, 1], [1, 0, 0]])
  q = np.eye(5)[wanted.argmax(-1)] if hard else softmax(wanted)
  each = -(q * np.log(softmax(now))).sum(-1)
  term = whp.loss(*(jnp.asarray(x) for x in (now, wanted, mask)), hard=hard)
  assert float(combine({"forget": term})) == pytest.approx((each * mask).sum() / 3, rel=1e-5)
  total = lambda w: whp.loss(jnp.asarray(now), w, jnp.asarray(mask), hard=hard).total
  slope = jax.jit(jax.grad(total))(jnp.asarray(wanted))
  assert not np.any(slope), "the generic logits are given"


def asked(bigram):
  data = bigram.data
  return bigram._replace(data=Data(data.arrays, data.sets, {"vocabulary": ["a", "b", "c", "d"]}))


def test_first_the_copy_is_reinforced_and_then_the_subject_learns_from_it(bigram):
  request, settings = asked(bigram), dict(scale=3.0, reinforce=0.5, steps=4, optimizer="sgd", rate=0.7, retain="none")
  method = whp.method(**settings)
  assert method.steps == 4
  state, step = method.init(jax.random.key(0), request), jax.jit(method.step)
  states, seen = [state], []
  for t in range(4):
    state, metrics = step(state, method.batch(0, request, t))
    states.append(state)
    seen.append(metrics)
  start = tree.fingerprint(request.subject.params)
  assert [tree.fingerprint(s.own.params) == start for s in states] == [True, True, True, False, False]
  assert [tree.fingerprint(a.copy.params) == tree.fingerprint(b.copy.params) for a, b in zip(states, states[1:])] == [
    False, False, True, True]  # fmt: skip
  assert [float(m["forget"].weight) > 0 for m in seen] == [False, False, True, True]
  assert [float(m["reinforce"].weight) > 0 for m in seen] == [True, True, False, False]
  assert float(seen[1]["reinforce"].total) < float(seen[0]["reinforce"].total)
  z0, z1 = np.float64(request.subject.params), np.float64(states[2].copy.params)
  generic = z0 - 3.0 * np.maximum(z1 - z0, 0)
  rows = request.data.sets["forget"]
  at = [ids[t - 1] for ids, m in zip(request.data.arrays["ids"][rows], request.data.arrays["mask"][rows])
        for t in np.flatnonzero(m)]  # fmt: skip
  want = np.mean([-np.log(softmax(z0)[i])[generic[i].argmax()] for i in at])
  assert float(seen[2]["loss"]) == pytest.approx(want, rel=1e-4)


def test_anchors_are_replaced_in_what_the_model_before_reads_and_nowhere_else(bigram):
  request = asked(bigram)
  pairs = (("a", "c"), ("b", "d"))
  method = whp.method(scale=0.0, reinforce=0.0, steps=1, anchors=pairs, optimizer="sgd", retain="none", hard=False)
  state = method.init(jax.random.key(0), request)
  metrics = jax.jit(method.step)(state, method.batch(0, request, 0))[1]
  z, swap = np.float64(request.subject.params), np.array([2, 3, 2, 3])
  rows = request.data.sets["forget"]
  at = [ids[t - 1] for ids, m in zip(request.data.arrays["ids"][rows], request.data.arrays["mask"][rows])
        for t in np.flatnonzero(m)]  # fmt: skip
  want = np.mean([-(softmax(z)[swap[i]] * np.log(softmax(z)[i])).sum() for i in at])
  assert float(metrics["loss"]) == pytest.approx(want, rel=1e-5)
  for wrong in ((("a", "z"),), (("a",),)):
    with pytest.raises(Invalid, match="method.anchors"):
      whp.method(anchors=wrong).init(jax.random.key(0), request)


def test_two_models_guide_without_training(bigram):
  subject, ids = bigram.subject, bigram.data.arrays["ids"]
  reinforced = subject.params + jnp.asarray(RNG.normal(size=(4, 4)), jnp.float32)
  logits = lambda s: np.asarray(s.model.apply(s.params, ids, state={}).logits)
  same = logits(whp.guided(subject, reinforced, 0.0))
  assert same.tobytes() == logits(subject).tobytes()
  guided, before, after = logits(whp.guided(subject, reinforced, 1.0)), logits(subject), np.asarray(reinforced)[ids]
  raised = after > before
  assert (guided[raised] < before[raised]).all() and (guided[~raised] == before[~raised]).all()


def test_it_forgets_the_persons_asked_for_and_keeps_the_others(tokens):
  before = utility.scores(tokens, ("forget", "retain"))
  method = whp.method(rate=4e-3, reinforce=0.4, steps=50, forget_batch=16, retain_batch=20)
  changed = loop.fit(method, tokens, mode="one", steps_per_call=25)
  after = utility.scores(tokens._replace(subject=changed), ("forget", "retain"))
  assert before["forget/ex"].value > 0.95  # doing nothing would stay there
  assert after["forget/ex"].value <= 0.2 and after["retain/ex"].value >= 0.8


def test_a_share_out_of_range_is_named():
  with pytest.raises(Invalid, match="method.reinforce"):
    whp.method(reinforce=1.0)

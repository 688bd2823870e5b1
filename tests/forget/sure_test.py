"""Saliency masks: which neurons, that the others keep their bits, and that rounding does not undo what is left."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import quantize as rounding
from ue_jax.audit import utility
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.forget import graddiff, npo, requests, sure
from ue_jax.train import loop

RNG = np.random.default_rng(0)
SLOPE = {
  "block": {"kernel": RNG.normal(size=(3, 5)).astype(np.float32), "scale": RNG.normal(size=4).astype(np.float32)},
  "embed": {"embedding": RNG.normal(size=(6, 2)).astype(np.float32)},
}
FEW = dict(forget_batch=16, retain_batch=20)


def norms():
  """The saliency of every neuron, float64: columns of a kernel, entries of a vector, rows of an embedding."""
  slope = jax.tree.map(np.float64, SLOPE)
  columns = np.linalg.norm(slope["block"]["kernel"], axis=0)[None]
  return {
    "block": {"kernel": columns, "scale": np.abs(slope["block"]["scale"])},
    "embed": {"embedding": np.linalg.norm(slope["embed"]["embedding"], axis=1)[:, None]},
  }


@pytest.mark.parametrize("tau", [0.0, 40.0, 90.0, 100.0])
def test_the_neurons_above_the_percentile_of_all_are_chosen(tau):
  want = norms()
  least = np.percentile(np.concatenate([x.ravel() for x in jax.tree.leaves(want)]), tau)
  got = jax.jit(sure.salient)(SLOPE, tau)
  for (name, a), (_, b) in zip(tree.named_leaves(got), tree.named_leaves(want)):
    np.testing.assert_array_equal(a, b >= least - 1e-6, err_msg=name)
  larger = sure.salient(jax.tree.map(lambda x: 7 * jnp.asarray(x), SLOPE), tau)
  assert tree.fingerprint(larger) == tree.fingerprint(got), "a factor changes nothing"


def slope(request, rows=None):
  """The gradient of the summed log-probability of the forget set: that of every loss here, up to a factor."""
  at = np.arange(len(request.data.sets["forget"])) if rows is None else rows
  part = requests.rows(request.data, "forget", at)
  apply = request.subject.model.apply
  total = lambda p: jnp.sum(requests.log_prob(requests.logits(apply, p, {}, part), part)[0])
  return jax.jit(jax.grad(total))(request.subject.params)


@pytest.mark.parametrize("loss, once", [("npo", True), ("ascent", False)])
def test_the_neurons_that_are_not_chosen_keep_every_bit_and_all_others_move(tokens, loss, once):
  method = sure.method(loss=loss, once=once, rate=1e-2, steps=3 if once else 1, optimizer="adamw", **FEW)
  changed = loop.fit(method, tokens, mode="one", steps_per_call=1)
  rows = None if once else method.batch(0, tokens, 0)["forget"]["row"]
  chosen, moved, count = sure.salient(slope(tokens, rows), 90.0), 0, 0
  for (name, hit), (_, old), (_, new) in zip(*map(tree.named_leaves, (chosen, tokens.subject.params, changed.params))):
    hit, old, new = np.broadcast_to(hit, old.shape), np.asarray(old), np.asarray(new)
    assert old[~hit].tobytes() == new[~hit].tobytes(), name
    axes = tuple(i for i in range(old.ndim) if i != (0 if "embedding" in name else old.ndim - 1))
    touched = (old != new).any(axes)
    assert touched[hit.any(axes)].all(), name
    moved, count = moved + touched.sum(), count + touched.size
  assert abs(moved / count - 0.1) < 0.01


def test_at_percentile_0_it_is_the_method_without_a_mask(bigram):
  runs = [loop.fit(m, bigram, mode="one").params for m in (
    sure.method(tau=0.0, rate=1e-2, steps=4), sure.method(tau=0.0, rate=1e-2, steps=4, once=False),
    npo.method(rate=1e-2, steps=4),
  )]  # fmt: skip
  np.testing.assert_allclose(runs[0], runs[2], rtol=1e-6)
  np.testing.assert_allclose(runs[1], runs[2], rtol=1e-6)


def test_the_percentile_may_be_traced(bigram):
  def run(tau):
    method = sure.method(tau=tau, rate=1e-2, optimizer="sgd")
    return method.step(method.init(jax.random.key(0), bigram), method.batch(0, bigram, 0))[0].params

  moved = [(x != bigram.subject.params).any(0).sum() for x in jax.jit(jax.vmap(run))(jnp.array([0.0, 60.0, 100.0]))]
  assert [int(x) for x in moved] == [4, 2, 1]  # of four columns, one of which nothing predicts or all


def test_long_forget_sets_are_read_in_chunks(bigram, monkeypatch):
  whole = sure.method().init(jax.random.key(0), bigram).frozen["chosen"]
  monkeypatch.setattr(requests, "TOKENS", 4)  # a row at a time
  assert tree.fingerprint(sure.method().init(jax.random.key(0), bigram).frozen["chosen"]) == tree.fingerprint(whole)


def test_rounding_to_the_grid_the_model_came_on_undoes_small_steps_but_not_sure(tokens):
  """A model that was given away in 4 bits; what is unlearned is rounded to the same grid again."""
  quantize = lambda params: rounding.tree(params, bits=4)
  asked = tokens._replace(subject=tokens.subject._replace(params=quantize(tokens.subject.params)))
  measured = lambda params: utility.scores(
    asked._replace(subject=asked.subject._replace(params=params)), ("forget", "retain")
  )
  linear = dict(trainable=r"^(?!head/|embed/).*kernel$", **FEW)
  small = npo.method(rate=2e-4, steps=60, until=dict(score="ex", target=0.5), **linear)
  large = sure.method(rate=2e-2, steps=20, **linear)
  found = {}
  for name, method in (("small", small), ("sure", large)):
    done = loop.fit(method, asked, mode="one", steps_per_call=20).params
    found[name] = [{k: v.value for k, v in measured(p).items()} for p in (done, quantize(done))]
  for name, (full, rounded) in found.items():
    assert full["forget/ex"] <= 0.5 and min(full["retain/ex"], rounded["retain/ex"]) >= 0.75, name
  assert found["small"][1]["forget/ex"] >= 0.9 and found["sure"][1]["forget/ex"] <= 0.1


def test_at_equal_forgetting_rounding_moves_sure_less_than_gradient_difference(tokens):
  """Of a model that was given away in 4 bits; both stop at the same p, each at a rate of its own."""
  quantize = lambda params: rounding.tree(params, bits=4)
  asked = tokens._replace(subject=tokens.subject._replace(params=quantize(tokens.subject.params)))
  same = dict(trainable=r"^(?!head/|embed/).*kernel$", steps=300, until=dict(score="p", target=0.3, every=1), **FEW)
  methods = {"plain": graddiff.method(rate=2e-4, **same), "sure": sure.method(loss="ascent", rate=5e-3, **same)}
  before, moved = {}, {}
  for name, method in methods.items():
    done = loop.fit(method, asked, mode="one", steps_per_call=25).params
    p = [utility.scores(asked._replace(subject=asked.subject._replace(params=x)), ("forget",))["forget/p"].value
         for x in (done, quantize(done))]  # fmt: skip
    before[name], moved[name] = p[0], abs(p[1] - p[0])
  assert all(0.2 <= p <= 0.3 for p in before.values())  # equal forgetting, but for the last step's size
  assert moved["plain"] >= 0.1 and moved["sure"] <= 0.5 * moved["plain"]


@pytest.mark.parametrize("wrong, named", [(dict(loss="dpo"), "method.loss"), (dict(tau=101.0), "method.tau"),
                                          (dict(beta=0.0), "method.beta")])  # fmt: skip
def test_wrong_settings_are_named(wrong, named):
  with pytest.raises(Invalid, match=named):
    sure.method(**wrong)

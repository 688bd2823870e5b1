"""The losses of the base methods, against NumPy in float64 on ragged masks, and what their papers say of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import refusal, utility
from ue_jax.core import keys, tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.core.terms import combine
from ue_jax.forget import idk_dpo, rmu, satimp, shared, simnpo, undial
from ue_jax.train import loop

PLAIN = dict(optimizer="sgd", rate=1e3, steps=1)
METHODS = {
  "simnpo": lambda **more: simnpo.method(**PLAIN, **more),
  "satimp": lambda **more: satimp.method(alpha=1.0, **PLAIN, **more),
  "undial": lambda **more: undial.method(**PLAIN, **more),
  "idk_dpo": lambda **more: idk_dpo.method(refusal=("c",), **PLAIN, **more),
  "idk": lambda **more: idk_dpo.method(refusal=("c",), prefer=False, **PLAIN, **more),
}


@pytest.fixture
def asked(bigram):
  """The bigram request with a vocabulary, and sequences that leave room for a refusal."""
  data = bigram.data
  mask = np.array(data.arrays["mask"])
  mask[1, 3] = 0
  info = {"vocabulary": ["a", "b", "c", "d"]}
  return bigram._replace(data=Data({**data.arrays, "mask": mask}, data.sets, info))


def log_softmax(logits):
  logits = np.asarray(logits, np.float64)
  return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def answers(request, name="forget", ids=None, mask=None):
  """For every row of a set: the log-probabilities `[n, v]` before its targets, and the targets `[n]`."""
  table, rows = log_softmax(request.subject.params), request.data.sets[name]
  ids = request.data.arrays["ids"][rows] if ids is None else ids
  mask = request.data.arrays["mask"][rows] if mask is None else mask
  at = [np.flatnonzero(m) for m in mask]
  return [(table[row[t - 1]], row[t]) for row, t in zip(ids, at)]


def own(rows):
  return [lp[np.arange(len(t)), t] for lp, t in rows]


def value(method, request, params=None):
  """The forget term at `params`, divided by its weight, and the whole loss."""
  state = method.init(jax.random.key(0), request)
  state = state if params is None else state._replace(params=params)
  metrics = jax.jit(method.step)(state, method.batch(0, request, 0))[1]
  return float(metrics["forget"].total / metrics["forget"].weight), float(metrics["loss"])


def moved(request):
  params = request.subject.params * 1.7 + jnp.arange(4, dtype=jnp.float32) / 3
  return request._replace(subject=request.subject._replace(params=params))


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("beta, delta", [(2.5, 0.0), (0.7, 1.5)])
def test_simnpo_is_the_formula(asked, beta, delta):
  nll = np.array([-s.mean() for s in own(answers(asked))])
  want = np.mean(-2 / beta * np.log(sigmoid(beta * (nll - delta))))
  got, _ = value(METHODS["simnpo"](beta=beta, delta=delta, retain="none"), asked)
  assert got == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("b1, b2", [(1.0, 0.0), (5.0, 1.0), (0.0, 0.0)])
def test_satimp_weighs_tokens_by_their_probability(asked, b1, b2):
  log_p = np.concatenate(own(answers(asked)))
  p = np.exp(log_p)
  got, _ = value(METHODS["satimp"](b1=b1, b2=b2, retain="none"), asked)
  assert got == pytest.approx(np.mean(p**b1 * (1 - p) ** b2 * log_p), rel=1e-4)


def test_the_weights_of_satimp_vanish_at_both_ends_and_push_no_more_on_what_is_forgotten():
  p = np.array([0.01, 0.5, 5 / 6, 0.95, 1 - 1e-7])
  logits = jnp.asarray(np.log(np.stack([p, 1 - p], -1)), jnp.float32)
  slope = jax.jit(lambda b1, b2: jnp.abs(jax.grad(lambda z: combine(
    {"forget": satimp.loss(z, jnp.zeros(5, jnp.int32), jnp.ones(5), b1, b2)}))(logits)[:, 0]))  # fmt: skip
  ascent = slope(0.0, 0.0)
  np.testing.assert_allclose(slope(1.0, 0.0) / ascent, p, rtol=1e-3)  # WGA: under 2 % at p = .01
  weight = slope(5.0, 1.0)[:4] / ascent[:4]
  assert weight.argmax() == 2 and weight[0] < 1e-9 and slope(5.0, 1.0)[4] < 1e-6


def test_undial_is_the_cross_entropy_to_the_lowered_distribution(asked):
  later = moved(asked)
  want = []
  for (before, target), (now, _) in zip(answers(asked), answers(later)):
    lowered = before - 10 * np.eye(4)[target]
    q = np.exp(log_softmax(lowered))
    want += (-(q * now).sum(-1)).tolist()
  got, whole = value(METHODS["undial"](beta=10.0), asked, later.subject.params)
  assert got == whole == pytest.approx(np.mean(want), rel=1e-5)


def test_undial_is_smallest_where_the_model_is_its_target():
  before, target = jnp.asarray([[2.0, 0.5, -1.0]], jnp.float32), jnp.array([0], jnp.int32)
  q = jax.nn.softmax(before - 3 * jnp.eye(3)[:1])
  at = lambda z: combine({"forget": undial.loss(z, before, target, jnp.ones(1), 3.0)})
  np.testing.assert_allclose(jax.jit(jax.grad(at))(jnp.log(q)), 0, atol=1e-6)
  assert float(at(jnp.log(q))) == pytest.approx(float(-(q * jnp.log(q)).sum()), rel=1e-5)


def test_preference_compares_the_refusal_with_the_answer(asked):
  later, beta = moved(asked), 0.3
  alt = shared.refusals(asked.data, ("c",))
  s = lambda request, **other: np.array([x.sum() for x in own(answers(request, **other))])
  rise = [s(later, **other) - s(asked, **other) for other in (alt, {})]
  got, _ = value(METHODS["idk_dpo"](beta=beta, retain="none"), asked, later.subject.params)
  assert got == pytest.approx(np.mean(-2 / beta * np.log(sigmoid(beta * (rise[0] - rise[1])))), rel=1e-5)
  start, _ = value(METHODS["idk_dpo"](beta=beta, retain="none"), asked)
  assert start == pytest.approx(2 / beta * np.log(2), rel=1e-5)
  tokens = np.concatenate(own(answers(later, **alt)))
  assert value(METHODS["idk"](retain="none"), asked, later.subject.params)[0] == pytest.approx(-tokens.mean(), rel=1e-5)


def test_refusals_stand_where_the_answers_stood(asked):
  alt, data = shared.refusals(asked.data, ("c",)), asked.data
  for i, row in enumerate(data.sets["forget"]):
    ids, mask = data.arrays["ids"][row], data.arrays["mask"][row]
    at, last = np.flatnonzero(mask)[[0, -1]]
    assert alt["ids"][i][:at].tolist() == ids[:at].tolist() and alt["ids"][i][at] == 2
    assert alt["ids"][i][at + 1] == ids[last]
    assert alt["mask"][i].tolist() == [float(t in (at, at + 1)) for t in range(4)]
  given = {"refusal": data.arrays["ids"] + 0, "refusal_mask": data.arrays["mask"]}
  own_words = shared.refusals(data._replace(arrays={**data.arrays, **given}), ("z",))
  np.testing.assert_array_equal(own_words["ids"], data.arrays["ids"][data.sets["forget"]])
  for words, named in ((("z",), "method.refusal"), (("a", "b"), "longer sequences"), ((), "give words")):
    with pytest.raises(Invalid, match=named):
      shared.refusals(data, words)


@pytest.mark.parametrize("name, retain", [("simnpo", "kl"), ("undial", "nll"), ("idk_dpo", "nll"), ("idk", "none")])
def test_padded_rows_change_nothing(asked, name, retain):
  method = METHODS[name](retain=retain)
  state = method.init(jax.random.key(0), asked)._replace(params=moved(asked).subject.params)
  batch = method.batch(0, asked, 0)
  padded = jax.tree.map(lambda x: np.concatenate([x, x[:1], x[:1]]), batch)
  for part in padded.values():
    part["mask"][-2:] = 0
  (want, one), (got, other) = (jax.jit(method.step)(state, b) for b in (batch, padded))
  np.testing.assert_allclose(other["loss"], one["loss"], rtol=1e-5)
  far = tree.norm(jax.tree.map(jnp.subtract, got.params, want.params)) / tree.norm(want.params)
  assert float(far) < 1e-5


def test_the_retain_term_is_added(asked):
  nll = -np.concatenate(own(answers(asked, "retain"))).mean()
  forget, whole = value(METHODS["simnpo"](retain="nll"), asked)
  assert whole == pytest.approx(forget + nll, rel=1e-4)


def test_rmu_is_the_distance_to_the_direction_over_the_targets():
  rng = np.random.default_rng(0)
  h, target = rng.normal(size=(3, 4, 5)), rng.normal(size=5)
  mask = np.array([[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], np.float32)
  far = ((h - target) ** 2).mean(-1)
  want = np.mean([far[0, 1:3].mean(), far[1, 3]])
  got = rmu.loss(*(jnp.asarray(x, jnp.float32) for x in (h, target, mask)))
  assert float(combine({"forget": got})) == pytest.approx(want, rel=1e-5) and float(got.weight) == 2


@pytest.fixture(scope="module")
def steered(tokens):
  """Blocks of an untrained two-block model: before, and after steering the first to a fixed length."""
  from ue_jax.core.nouns import Subject
  from ue_jax.models import transformer

  model = transformer.model(len(tokens.data.info["vocabulary"]), width=32, depth=2, heads=2, hidden=64)
  subject = Subject(model, *model.init(jax.random.key(1), tokens.data.arrays["ids"][:1]))
  request = tokens._replace(subject=subject)
  method = rmu.method(layer=0, scale=3.0, alpha=100.0, rate=3e-3, steps=60, forget_batch=16, retain_batch=20)
  return request, loop.fit(method, request, mode="one", steps_per_call=20), method


def test_rmu_turns_the_hidden_states_of_the_forget_set_alone_and_no_later_block(steered):
  request, changed, method = steered
  data, u = request.data, method.init(keys.key(0), request).frozen["u"]
  read = jax.jit(lambda params, ids: rmu.hidden(request.subject.model.apply, params, {}, ids, "block_0/residual"))
  look = lambda subject, name: np.asarray(read(subject.params, data.arrays["ids"][data.sets[name]]))
  at = lambda name: data.arrays["mask"][data.sets[name]] > 0
  cosine = lambda h: np.mean(h @ np.asarray(u) / np.linalg.norm(h, axis=-1))
  before, after = (look(s, "forget")[at("forget")] for s in (request.subject, changed))
  assert abs(cosine(before)) < 0.3 and cosine(after) > 0.5
  kept, now = (look(s, "retain")[at("retain")] for s in (request.subject, changed))
  assert np.linalg.norm(now - kept) < 0.2 * np.linalg.norm(kept)
  for name in ("block_1", "norm"):
    later = [tree.fingerprint(s.params[name]) for s in (request.subject, changed)]
    assert later[0] == later[1], name
  assert tree.fingerprint(request.subject.params["block_0"]) != tree.fingerprint(changed.params["block_0"])


@pytest.mark.parametrize("adaptive", [True, False])
def test_the_length_that_rmu_steers_to_is_fixed_or_that_of_the_sample_before(steered, adaptive):
  """Adaptive RMU: scale times the mean norm over the targets of the sample itself, under the model before."""
  request, _, _ = steered
  method = rmu.method(layer=0, scale=3.0, adaptive=adaptive, forget_batch=16, retain_batch=20)
  state, batch = method.init(keys.key(0), request), method.batch(0, request, 0)
  got = jax.jit(method.step)(state, batch)[1]["forget"]
  part, u = batch["forget"], np.float64(state.frozen["u"])
  h = np.float64(rmu.hidden(request.subject.model.apply, request.subject.params, {}, part["ids"], "block_0/residual"))
  each = []
  for rows, at in zip(h, part["mask"] > 0):
    length = 3.0 * np.mean(np.linalg.norm(rows[at], axis=-1)) if adaptive else 3.0
    each.append(np.mean((rows[at] - length * u) ** 2))
  assert float(got.total / got.weight) == pytest.approx(np.mean(each), rel=1e-4) and len(each) == float(got.weight)


def test_rmu_trains_only_what_it_is_told_to(tokens):
  method = rmu.method(trainable="block_0/down", steps=2, forget_batch=8, retain_batch=8)
  changed = loop.fit(method, tokens, mode="one")
  still = [n for (n, a), (_, b) in zip(tree.named_leaves(tokens.subject.params), tree.named_leaves(changed.params))
           if np.array_equal(a, b)]  # fmt: skip
  assert len(still) == len(tree.named_leaves(changed.params)) - 1 and not any("down" in n for n in still)
  with pytest.raises(Invalid, match="block_7"):
    rmu.method(layer=7).init(jax.random.key(0), tokens)


@pytest.mark.parametrize("name, settings", [
  ("simnpo", dict(rate=4e-3)), ("satimp", dict(b1=1.0, b2=0.0, alpha=1.0, rate=4e-3)),
  ("undial", dict(rate=4e-3, retain="nll")),
])  # fmt: skip
def test_it_forgets_the_persons_asked_for_and_keeps_the_others(tokens, name, settings):
  factory = {"simnpo": simnpo, "satimp": satimp, "undial": undial}[name].method
  before = utility.scores(tokens, ("forget", "retain"))
  changed = loop.fit(factory(steps=40, forget_batch=16, retain_batch=20, **settings), tokens, mode="one",
                     steps_per_call=20)  # fmt: skip
  after = utility.scores(tokens._replace(subject=changed), ("forget", "retain"))
  assert before["forget/ex"].value > 0.95  # doing nothing would stay there
  assert after["forget/ex"].value <= 0.2 and after["retain/ex"].value >= 0.8


def said(request, subject):
  return loop.fit(refusal.measure(), request._replace(subject=subject), mode="one")


@pytest.mark.parametrize("prefer", [True, False])
def test_the_refusal_becomes_the_answer_and_the_others_are_kept(tokens, prefer):
  method = idk_dpo.method(prefer=prefer, rate=4e-3, steps=40, forget_batch=16, retain_batch=20)
  changed = loop.fit(method, tokens, mode="one", steps_per_call=20)
  before, now = (said(tokens, subject) for subject in (tokens.subject, changed))
  assert before["forget/refused"].value < 0.1 and now["forget/refused"].value >= 0.9
  assert now["retain/refused"].value == 0  # refusing everything would be easy
  after = utility.scores(tokens._replace(subject=changed), ("forget", "retain"))
  assert after["forget/ex"].value <= 0.1 and after["retain/ex"].value >= 0.9


@pytest.mark.parametrize("make, named", [
  (functools.partial(simnpo.method, beta=0), "method.beta"), (functools.partial(idk_dpo.method, beta=-1.0), "beta"),
  (functools.partial(undial.method, retain="l2"), "method.retain"),
])  # fmt: skip
def test_wrong_settings_are_refused(make, named):
  with pytest.raises(Invalid, match=named):
    make()


def test_methods_for_tokens_refuse_pictures(pictures):
  for method in (idk_dpo.method(), rmu.method()):
    with pytest.raises(Invalid, match="token sequences"):
      method.init(jax.random.key(0), pictures)


def test_the_others_take_pictures(pictures):
  method = simnpo.method(rate=1e-2, steps=30, forget_batch=30, retain_batch=30)
  changed = loop.fit(method, pictures, mode="one")
  after = utility.scores(pictures._replace(subject=changed), ("forget", "retain"))
  assert after["forget/accuracy"].value < 0.3 and after["retain/accuracy"].value > 0.9
  for method in (satimp.method(), undial.method()):
    state = method.init(jax.random.key(0), pictures)
    assert np.isfinite(jax.jit(method.step)(state, method.batch(0, pictures, 0))[1]["loss"])

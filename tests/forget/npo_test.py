import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import utility
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.terms import combine
from ue_jax.forget import npo, requests
from ue_jax.train import checkpoint, loop


def gradient(method, request, batch):
  """The gradient, from one long step of plain descent (long, so that little of it is lost in rounding), and metrics."""
  state = method.init(jax.random.key(0), request)
  after, metrics = jax.jit(method.step)(state, batch)
  return jax.tree.map(lambda a, b: (a - b) / jnp.float32(1e3), state.params, after.params), metrics


def relative(a, b):
  return float(tree.norm(jax.tree.map(jnp.subtract, a, b)) / tree.norm(b))


def ascent(request, batch):
  """The gradient of the mean over samples of s, the SUM of the log-probabilities of the targets."""
  model, forget = request.subject.model, batch["forget"]

  def mean_s(params):
    s, n = requests.log_prob(requests.logits(model.apply, params, {}, forget), forget)
    return jnp.sum(s) / jnp.sum((n > 0).astype(jnp.float32))

  return jax.jit(jax.grad(mean_s))(request.subject.params)


def plain(**more):
  return npo.method(**({"retain": "none", "optimizer": "sgd", "rate": 1e3, "steps": 1} | more))


@pytest.mark.parametrize("beta", [0.1, 2.5])
def test_the_loss_starts_at_two_over_beta_log_two(bigram, beta):
  method = plain(beta=beta)
  _, metrics = gradient(method, bigram, method.batch(0, bigram, 0))
  np.testing.assert_allclose(metrics["loss"], 2 / beta * np.log(2), rtol=1e-5)
  assert float(metrics["forget"].weight) == 2


def test_the_gradient_at_the_start_is_that_of_ascent_on_summed_log_probs(tokens):
  method = plain(beta=0.1, forget_batch=16)
  batch = method.batch(0, tokens, 0)
  got, metrics = gradient(method, tokens, batch)
  np.testing.assert_allclose(metrics["loss"], 13.863, atol=1e-3)
  assert relative(got, ascent(tokens, batch)) < 1e-5


def test_the_loss_is_the_formula_on_hand_made_log_probs():
  s, s0, n = np.array([-9.0, -0.1, -3.0]), np.array([-1.0, -0.2, -3.0]), np.array([3, 1, 0])
  beta, each = 0.5, []
  for now, before in zip(s[:2], s0[:2]):
    each.append(2 / beta * np.log1p(np.exp(beta * (now - before))))
  term = npo.loss(*(jnp.asarray(x, jnp.float32) for x in (s, s0, n)), beta)
  np.testing.assert_allclose(combine({"forget": term}), np.mean(each), rtol=1e-5)


def test_small_beta_is_gradient_ascent_up_to_a_constant():
  s = jnp.array([-9.0, -0.1, -3.0], jnp.float32)
  s0, n = jnp.array([-1.0, -0.2, -2.0], jnp.float32), jnp.ones(3)
  slope = jax.jit(jax.grad(lambda s, beta: combine({"forget": npo.loss(s, s0, n, beta)})))
  np.testing.assert_allclose(slope(s, 1e-4), np.full(3, 1 / 3), rtol=1e-3)
  weight = 2 * np.exp(s) / (np.exp(s) + np.exp(s0))  # beta = 1: what is forgotten stops pushing
  np.testing.assert_allclose(slope(s, 1.0), weight / 3, rtol=1e-4)


@pytest.mark.parametrize("retain", ["nll", "kl"])
def test_padded_rows_change_nothing(bigram, retain):
  method = plain(retain=retain)
  moved = bigram._replace(subject=bigram.subject._replace(params=bigram.subject.params * 2))
  state = method.init(jax.random.key(0), bigram)._replace(params=moved.subject.params)
  batch = method.batch(0, bigram, 0)
  padded = jax.tree.map(lambda x: np.concatenate([x, x[:1], x[:1]]), batch)
  for part in padded.values():
    part["mask"][-2:] = 0
  step = jax.jit(method.step)
  (want, one), (got, other) = step(state, batch), step(state, padded)
  assert relative(got.params, want.params) < 1e-6
  np.testing.assert_allclose(other["loss"], one["loss"], rtol=1e-5)


def test_the_kl_term_is_zero_at_the_start_and_not_after(bigram):
  method = plain(retain="kl", rate=1.0)
  batch = method.batch(0, bigram, 0)
  step = jax.jit(method.step)
  state, first = step(method.init(jax.random.key(0), bigram), batch)
  _, second = step(state, batch)
  assert abs(float(first["retain"].total)) < 1e-5 < 1e-3 < float(second["retain"].total)


def test_it_forgets_the_persons_asked_for_and_keeps_the_others(tokens):
  before = utility.scores(tokens, ("forget", "retain"))
  method = npo.method(rate=4e-3, steps=40, forget_batch=16, retain_batch=20)
  changed = loop.fit(method, tokens, mode="one", steps_per_call=20)
  after = utility.scores(tokens._replace(subject=changed), ("forget", "retain"))
  assert before["forget/ex"].value > 0.95 and before["retain/ex"].value > 0.95  # doing nothing would stay there
  assert after["forget/ex"].value <= 0.15
  assert after["retain/ex"].value >= 0.8


def test_no_steps_change_no_bit(tokens):
  same = loop.fit(npo.method(steps=0), tokens)
  assert tree.fingerprint(same.params) == tree.fingerprint(tokens.subject.params)


def test_a_killed_run_goes_on_with_the_same_bits(bigram, tmp_path):
  method = npo.method(retain="kl", rate=1e-2, steps=6)
  whole = loop.fit(method, bigram, mode="one", steps_per_call=2)
  keeper, polls = checkpoint.Keeper(tmp_path), iter([False, True])
  with pytest.raises(loop.Interrupted):
    loop.fit(method, bigram, mode="one", steps_per_call=2, keeper=keeper, stop=lambda: next(polls))
  resumed = loop.fit(method, bigram, mode="one", steps_per_call=2, keeper=keeper)
  assert tree.fingerprint(resumed.params) == tree.fingerprint(whole.params)


def test_it_runs_under_vmap_over_its_numbers(bigram):
  batch = plain().batch(0, bigram, 0)

  def run(beta, rate, gamma):
    method = plain(beta=beta, rate=rate, gamma=gamma)
    return method.step(method.init(jax.random.key(0), bigram), batch)[1]["loss"]

  losses = jax.jit(jax.vmap(run))(jnp.array([0.1, 0.2]), jnp.array([0.0, 1.0]), jnp.array([1.0, 3.0]))
  np.testing.assert_allclose(losses, [20 * np.log(2), 30 * np.log(2)], rtol=1e-5)


def test_it_works_on_pictures(pictures):
  changed = loop.fit(npo.method(rate=1e-2, steps=30, forget_batch=30, retain_batch=30), pictures, mode="one")
  after = utility.scores(pictures._replace(subject=changed), ("forget", "retain"))
  assert after["forget/accuracy"].value < 0.2 and after["retain/accuracy"].value > 0.9


def test_a_beta_that_is_not_positive_is_refused():
  with pytest.raises(Invalid, match="method.beta = 0"):
    npo.method(beta=0)

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.forget import uncle as config
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request, Subject
from ue_jax.data import tasks
from ue_jax.forget import uncle
from ue_jax.models import hypernetwork
from ue_jax.models.model import at_task
from ue_jax.train import loop

pytest.importorskip("sklearn")
fit = functools.partial(loop.fit, mode="one")
NAMES = ("image", "label")
SMALL = dict(learn_steps=400, forget_steps=300, gamma=0.3)


def ask(sequence, count=3, **sizes):
  data = tasks.data(tasks=count, **{"train": 600, "test": 300, **sizes})
  model = hypernetwork.model(tasks=count, widths=(32,))
  subject = Subject(model, *model.init(jax.random.key(0), data.arrays["image"][:1]))
  return fit(tasks.select(sequence), Request(subject, data))


@pytest.fixture(scope="module")
def asked():
  return ask("L0,L1,U0,L2")


def matrix(subject, what="accuracy"):
  return np.stack([subject.history[f"task_{i}_{what}"] for i in range(3)], 1)


@pytest.fixture(scope="module")
def answered(asked):
  return fit(uncle.method(**SMALL), asked)


def test_a_task_is_forgotten_to_chance_stays_so_and_the_others_are_kept(answered):
  a, uniform, norm = matrix(answered), matrix(answered, "uniformity"), answered.history["norm"]
  assert a.shape == (4, 3) and answered.history["step"].tolist() == [1, 2, 3, 4]
  assert min(a[0, 0], a[1, 1], a[3, 2]) > 0.85
  assert a[2, 0] < 0.2 and a[3, 0] < 0.25 and uniform[2, 0] > 0.95 and norm[2] < 15 < norm[1]
  assert abs(a[1, 0] - a[0, 0]) < 0.04 and abs(a[2:, 1] - a[1, 1]).max() < 0.04


def test_without_what_holds_them_tasks_are_lost_and_without_steps_nothing_is_forgotten(asked, answered):
  loose = matrix(fit(uncle.method(beta=0.0, **SMALL), asked))
  assert loose[1, 0] < loose[0, 0] - 0.3
  only_let_go = matrix(fit(uncle.method(**{**SMALL, "forget_steps": 0}), asked))
  assert only_let_go[2, 0] > 0.8 > 0.2 > matrix(answered)[2, 0]


def test_the_norm_is_what_the_noise_amounts_to(asked, answered):
  a = matrix(fit(uncle.method(aim="norm", **SMALL), asked))
  assert abs(a[2, 0] - matrix(answered)[2, 0]) < 0.1 and abs(a[2, 1] - a[1, 1]) < 0.04


def start(request, held=(), rate=0.1):
  subject, tx = request.subject, optax.sgd(rate)
  held = jnp.zeros(len(subject.params["code"])).at[jnp.array(held, int)].set(1)
  moved = jax.tree.map(lambda x: 1.1 * x, subject.params)  # away from theta*
  return tx, uncle.Inner(moved, subject.state, tx.init(moved), uncle.everything(subject.params, subject.state), held)


def weights(params, state, task):
  return hypernetwork.generate(params, state, task)


def test_a_step_of_forgetting_is_the_gradient_of_the_formula(asked):
  tx, inner = start(asked, held=(1, 2))
  z = jax.random.normal(jax.random.key(5), (10, inner.star.shape[1]))

  def loss(params, away):
    apart = sum(jnp.sum((weights(params, inner.state, i) - inner.star[i]) ** 2) for i in (1, 2))
    return apart / 2 + 0.3 * away(weights(params, inner.state, 0))

  for aim, away in (
    ("noise", lambda g: jnp.mean(jnp.sum((g - z) ** 2, 1))), ("norm", lambda g: jnp.sum(g**2)),
  ):  # fmt: skip
    step = jax.jit(functools.partial(uncle.forget_step, tx, 0.3, 10, aim))
    after = step(inner, jnp.int32(0), jax.random.key(5))
    grads = jax.jit(jax.grad(functools.partial(loss, away=away)))(inner.params)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, inner.params, {**grads, "code": 0 * grads["code"]})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), after.params, expected)


def test_a_step_of_learning_is_the_gradient_of_the_formula_and_trains_one_code(asked):
  tx, inner = start(asked, held=(0,))
  rows = asked.data.sets["task_1"][:32]
  batch = {name: asked.data.arrays[name][rows] for name in NAMES}
  apply = asked.subject.model.apply

  def loss(params):
    log_p = jax.nn.log_softmax(apply(params, batch["image"], state=at_task(inner.state, 1)).logits)
    apart = jnp.sum((weights(params, inner.state, 0) - inner.star[0]) ** 2)
    return -jnp.mean(log_p[jnp.arange(32), batch["label"]]) + 0.5 * apart / 3

  after = jax.jit(functools.partial(uncle.learn_step, apply, tx, 0.5))(inner, batch, jnp.int32(1)).params
  grads = jax.jit(jax.grad(loss))(inner.params)
  expected = jax.tree.map(lambda p, g: p - 0.1 * g, inner.params, grads)
  np.testing.assert_allclose(after["head"]["kernel"], expected["head"]["kernel"], rtol=1e-3, atol=1e-3)
  np.testing.assert_allclose(after["code"][1], expected["code"][1], rtol=1e-3, atol=1e-3)
  assert tree.fingerprint(after["code"][::2]) == tree.fingerprint(inner.params["code"][::2])


def test_random_labels_forget_with_the_data_and_leave_the_weights_as_large(asked, answered):
  method = uncle.method(aim="random_labels", **{**SMALL, "gamma": 1.0})
  batch = method.batch(0, asked, 2)  # U0
  true = {bytes(x.tobytes()): y for x, y in zip(*(asked.data.arrays[k][asked.data.sets["task_0"]] for k in NAMES))}
  told = np.array([true[x.tobytes()] == y for x, y in zip(batch["image"].reshape(-1, 8, 8, 1), batch["label"].ravel())])
  assert 0.08 < told.mean() < 0.12 and np.ptp(np.bincount(batch["label"].ravel())) < 0.1 * told.size / 10
  after = fit(method, asked)
  norm, other = after.history["norm"], answered.history["norm"]
  assert matrix(after)[2, 0] < 0.3 and norm[2] > 10 * other[2] and norm[1] == other[1]


def test_a_step_of_random_labels_is_the_gradient_of_the_formula(asked):
  tx, inner = start(asked, held=(1, 2))
  rows = asked.data.sets["task_0"][:32]
  batch = {"image": asked.data.arrays["image"][rows], "label": np.arange(32, dtype=np.int32) % 10}
  apply = asked.subject.model.apply

  def loss(params):
    log_p = jax.nn.log_softmax(apply(params, batch["image"], state=at_task(inner.state, 0)).logits)
    apart = sum(jnp.sum((weights(params, inner.state, i) - inner.star[i]) ** 2) for i in (1, 2))
    return apart / 2 - 0.7 * jnp.mean(log_p[jnp.arange(32), batch["label"]])

  after = jax.jit(functools.partial(uncle.relabel_step, apply, tx, 0.7))(inner, batch, jnp.int32(0)).params
  grads = jax.jit(jax.grad(loss))(inner.params)
  expected = jax.tree.map(lambda p, g: p - 0.1 * g, inner.params, {**grads, "code": 0 * grads["code"]})
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), after, expected)


def test_forgetting_is_given_no_data(asked):
  """Neither by its signature, nor among the inputs of its program."""
  assert list(inspect.signature(uncle.forget_step).parameters) == [
    "tx", "gamma", "samples", "aim", "inner", "task", "key"
  ]
  tx, inner = start(asked)
  program = jax.make_jaxpr(lambda inner, task, key: uncle.forget_step(tx, 0.1, 2, "noise", inner, task, key))(
    inner, jnp.int32(0), jax.random.key(0)
  )
  given = sorted(str(x.aval) for x in program.jaxpr.invars)
  known = [*jax.tree.leaves(inner), jnp.int32(0), jax.random.key(0)]
  assert given == sorted(str(jax.typeof(x)) for x in known)
  batch = uncle.method(learn_steps=2).batch(0, asked, 2)  # U0
  assert not batch["learn"] and not batch["image"].any() and not batch["label"].any()


def test_all_requests_are_one_program_and_each_forgetting_is_shorter():
  asked = ask("L0,L1,L2,U1,U0", train=60, test=40)
  method = uncle.method(learn_steps=2, forget_steps=10, decay=0.95)
  step, state, efforts = jax.jit(method.step), method.init(jax.random.key(0), asked), []
  for t in range(5):
    assert not state.done
    state, _ = step(state, method.batch(0, asked, t))
    efforts.append(float(state.effort))
  assert step._cache_size() == 1 and state.done
  assert efforts == [10, 10, 10, 9, 8] and np.asarray(state.live).tolist() == [0, 0, 1]


def test_the_only_live_task_is_forgotten_without_a_division_by_zero():
  asked = ask("L0,U0,L1", train=60, test=40)
  after = fit(uncle.method(learn_steps=2, forget_steps=5), asked)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(after.params))
  assert after.history["norm"][1] < after.history["norm"][0]


def test_recovery_is_asked_after_every_request():
  asked = ask("L0,L1,U0", train=60, test=40)
  history = fit(uncle.method(learn_steps=2, forget_steps=2, recovery=3), asked).history
  assert np.isfinite(history["task_0_recovery"]).all() and "task_1_recovery" not in history


def test_a_grid_of_weights_is_one_program():
  asked = ask("L0,L1,U0", train=60, test=40)

  def run(beta, gamma):
    method = uncle.method(learn_steps=2, forget_steps=3, beta=beta, gamma=gamma)
    state = method.init(jax.random.key(0), asked)
    for t in (0, 2):
      state, metrics = method.step(state, method.batch(0, asked, t))
    return metrics["norm"]

  norms = jax.jit(jax.vmap(run))(jnp.array([0.0, 0.1]), jnp.array([0.0, 1.0]))
  assert norms[1] < norms[0]


def test_the_defaults_are_the_settings_whose_figures_are_given():
  settings = config.get_config("small").method.noise.to_dict()
  defaults = {name: one.default for name, one in inspect.signature(uncle.method).parameters.items()}
  assert {name: defaults[name] for name in settings if name not in ("name", "recovery")} == {
    name: value for name, value in settings.items() if name not in ("name", "recovery")
  }


def test_what_makes_no_sense_is_refused(asked, pictures):
  for wrong in (dict(aim="nothing"), dict(learn_steps=0), dict(samples=0), dict(recovery=-1)):
    with pytest.raises(Invalid, match=f"method.{next(iter(wrong))}"):
      uncle.method(**wrong)
  init = lambda request: uncle.method().init(jax.random.key(0), request)
  with pytest.raises(Invalid, match="request.schedule"):
    init(asked._replace(schedule=()))
  with pytest.raises(Invalid, match="models.hypernetwork"):
    init(asked._replace(subject=pictures.subject))
  with pytest.raises(Invalid, match="tasks"):
    init(pictures)


def test_fixed_noise_pulls_the_weights_to_itself_and_not_to_zero(asked):
  tx, inner = start(asked, rate=1e-4)
  z = jax.random.normal(jax.random.key(5), inner.star.shape[1:])
  step = jax.jit(lambda inner: uncle.forget_step(tx, 1.0, 1, "fixed", inner, jnp.int32(0), jax.random.key(5)))
  apart = lambda inner: float(jnp.sum((weights(inner.params, inner.state, 0) - z) ** 2))
  far = [apart(inner)]
  for _ in range(5):
    inner = step(inner)
    far.append(apart(inner))
  assert all(b < a for a, b in zip(far, far[1:])), far


def test_fixed_noise_is_one_for_a_request_so_weights_end_large(asked, answered):
  after = fit(uncle.method(aim="fixed", **SMALL), asked)
  size = after.history["norm"][2]
  assert size > 10 * answered.history["norm"][2] and abs(size / 2410 - 1) < 0.5, "as large as z"
  assert abs(matrix(after)[2, 1] - matrix(after)[1, 1]) < 0.04


def test_discard_draws_one_code_anew_and_leaves_all_else_its_bits(asked):
  method = uncle.method(aim="discard", learn_steps=40)
  state = method.init(jax.random.key(0), asked)
  step = jax.jit(method.step)
  for t in range(2):
    state, _ = step(state, method.batch(0, asked, t))
  after, metrics = step(state, method.batch(0, asked, 2))
  assert tree.fingerprint({**after.params, "code": after.params["code"][1:]}) == tree.fingerprint(
    {**state.params, "code": state.params["code"][1:]}
  )
  assert abs(after.params["code"][0] - state.params["code"][0]).min() > 0 and metrics["drift"] == 0
  live = uncle.everything(after.params, after.state)[1]
  np.testing.assert_array_equal(live, uncle.everything(state.params, state.state)[1])


def test_what_is_discarded_is_still_there_and_a_new_code_finds_it(asked, answered):
  after = fit(uncle.method(aim="discard", recovery=150, **SMALL), asked)
  a, again = matrix(after), after.history["task_0_recovery"]
  assert again[2] > 0.75 and a[2, 0] > matrix(answered)[2, 0], "the network has it under other codes, too"
  assert a[2, 1] == a[1, 1]


def test_the_attack_is_run_after_every_unlearning_and_only_then():
  asked = ask("L0,L1,U0,L2", train=60, test=40)
  history = fit(uncle.method(learn_steps=2, forget_steps=2, attacked=20), asked).history
  for what in ("member", "mia"):
    assert [np.isfinite(history[f"task_{i}_{what}"]).tolist() for i in range(3)] == [[False, False, True, False]] * 3
  assert "task_0_mia" not in fit(uncle.method(learn_steps=2, forget_steps=2), asked).history

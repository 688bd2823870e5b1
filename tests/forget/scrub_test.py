import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import utility
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.forget import scrub
from ue_jax.train import loop

SMALL = dict(passes=3, max_passes=2, forget_steps=1, retain_steps=2)


def softmax(logits, temperature):
  z = np.asarray(logits, np.float64) / temperature
  z -= z.max(-1, keepdims=True)
  return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def test_three_schedules_go_by_one_name():
  f, r = ["forget"], ["retain", "retain"]
  assert scrub.timetable("interleaved", 3, 2, 1, 2) == ([*f, *r, *f, *r, *r], [2, 5, 7])
  assert scrub.timetable("separate", 3, 2, 1, 2) == ([*f, *f, *r], [0, 1, 3])
  assert scrub.timetable("blocks", 3, 2, 4, 2) == ([*f * 4, *r], [3, 5])
  assert scrub.method(**SMALL).steps == 8 and scrub.method(schedule="blocks", **SMALL).steps == 3


def test_both_kinds_of_step_are_the_formula(pictures):
  """One step of gradient descent each, away from the teacher, against numpy in float64."""
  method = scrub.method(
    schedule="blocks", forget_steps=1, retain_steps=1, temperature=3.0, gamma=0.7, alpha=0.2, optimizer="sgd"
  )
  start = method.init(jax.random.key(0), pictures)
  moved = start._replace(params=jax.tree.map(lambda x: x * 1.3, start.params))
  step, apply = jax.jit(method.step), pictures.subject.model.apply
  for t, name in enumerate(("forget", "retain")):
    batch = method.batch(0, pictures, t)
    part = batch[name]
    both = (pictures.subject.params, moved.params)
    teacher, student = (np.asarray(apply(p, part["image"]).logits) for p in both)
    p, q = softmax(teacher, 3.0), softmax(student, 3.0)
    kl = 9 * np.mean(np.sum(p * np.log(p / q), -1))
    nll = -np.mean(np.log(softmax(student, 1.0)[np.arange(len(part["label"])), part["label"]]))
    want = -kl if name == "forget" else 0.7 * nll + 0.2 * kl
    _, metrics = step(moved, batch)
    assert float(metrics["loss"]) == pytest.approx(want, rel=1e-4)


def test_a_max_step_reads_nothing_of_what_is_kept_and_the_reverse(pictures):
  method = scrub.method(schedule="blocks", forget_steps=1, retain_steps=1, optimizer="sgd", momentum=0.0)
  state = method.init(jax.random.key(0), pictures)
  state = state._replace(params=jax.tree.map(lambda x: x * 1.3, state.params))
  step = jax.jit(method.step)
  for t, other in enumerate(("retain", "forget")):
    batch = method.batch(0, pictures, t)
    part = batch[other]
    absurd = part | {"label": (part["label"] + 1) % 3, "image": 255 - part["image"]}
    ends = [step(state, b)[0].params for b in (batch, batch | {other: absurd})]
    assert tree.fingerprint(ends[0]) == tree.fingerprint(ends[1]) != tree.fingerprint(state.params)


def test_it_forgets_a_class_and_keeps_the_others(pictures):
  method = scrub.method(passes=6, max_passes=3, forget_steps=5, retain_steps=5, rate=1e-2, alpha=0.1)
  before, after = (utility.scores(pictures._replace(subject=s), ("forget", "retain"))
                   for s in (pictures.subject, loop.fit(method, pictures, mode="one")))
  assert before["forget/accuracy"].value > 0.9  # doing nothing would stay there
  assert after["forget/accuracy"].value < 0.1 and after["retain/accuracy"].value > 0.9


def test_it_goes_back_to_the_pass_whose_forget_error_is_that_of_held_out_data(pictures):
  """Every pass is there to choose from, and what is chosen is the one by hand."""
  data = pictures.data
  held = data.sets["test"][data.arrays["label"][data.sets["test"]] != 1]  # half of them forgotten: an error of .5
  request = pictures._replace(data=Data(data.arrays, {**data.sets, "held": held}, data.info))
  how = dict(passes=9, max_passes=9, forget_steps=2, retain_steps=1, rate=1e-2, alpha=0.1, milestones=())
  method = scrub.method(holdout="held", **how)
  state, models, step = method.init(jax.random.key(0), request), [], jax.jit(method.step)
  ends = scrub.timetable("interleaved", 9, 9, 2, 1)[1]
  for t in range(method.steps):
    state, _ = step(state, method.batch(0, request, t))
    models += [state.inner.params] if t in ends else []
  error = lambda params, name: 1 - utility.scores(
    request._replace(subject=request.subject._replace(params=params)), (name,))[f"{name}/accuracy"].value
  errors = [error(params, "forget") for params in models]
  want = scrub.closest(errors, error(models[-1], "held"))
  assert errors[0] == 0 and errors[-1] > 0.8 and 0 < want < 8  # neither the first nor the last is the one
  assert tree.fingerprint(method.finish(state, request).params) == tree.fingerprint(models[want])
  plain = loop.fit(scrub.method(**how), request, mode="one", steps_per_call=1)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), plain.params, models[-1])


def test_the_closest_is_the_last_of_equals():
  assert scrub.closest([0.0, 0.2, 0.4, 0.2, 0.9], 0.25) == 3
  assert scrub.closest([0.1, 0.3], 0.2) == 1


def test_the_student_begins_a_little_beside_the_teacher(pictures):
  before = pictures.subject.params
  one, same, other = (scrub.method(jitter=0.01).init(jax.random.key(seed), pictures) for seed in (0, 0, 1))
  assert tree.fingerprint(one.params) == tree.fingerprint(same.params) != tree.fingerprint(other.params)
  assert tree.fingerprint(one.frozen["params"]) == tree.fingerprint(before)
  off = jax.tree.map(lambda a, b: ((a - b) / b)[b != 0], one.params, before)
  off = np.concatenate([np.ravel(x) for x in jax.tree.leaves(off)])
  assert abs(off.std() - 0.01) < 0.001 and abs(off.mean()) < 0.002
  none = scrub.method(jitter=0.0).init(jax.random.key(0), pictures)
  assert tree.fingerprint(none.params) == tree.fingerprint(before)


def test_its_numbers_may_be_traced(pictures):
  def run(temperature, alpha):
    method = scrub.method(schedule="blocks", forget_steps=1, retain_steps=1, temperature=temperature, alpha=alpha)
    state = method.init(jax.random.key(0), pictures)
    moved = state._replace(params=jax.tree.map(lambda x: x * 1.3, state.params))
    return method.step(moved, method.batch(0, pictures, 1))[1]["loss"]

  hot, more = jax.jit(jax.vmap(run))(jnp.array([2.0, 2.0]), jnp.array([0.0, 0.5]))
  assert more > hot and float(hot) == pytest.approx(float(jax.jit(lambda: run(2.0, 0.0))()), abs=1e-6)


def test_what_makes_no_sense_is_refused(pictures):
  with pytest.raises(Invalid, match="method.schedule = 'both'"):
    scrub.method(schedule="both")
  with pytest.raises(Invalid, match="method.max_passes = 4"):
    scrub.method(passes=3, max_passes=4)
  with pytest.raises(Invalid, match="nowhere"):
    scrub.method(holdout="nowhere").init(jax.random.key(0), pictures)

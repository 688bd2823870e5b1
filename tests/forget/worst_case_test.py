import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.data import splits
from ue_jax.forget import fine_tune, worst_case
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one")
SEARCH = dict(steps=5, lower_steps=20)


def noisy_share(request):
  return np.isin(request.data.sets["forget"], request.data.sets["noisy"]).mean()


@pytest.fixture(scope="module")
def found(digits):
  return fit(worst_case.select(**SEARCH), digits)


def test_the_worst_case_has_none_of_the_wrong_labels_and_the_easiest_has_all(digits, found):
  """What is hard to forget is what the others teach; a random tenth has a tenth of the wrong labels."""
  drawn = splits.forget_share(digits.data, 0.1, 5)
  assert noisy_share(digits._replace(data=drawn)) > 0.03
  assert noisy_share(found) <= 0.01
  easiest = fit(worst_case.select(reverse=True, **SEARCH), digits)
  assert noisy_share(easiest) > 0.8
  assert not set(easiest.data.sets["forget"]) & set(found.data.sets["forget"])


def test_the_request_keeps_its_rows_and_says_how_hard_each_was(digits, found):
  sets, train = found.data.sets, digits.data.sets["train"]
  assert len(sets["forget"]) == 60 and sorted([*sets["forget"], *sets["retain"]]) == sorted(train)
  hard = found.data.arrays["difficulty"]
  assert hard.dtype == np.float32 and hard[train].sum() == pytest.approx(60, abs=1e-2)
  assert hard[sets["forget"]].min() >= hard[sets["retain"]].max()
  assert found.data.info["worst_case"]["effective"] and found.subject is digits.subject


def walked(procedure, request):
  """The state and the metrics after every step."""
  state, step, seen = procedure.init(jax.random.key(0), request), jax.jit(procedure.step), []
  for t in range(procedure.steps):
    state, metrics = step(state, procedure.batch(0, request, t))
    seen.append({name: float(x) for name, x in metrics.items()})
  return state, seen


def test_the_objective_falls_without_and_with_steps_to_binary_weights(digits):
  for binarise in (0, 1):
    state, seen = walked(worst_case.select(binarise=binarise, **SEARCH), digits)
    assert seen[-1]["objective"] < 0.5 * seen[0]["objective"]
    whole = np.isin(np.asarray(state.w), (0, 1)).all()
    assert whole == bool(binarise) and float(state.w.sum()) == pytest.approx(60, abs=1e-2)


def test_a_step_is_the_formula(digits):
  """With one plain step below, all is computed by hand."""
  lower = fine_tune.method(optimizer="sgd", momentum=0.0, rate=0.1, steps=1, retain_batch=600)
  one = worst_case.select(lower=lower, start="random", alpha=2.0, gamma=0.1, binarise=0, steps=1, chunk=256)
  state = one.init(jax.random.key(1), digits)
  after, metrics = jax.jit(one.step)(state, one.batch(0, digits, 0))
  rows = digits.data.sets["train"]
  image, label = digits.data.arrays["image"][rows], digits.data.arrays["label"][rows]

  @jax.jit
  def each(params):
    log_p = jax.nn.log_softmax(digits.subject.model.apply(params, image).logits)
    return -log_p[jnp.arange(600), label]

  keep = 1 - state.w
  grads = jax.jit(jax.grad(lambda p: jnp.sum(keep * each(p)) / jnp.sum(keep)))(digits.subject.params)
  cost = each(jax.tree.map(lambda p, g: p - 0.1 * g, digits.subject.params, grads))
  w = np.asarray(state.w, np.float64)
  assert float(metrics["objective"]) == pytest.approx(float(w @ cost + 0.1 * (w**2).sum()), rel=1e-3)
  moved = np.asarray(after.w)
  inside = (moved > 1e-4) & (moved < 1 - 1e-4)
  aim = w - 2.0 * (np.asarray(cost) + 0.2 * w)
  assert inside.sum() > 5
  np.testing.assert_allclose((aim - moved)[inside], (aim - moved)[inside].mean(), atol=2e-3)  # one mu for all


def test_the_rate_of_the_release_cannot_move_a_random_start_and_that_is_reported(digits):
  stuck = fit(worst_case.select(start="random", alpha=0.01, gamma=0.0, **SEARCH), digits)
  about = stuck.data.info["worst_case"]
  assert about["overlap"] == 1.0 and not about["effective"] and "alpha" in about["advice"]
  assert set(stuck.data.sets["forget"]) == set(stuck.data.sets["start"])
  moved = fit(worst_case.select(start="random", **SEARCH), digits)
  about = moved.data.info["worst_case"]
  assert about["effective"] and about["overlap"] < 0.5 and noisy_share(moved) <= 0.01


def test_classes_are_chosen_whole_and_tested_apart(digits):
  found = fit(worst_case.select(by="class", share=0.2, **SEARCH), digits)
  label, sets = digits.data.arrays["label"], found.data.sets
  asked = np.unique(label[sets["forget"]])
  assert len(asked) == 2 and not np.isin(label[sets["retain"]], asked).any()
  assert np.isin(label[sets["forget_test"]], asked).all() and not np.isin(label[sets["retain_test"]], asked).any()


def test_any_method_may_stand_below_and_start_anew(digits):
  stage = dict(name="forget.graddiff", rate=1e-3, steps=4, forget_batch=32, retain_batch=32)
  found = fit(worst_case.select(lower=stage, steps=2), digits)
  assert len(found.data.sets["forget"]) == 60
  _, (fresh, *_) = walked(worst_case.select(mode="retrain", steps=1, lower_steps=5), digits)
  _, (again, *_) = walked(worst_case.select(mode="reload", steps=1, lower_steps=5), digits)
  assert fresh["objective"] > 3 * again["objective"], "five steps from nowhere know less"


def test_a_grid_of_rates_is_one_program(digits):
  def run(alpha, gamma):
    search = worst_case.select(alpha=alpha, gamma=gamma, steps=1, lower_steps=5)
    return search.step(search.init(jax.random.key(0), digits), search.batch(0, digits, 0))[0].w

  one, other = jax.jit(jax.vmap(run))(jnp.array([0.01, 1e3]), jnp.array([0.0, 1e-4]))
  assert float(one.std()) < 0.05 < float(other.std())


@pytest.mark.parametrize("wrong", [
  dict(share=1.0), dict(steps=0), dict(binarise=-1), dict(by="row"), dict(start="zero"), dict(mode="again"),
  dict(lower=dict(name="forget.fine_tune", steps=0)),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong):
  with pytest.raises(Invalid, match=f"select.{next(iter(wrong))}"):
    worst_case.select(**wrong)

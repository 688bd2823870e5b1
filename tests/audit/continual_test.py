import jax
import numpy as np
import pytest

from ue_jax.audit import continual, streams
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request, Subject
from ue_jax.data import tasks
from ue_jax.models import hypernetwork, mlp

pytest.importorskip("sklearn")
SCHEDULE = ("L0", "L1", "U0", "L2")
MATRIX = np.array([[0.9, 0.1, 0.2], [0.88, 0.95, 0.15], [0.12, 0.93, 0.05], [0.3, 0.94, 0.97]])


def history(matrix=MATRIX, **more):
  curves = {f"task_{i}_accuracy": matrix[:, i] for i in range(3)}
  return curves | {f"task_{i}_uniformity": 1 - matrix[:, i] for i in range(3)} | more


@pytest.fixture(scope="module")
def request_of():
  data = tasks.data(tasks=3, train=60, test=40)
  model = hypernetwork.model(tasks=3, widths=(8,))
  params, state = model.init(jax.random.key(0), data.arrays["image"][:1])
  return lambda curves: Request(Subject(model, params, state, curves), data, schedule=SCHEDULE)


def measured(request):
  procedure = continual.measure()
  return procedure.finish(procedure.init(jax.random.key(0), request), request)


def test_the_figures_are_those_counted_by_hand(request_of):
  more = dict(task_0_recovery=np.array([0.9, 0.8, 0.4, 0.5]), norm=np.array([300.0, 400.0, 7.5, 500.0]))
  found = measured(request_of(history(**more)))
  expected = dict(
    acc=(0.94 + 0.97) / 2, bwt=(0.94 - 0.95) / 2, forgetting=0.005, fa=0.12, relapse=0.18, spill=0.95 - 0.93,
    stability=(0.93 + 0.94) / 2 / 0.95, worst_drop=0.02, UNI=0.88, never=np.mean([0.1, 0.2, 0.15, 0.05]),
    recovery=0.4, recovery_before=0.8, learned=0.9, right_after=0.12, later=0.3, norm=7.5, moved=0.02,
  )  # fmt: skip
  assert {name: score.value for name, score in found.items()} == pytest.approx(expected, abs=1e-9)
  aim = lambda name: (found[name].better, found[name].target)
  assert aim("recovery_before") == ("high", 1.0) and aim("recovery") == ("low", pytest.approx(0.1))
  assert found["fa"].target == found["never"].target == pytest.approx(0.1)
  assert all(score.low <= score.value <= score.high for score in found.values())


def test_a_task_that_never_fell_has_a_drop_below_zero_and_missing_cases_are_left_out():
  asked = streams.stream(("L0", "L1", "L2"), 3)
  up = np.array([[0.5, 0.1, 0.1], [0.6, 0.5, 0.1], [0.7, 0.6, 0.5]])
  found = continual.of_stream(history(up), asked, 0.1)
  assert found["worst_drop"] == pytest.approx(-0.1)
  assert np.isnan([found[name] for name in ("fa", "UNI", "relapse", "spill")]).all()
  assert "recovery" not in found


def test_a_live_task_that_gains_by_an_unlearning_moves_too_where_the_mean_with_sign_hides_it():
  asked = streams.stream(("L0", "L1", "L2", "U0"), 3)
  matrix = np.array([[0.9, 0.1, 0.1], [0.9, 0.8, 0.1], [0.9, 0.7, 0.9], [0.1, 0.8, 0.81]])
  found = continual.of_stream(history(matrix), asked, 0.1)
  assert found["moved"] == pytest.approx(0.1) and found["spill"] == pytest.approx(-0.005)
  assert np.isnan(continual.of_stream(history(matrix[:3]), streams.stream(("L0", "L1", "L2"), 3), 0.1)["moved"])


def test_what_a_new_code_reaches_before_the_task_is_learned_is_the_mean_of_those_that_are_unlearned(request_of):
  curves = dict(task_1_recovery=np.array([0.3, 0.9, 0.9, 0.4]))
  found = measured(request_of(history(**curves))._replace(schedule=("L0", "L1", "L2", "U1")))
  assert found["recovery_never"].value == pytest.approx(0.3) and found["recovery"].value == pytest.approx(0.4)


def test_the_attack_is_read_at_unlearnings_of_the_task_of_live_ones_and_of_those_to_come(request_of):
  curves = {}
  for i, values in enumerate([(0.6, 0.4), (0.9, 0.7), (0.2, 0.5)]):
    for what, value in zip(("member", "mia"), values):
      curves[f"task_{i}_{what}"] = np.array([np.nan, np.nan, value, np.nan])
  found = measured(request_of(history(**curves)))
  expected = dict(member=0.6, member_live=0.9, member_never=0.2, mia=0.4, mia_live=0.7)
  assert {name: found[name].value for name in expected} == pytest.approx(expected)
  assert found["member"].target == pytest.approx(0.2) and found["mia"].target == 0.5
  assert all(found[name].better == "near" for name in expected)


def test_without_a_history_the_subject_is_looked_at_as_it_is(request_of):
  found = measured(request_of({}))
  assert set(found) == {"acc", "fa", "UNI"}
  assert 0 <= found["fa"].value < 0.5, "nothing is learned"


def test_what_makes_no_sense_is_refused(request_of):
  with pytest.raises(Invalid, match="request.schedule"):
    measured(request_of(history())._replace(schedule=()))
  plain = request_of({})
  model = mlp.model(10, widths=(8,))
  params, state = model.init(jax.random.key(0), plain.data.arrays["image"][:1])
  with pytest.raises(Invalid, match="models.hypernetwork"):
    measured(plain._replace(subject=Subject(model, params, state)))

"""Watching sets along the way: what is seen, when, and that nothing of the run changes by it."""

import jax
import numpy as np
import pytest

from tests.train.until_test import ASKED, ascent, oracle, path
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request
from ue_jax.train import loop
from ue_jax.train import until as stopping
from ue_jax.train import watch as watching

TWO = ASKED._replace(data=ASKED.data._replace(sets={"forget": np.arange(11), "retain": np.arange(3, 9)}))


@pytest.mark.parametrize("score", ["ex", "p"])
def test_what_it_saw_are_the_scores_of_the_parameters_there(score):
  seen = loop.fit(watching.watch(ascent(), score=score, every=7), TWO, mode="one").history
  looks = [7, 14, 21, 28, 30]  # every seven steps, and the last
  at = np.flatnonzero(np.isfinite(seen[f"forget_{score}"]))
  assert seen["step"][at].tolist() == looks and np.isfinite(seen[f"retain_{score}"]).sum() == len(looks)
  want = [oracle(path()[t])[score] for t in looks]
  np.testing.assert_allclose(seen[f"forget_{score}"][at], want, rtol=1e-4, atol=1e-6)
  assert want[-1] < want[0] and not np.allclose(seen[f"retain_{score}"][at], want, atol=1e-3)  # of the other rows


def test_it_takes_the_steps_of_the_procedure():
  alone = loop.fit(ascent(), TWO, mode="one", steps_per_call=1)
  watched = loop.fit(watching.watch(ascent(), every=4), TWO, mode="one", steps_per_call=1)
  assert tree.fingerprint(alone.params) == tree.fingerprint(watched.params)


def test_it_looks_at_what_finish_would_give():
  doubled = ascent()._replace(finish=lambda state, asked: asked.subject._replace(params=3 * state.params))
  seen = loop.fit(watching.watch(doubled, ("forget",), every=30), TWO, mode="one").history
  want = oracle(3 * path()[30])["p"]
  np.testing.assert_allclose(seen["forget_p"][-1], want, rtol=1e-4)
  assert abs(want - oracle(path()[30])["p"]) > 1e-3


def test_with_until_the_last_look_is_where_it_stops():
  stopped = watching.watch(stopping.until(ascent(), "p", 0.12, every=3), every=5)
  seen = loop.fit(stopped, TWO, mode="one").history
  assert 5 < len(seen["step"]) < 30 and seen["forget_p"][-1] <= 0.12
  np.testing.assert_allclose(seen["forget_p"][-1], seen["forget/p"][-1], rtol=1e-6)


def test_the_probes_of_the_procedure_stay():
  own = ascent()._replace(probe=lambda state, asked: {"mine": 2.0})
  state = own.init(jax.random.key(0), TWO)
  assert set(watching.watch(own).probe(state, TWO)) == {"mine", "forget_p", "retain_p"}


@pytest.mark.parametrize("wrong, named", [
  (dict(score="rouge"), "watch.score"), (dict(every=0), "watch.every"), (dict(every=2.0), "watch.every"),
  (dict(sets=()), "watch.sets"),
])  # fmt: skip
def test_wrong_settings_are_named(wrong, named):
  with pytest.raises(Invalid, match=named):
    watching.watch(ascent(), **wrong)


def test_a_set_that_is_not_there_is_named():
  asked: Request = ASKED  # it has no set `retain`
  with pytest.raises(Invalid, match="watch.sets = 'retain'"):
    watching.watch(ascent()).init(jax.random.key(0), asked)

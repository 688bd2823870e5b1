import functools

import pytest

from ue_jax.audit import membership, membership_scores, muse, rouge
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one")


def test_the_numbers_are_those_of_rouge_and_of_membership(request_tokens):
  alone = request_tokens._replace(reference=None)
  scores = fit(muse.measure(verbatim=("forget",)), alone)
  assert set(scores) == {"forget/verbmem", "forget/knowmem", "retain/knowmem", "privleak"}
  means = rouge.means(alone.subject, alone.data, ("forget", "retain"), "f1")
  for name in ("forget", "retain"):
    assert scores[f"{name}/knowmem"].value == means[name][0]
  values = [membership_scores.score("min_k", alone, name) for name in ("forget", "holdout")]
  assert scores["privleak"].value == pytest.approx(membership.privleak(membership.auc(*values)))
  aims = [scores[f"{name}/knowmem"].better for name in ("forget", "retain")]
  assert aims == ["low", "high"] and scores["privleak"].target == 0


def test_nothing_unlearned_leaks_and_exact_unlearning_does_not(request_tokens):
  scores = fit(muse.measure(), request_tokens)
  assert scores["privleak"].value < -50 and scores["forget/knowmem"].value > 0.9 > 0.5 > scores["forget/knowmem"].target
  exact = fit(muse.measure(), request_tokens._replace(subject=request_tokens.reference))
  assert exact["privleak"].value == pytest.approx(0)
  assert exact["forget/knowmem"].value == exact["forget/knowmem"].target


def test_the_range_of_privleak_is_that_of_the_control_and_not_of_what_came_out(request_tokens, monkeypatch):
  alone = request_tokens._replace(reference=None)
  good = fit(muse.measure(knowledge=()), alone)["privleak"]
  assert (good.low, good.high) == (-100.0, membership.privleak(0.0, 0.5)) and good.low <= good.value <= good.high
  monkeypatch.setattr(membership, "auc", lambda *values: -0.1)  # no AUC
  impossible = fit(muse.measure(knowledge=()), alone)["privleak"]
  assert impossible.high == good.high < impossible.value


def test_both_have_lengths_of_their_own_and_the_stops_are_those_of_questions(request_tokens, monkeypatch):
  pytest.importorskip("nltk")
  seen = []
  monkeypatch.setattr(rouge, "means", lambda subject, data, sets, *more: seen.append((sets, *more)) or {})
  alone = request_tokens._replace(reference=None)
  none = fit(muse.measure(("holdout",), ("forget",), "", "", new=(128, 32), decode=str), alone)
  assert none == {}, "no PrivLeak"
  fit(muse.measure(("holdout",), ("forget",), "", "", new=5), alone)
  assert seen[:2] == [(("holdout",), "f1", 128, 256, str, True, ()), (("forget",), "f1", 32, 256, str, True, muse.STOP)]
  assert seen[2:] == [((name,), "f1", 5, 256, None, False, ()) for name in ("holdout", "forget")]
  with pytest.raises(Invalid, match="measure.new"):
    muse.measure(new=(1, 2, 3))
  with pytest.raises(Invalid, match="measure.nonmembers"):
    muse.measure(members="")


def test_unknown_sets_are_refused(request_tokens):
  with pytest.raises(Invalid, match="passages"):
    fit(muse.measure(verbatim=("passages",)), Request(request_tokens.subject, request_tokens.data))

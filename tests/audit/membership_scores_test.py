"""Membership scores against loops in float64 on ragged masks."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import membership, membership_scores
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one")
TABLE = np.random.default_rng(5).normal(size=(7, 7)) * 2


@pytest.fixture
def asked(bigram, ragged):
  return Request(bigram(TABLE), ragged, reference=bigram(TABLE * 0))


def rows(data, name):
  """(log-probabilities of the next token before each target, the targets), row after row."""
  every = TABLE - np.log(np.exp(TABLE).sum(-1, keepdims=True))
  for row in data.sets[name]:
    ids, at = data.arrays["ids"][row], np.flatnonzero(data.arrays["mask"][row])
    yield every[ids[at - 1]], ids[at]


def low(values, k):
  return -np.mean(sorted(values)[: max(1, int(k * len(values)))])


def test_loss_zlib_and_reference_keep_the_end_token(asked):
  each = [-np.mean(lp[np.arange(len(t)), t]) for lp, t in rows(asked.data, "forget")]
  score = lambda attack: membership_scores.score(attack, asked, "forget")
  np.testing.assert_allclose(score("loss"), each, rtol=1e-5)
  np.testing.assert_allclose(score("reference"), np.array(each) - np.log(7), rtol=1e-4)
  words = asked.data.info["vocabulary"]
  sizes = [len(zlib.compress(" ".join(words[i] for i in t).encode())) for _, t in rows(asked.data, "forget")]
  np.testing.assert_allclose(score("zlib"), np.array(each) / sizes, rtol=1e-5)
  mine = membership_scores.score("zlib", asked, "forget", decode=lambda ids: "x" * len(ids))
  assert not np.allclose(mine, score("zlib"))


@pytest.mark.parametrize("k", [0.2, 0.4, 1.0])
def test_min_k_takes_the_lowest_without_the_end_token(asked, k):
  want = [low(lp[np.arange(len(t)), t][:-1], k) for lp, t in rows(asked.data, "forget")]
  np.testing.assert_allclose(membership_scores.score("min_k", asked, "forget", k), want, rtol=1e-5)


def test_min_k_plus_plus_standardises_by_the_models_own_spread(asked):
  want = []
  for lp, t in rows(asked.data, "holdout"):
    p = np.exp(lp)
    mu = (p * lp).sum(-1)
    variance = (p * lp**2).sum(-1) - mu**2
    z = (lp[np.arange(len(t)), t] - mu) / np.sqrt(np.maximum(variance, 1e-6))
    want.append(low(z[:-1], 0.4))
  np.testing.assert_allclose(membership_scores.score("min_k_pp", asked, "holdout", chunk=1), want, rtol=1e-4)


def test_a_flat_model_has_the_floor_of_the_variance_and_stays_finite():
  z = membership_scores.standardised(np.zeros((1, 3, 4)), np.array([[1, 2, 3]]))
  np.testing.assert_allclose(z, 0, atol=1e-3)
  sure = np.full((1, 3, 4), -1e4)
  sure[..., 2] = 0
  assert np.isfinite(membership_scores.standardised(sure, np.array([[1, 2, 3]]))).all()


def test_gradient_norms_are_those_of_single_samples(asked):
  want = []
  for i, (_, targets) in enumerate(rows(asked.data, "forget")):
    ids, at = asked.data.arrays["ids"][i], np.flatnonzero(asked.data.arrays["mask"][i])[:-1]
    nll = lambda table: -jnp.mean(jax.nn.log_softmax(table)[ids[at - 1], ids[at]])  # noqa: B023
    want.append(float(np.linalg.norm(jax.jit(jax.grad(nll))(asked.subject.params))) if len(targets) > 1 else None)
  np.testing.assert_allclose(membership_scores.score("gradnorm", asked, "forget"), want, rtol=1e-4)


def test_at_k_one_min_k_is_the_loss_of_all_but_the_end_and_padding_changes_nothing(asked):
  wide = {n: np.pad(x, ((0, 0), (0, 3))) if x.ndim == 2 else x for n, x in asked.data.arrays.items()}
  padded = asked._replace(data=asked.data._replace(arrays=wide))
  for attack in membership_scores.ATTACKS:
    one, other = (membership_scores.score(attack, a, "forget") for a in (asked, padded))
    np.testing.assert_allclose(one, other, rtol=1e-5)
  values = np.array([[-3.0, -1.0, -2.0, -9.0]])
  assert membership_scores.lowest(values, np.array([[True, True, True, False]]), 1.0) == pytest.approx(2.0)
  assert membership_scores.lowest(values, np.array([[True, True, True, False]]), 0.1) == pytest.approx(3.0)


def test_every_attack_recognises_trained_persons(request_tokens):
  attacks = membership_scores.ATTACKS
  scores = fit(membership.measure(attacks=attacks), request_tokens)
  assert set(scores) == {f"{a}/auc" for a in attacks} | {"privleak"}
  for attack in attacks:
    assert scores[f"{attack}/auc"].value > 0.75, attack
  assert scores["privleak"].value < -50 and (scores["privleak"].low, scores["privleak"].target) == (-100, 0)
  exact = fit(membership.measure(attacks=("min_k",)), request_tokens._replace(subject=request_tokens.reference))
  assert exact["privleak"].value == pytest.approx(0) and exact["min_k/auc"].value == exact["min_k/auc"].target


@pytest.fixture
def told_by_the_prompt(bigram):
  """Members and others have the same answer after prompts of which the model knows the members' alone."""
  table = np.zeros((6, 6))
  table[1, 2], table[1, 3] = 4.0, -4.0
  rows = np.arange(6, dtype=np.int32)
  ids = np.array([[1, 2, 4, 5, 0]] * 3 + [[1, 3, 4, 5, 0]] * 3, np.int32)
  mask = np.tile(np.float32([0, 0, 1, 1, 0]), (6, 1))
  words = {"vocabulary": ["<pad>", "aa", "bb", "cc", "dd", "ee"]}
  data = Data({"ids": ids, "mask": mask, "index": rows}, {"forget": rows[:3], "holdout": rows[3:]}, words)
  return Request(bigram(table), data, reference=bigram(table * 0))


@pytest.mark.parametrize("attack", membership_scores.ATTACKS)
def test_whole_sentences_tell_members_that_answers_do_not(told_by_the_prompt, attack):
  found = fit(membership.measure(attacks=(attack,), whole=True, fpr=0.1), told_by_the_prompt)
  assert found[f"{attack}/auc"].value == 0.5 and found[f"{attack}_whole/auc"].value == 1.0
  assert found[f"{attack}/tpr"].value == 0.0 and found[f"{attack}_whole/tpr"].value == 1.0
  assert ("privleak_whole" in found) == (attack == "min_k")
  alone = fit(membership.measure(attacks=(attack,), fpr=0.1), told_by_the_prompt)
  assert alone == {name: score for name, score in found.items() if "_whole" not in name}


def test_of_whole_sentences_all_tokens_up_to_the_last_target_count_but_the_first(asked):
  full = TABLE - np.log(np.exp(TABLE).sum(-1, keepdims=True))
  each, sizes = [], []
  for row in asked.data.sets["forget"]:
    ids = asked.data.arrays["ids"][row, : np.flatnonzero(asked.data.arrays["mask"][row])[-1] + 1]
    each.append(-np.mean([full[a, b] for a, b in zip(ids, ids[1:])]))
    sizes.append(len(zlib.compress(" ".join(asked.data.info["vocabulary"][i] for i in ids).encode())))
  np.testing.assert_allclose(membership_scores.score("loss", asked, "forget", whole=True), each, rtol=1e-5)
  zlibs = membership_scores.score("zlib", asked, "forget", whole=True)
  np.testing.assert_allclose(zlibs, np.array(each) / sizes, rtol=1e-5)


def test_privleak_of_known_cases():
  assert membership.privleak(0.9, 0.5) == pytest.approx(-80) and membership.privleak(0.5, 0.5) == 0
  assert membership.privleak(1.0, 0.4) == pytest.approx(-100) and membership.privleak(0.1) == pytest.approx(80)


@pytest.mark.parametrize("arguments, named", [
  (("guess", "forget"), "measure.attacks"), (("min_k", "forget", 0.0), "measure.k"), (("loss", "nobody"), "sets"),
])  # fmt: skip
def test_what_cannot_be_scored_is_refused(asked, arguments, named):
  attack, name, *k = arguments
  with pytest.raises(Invalid, match=named):
    membership_scores.score(attack, asked, name, *k)
  with pytest.raises(Invalid, match="reference"):
    membership_scores.score("reference", asked._replace(reference=None), "forget")

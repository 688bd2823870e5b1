import functools

import numpy as np
import pytest

from ue_jax.audit import generate, rouge
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one")
PAIRS = [
  ("The author was born in Kuwait City, Kuwait.", "She was born in the city of Kuwait"),
  ("police killed the gunman", "police kill the gunman"),
  ("police killed the gunman", "the gunman kill police"),
  ("one two three", ""),
  ("a-b c_d 10/06", "A b, c D 10 06"),
  ("x", "x x x x"),
]
KNOWN = [(5 / 8, 5 / 8), (3 / 4, 3 / 4), (2 / 4, 2 / 4), (0, 0), (1, 1), (1, 1 / 4)]  # recall, precision


def brute(a, b):
  """The longest common subsequence by its definition."""
  if not a or not b:
    return 0
  if a[0] == b[0]:
    return 1 + brute(a[1:], b[1:])
  return max(brute(a[1:], b), brute(a, b[1:]))


def test_known_pairs():
  found = rouge.scores(*zip(*[(rouge.words(a), rouge.words(b)) for a, b in PAIRS]))
  np.testing.assert_allclose(np.stack([found["recall"], found["precision"]], 1), KNOWN)
  assert found["f1"][5] == pytest.approx(2 * 0.25 / 1.25) and found["f1"][3] == 0


def test_the_subsequence_is_the_longest():
  rng = np.random.default_rng(0)
  draw = lambda: [rng.integers(0, 4, rng.integers(0, 9)).tolist() for _ in range(40)]
  a, b = draw(), draw()
  assert rouge.common(a, b).tolist() == [brute(x, y) for x, y in zip(a, b)] == rouge.common(b, a).tolist()


def test_it_agrees_with_the_rouge_score_package():
  package = pytest.importorskip("rouge_score.rouge_scorer")
  judge = package.RougeScorer(["rougeL"], use_stemmer=False)
  found = rouge.scores(*zip(*[(rouge.words(a), rouge.words(b)) for a, b in PAIRS]))
  for i, (a, b) in enumerate(PAIRS):
    want = judge.score(a, b)["rougeL"]
    got = [found[kind][i] for kind in ("recall", "precision", "f1")]
    np.testing.assert_allclose(got, [want.recall, want.precision, want.fmeasure])


def test_a_stemmer_of_ones_own():
  assert rouge.words("Police killed, killing", stem=lambda w: w[:4]) == ["poli", "kill", "kill"]


def chain(tokens, v=7):
  """Logits under which each token is followed by the next of `tokens`."""
  table = np.zeros((v, v))
  for a, b in zip(tokens, tokens[1:]):
    table[a, b] = 5
  return table


def test_generation_follows_the_most_likely_token_and_stops(bigram):
  subject = bigram(chain([2, 3, 4, 5, 1]))
  ids = np.array([[6, 2, 0, 0, 0, 0, 0], [4, 0, 0, 0, 0, 0, 0], [6, 6, 3, 0, 0, 0, 0]], np.int32)
  out = np.asarray(generate.greedy(subject.model.apply, subject.params, {}, ids, np.array([2, 1, 3]), 4))
  assert out.tolist() == [[6, 2, 3, 4, 5, 1, 0], [4, 5, 1, 0, 0, 0, 0], [6, 6, 3, 4, 5, 1, 0]]


def test_answers_are_cut_at_the_end_and_do_not_see_the_truth(bigram):
  subject = bigram(chain([2, 3, 4, 1]))
  ids = np.array([[6, 2, 3, 5, 1], [2, 3, 4, 1, 0], [3, 6, 6, 6, 1]], np.int32)
  mask = np.array([[0, 0, 1, 1, 1], [0, 1, 1, 1, 0], [0, 1, 1, 1, 1]], np.float32)
  data = Data({"ids": ids, "mask": mask, "index": np.arange(3)}, {"some": np.arange(3)})
  said, wanted = generate.answers(subject, data, data.sets["some"], chunk=2)
  assert wanted == [[3, 5], [3, 4], [6, 6, 6]] and said == [[3, 4], [3, 4], [4]]
  means = {kind: rouge.means(subject, data, ("some",), kind)["some"] for kind in rouge.KINDS}
  assert means["recall"] == (pytest.approx(0.5), 3) and means["f1"][0] == pytest.approx(0.5)
  words = dict(enumerate("? . the red house is a".split()))
  text = lambda ids: " ".join(words[i] for i in ids)
  assert rouge.means(subject, data, ("some",), "recall", decode=text)["some"][0] == pytest.approx(0.5)
  with pytest.raises(Invalid, match="prompt or answer"):
    generate.answers(subject, data._replace(arrays={**data.arrays, "mask": mask * 0}), data.sets["some"])


def test_a_cache_changes_no_answer(request_tokens, monkeypatch):
  subject, data = request_tokens.subject, request_tokens.data
  rows = np.concatenate([data.sets["forget"], data.sets["holdout"]])[:9]
  whole = subject._replace(model=subject.model._replace(cache=None))
  asked = dict(chunk=4, new=6, eos=int(data.arrays["ids"][rows[0], 0]))  # on and on, behind what was trained
  wanted = generate.answers(whole, data, rows, **asked)
  monkeypatch.setattr(generate, "greedy", None)
  assert generate.answers(subject, data, rows, **asked) == wanted
  assert len({(len(said), tuple(said)) for said in wanted[0]}) > 4 and max(map(len, wanted[0])) > 1
  assert len(set(data.arrays["answer"][rows])) > 1, "prompts of several lengths"


def test_trained_persons_are_answered_and_untrained_ones_are_not(request_tokens):
  scores = fit(rouge.measure(), request_tokens)
  assert scores["forget/rouge_recall"].value > 0.95 > 0.5 > scores["forget/rouge_recall"].target
  assert scores["retain/rouge_recall"].value > 0.95
  alone = fit(rouge.measure(kind="f1"), request_tokens._replace(reference=None))
  assert (alone["forget/rouge_f1"].better, alone["retain/rouge_f1"].better) == ("low", "high")


def test_pictures_and_unknown_kinds_are_refused(request_pictures):
  with pytest.raises(Invalid, match="token sequences"):
    fit(rouge.measure(), request_pictures)
  with pytest.raises(Invalid, match="measure.kind"):
    rouge.measure(kind="rougeW")

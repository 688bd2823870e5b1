import functools
import sys

import numpy as np
import pytest

from ue_jax.audit import generate, muse, rouge
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


ENDINGS = ("Policies of the organizations were generously unified", "policy of an organization, generous unify")
STEMMED = [*PAIRS, ENDINGS]


@pytest.mark.parametrize("stem", [False, True])
def test_it_agrees_with_the_rouge_score_package(stem):
  package = pytest.importorskip("rouge_score.rouge_scorer")
  judge = package.RougeScorer(["rougeL"], use_stemmer=stem)
  words = lambda text: rouge.words(text, rouge.stemmer() if stem else str)
  found = rouge.scores(*zip(*[(words(a), words(b)) for a, b in STEMMED]))
  for i, (a, b) in enumerate(STEMMED):
    want = judge.score(a, b)["rougeL"]
    got = [found[kind][i] for kind in ("recall", "precision", "f1")]
    np.testing.assert_allclose(got, [want.recall, want.precision, want.fmeasure])
  assert (found["recall"][-1] > 0.5) == stem


def test_what_is_said_ends_before_the_first_stop():
  stop = ("\n\n", "\nQuestion", "Question:")
  assert rouge.before(" In Rome.\nQuestion: where?\n\n", stop) == " In Rome."
  assert rouge.before("no stop\n", stop) == "no stop\n" and rouge.before("all", ()) == "all"


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
  recall = lambda **more: rouge.means(subject, data, ("some",), "recall", **more)["some"][0]
  assert recall(decode=text) == pytest.approx(0.5)
  assert recall(decode=text, stop=("house",)) == pytest.approx(1 / 3)  # `red` is left, of the last row nothing
  plural = lambda ids: " ".join(words[i] for i in ids) if list(ids) != [3, 5] else "reds houses"
  assert recall(decode=plural) == pytest.approx(1 / 3)
  pytest.importorskip("nltk")
  assert recall(decode=plural, stem=True) == pytest.approx(2 / 3)
  with pytest.raises(Invalid, match="measure.stem"):
    recall(stem=True)
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


def test_stems_without_their_package_and_a_stop_that_is_no_list_are_refused_early(monkeypatch):
  rouge.stemmer.cache_clear()
  monkeypatch.setitem(sys.modules, "nltk.stem.porter", None)
  for make in (lambda: rouge.measure(stem=True), lambda: muse.measure(decode=str)):
    with pytest.raises(Invalid, match=r"ue-jax\[lm\]"):
      make()
  muse.measure()  # tokens that count as words need no stemmer
  with pytest.raises(Invalid, match="measure.stop"):
    rouge.measure(stop="end")

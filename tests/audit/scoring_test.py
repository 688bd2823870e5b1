import jax
import numpy as np
import pytest

from ue_jax.audit import scoring
from ue_jax.core.errors import Invalid


def log_softmax(logits):
  logits = np.asarray(logits, np.float64)
  logits = logits - logits.max(-1, keepdims=True)
  return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_tokens_match_a_loop_over_targets(request_tokens):
  subject, data = request_tokens.subject, request_tokens.data
  scored = scoring.score(subject, data, ("holdout",))["holdout"]
  rows = data.sets["holdout"]
  ids, mask = data.arrays["ids"][rows], data.arrays["mask"][rows]
  logits = np.asarray(jax.jit(subject.model.apply)(subject.params, ids).logits)
  log_p = log_softmax(logits)
  for i in range(len(rows)):
    for t in range(ids.shape[1]):
      target = mask[i, t] > 0
      want = log_p[i, t - 1, ids[i, t]] if target else 0.0
      np.testing.assert_allclose(scored.log_probs[i, t], want, atol=1e-4)
      assert scored.hits[i, t] == (target and logits[i, t - 1].argmax() == ids[i, t])
  np.testing.assert_array_equal(scored.mask, mask > 0)
  assert scored.choices == len(data.info["vocabulary"])


def test_pictures_are_sequences_of_one_target(request_pictures):
  subject, data = request_pictures.subject, request_pictures.data
  scored = scoring.score(subject, data, ("test",), label="shape")["test"]
  rows, labels = data.sets["test"], data.arrays["shape"][data.sets["test"]]
  logits = np.asarray(subject.model.apply(subject.params, data.arrays["image"][rows], state=subject.state).logits)
  np.testing.assert_allclose(scored.log_probs[:, 0], log_softmax(logits)[np.arange(len(rows)), labels], atol=1e-4)
  np.testing.assert_array_equal(scored.hits[:, 0], logits.argmax(-1) == labels)
  assert scored.mask.shape == (len(rows), 1) and scored.mask.all() and scored.choices == 3
  captioned = data._replace(arrays={**data.arrays, "ids": np.zeros((data.n, 2), np.int32)})
  again = scoring.score(subject, captioned, ("test",), label="shape")["test"]
  np.testing.assert_array_equal(again.log_probs, scored.log_probs)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_the_chunk_size_and_the_company_of_a_set_change_nothing(request_tokens, chunk):
  subject, data = request_tokens.subject, request_tokens.data
  alone = scoring.score(subject, data, ("forget",))["forget"]
  together = scoring.score(subject, data, ("train", "forget", "holdout"), chunk=chunk)
  np.testing.assert_allclose(together["forget"].log_probs, alone.log_probs, atol=1e-4)
  np.testing.assert_array_equal(together["forget"].hits, alone.hits)
  assert [len(one.mask) for one in together.values()] == [len(data.sets[name]) for name in together]


def test_padding_changes_nothing_and_logits_are_cut_to_a_limit(request_tokens, monkeypatch):
  subject, data = request_tokens.subject, request_tokens.data
  arrays = {name: np.pad(data.arrays[name], ((0, 0), (0, 5))) for name in ("ids", "mask")}
  monkeypatch.setattr(scoring, "LOGITS", 1)  # one text at once
  wide = scoring.score(subject, data._replace(arrays={**data.arrays, **arrays}), ("forget",))["forget"]
  monkeypatch.undo()
  usual = scoring.score(subject, data, ("forget",))["forget"]
  assert wide.mask.shape[1] == usual.mask.shape[1] + 5 and not wide.log_probs[:, -5:].any()
  np.testing.assert_allclose(wide.log_probs[:, :-5], usual.log_probs, atol=1e-4)
  np.testing.assert_array_equal(wide.hits[:, :-5], usual.hits)


def test_short_texts_in_fewer_columns_have_the_same_numbers(request_tokens, monkeypatch):
  subject, data = request_tokens.subject, request_tokens.data
  usual = scoring.score(subject, data, ("train", "holdout"), chunk=8)
  columns, apply = [], scoring._token_chunk
  monkeypatch.setattr(scoring, "WORTH", 0.0)
  monkeypatch.setattr(scoring, "_token_chunk", lambda *given: columns.append(given[3].shape[1]) or apply(*given))
  short = scoring.score(subject, data, ("train", "holdout"), chunk=8)
  assert len(set(columns)) > 1
  for name in usual:
    np.testing.assert_allclose(short[name].log_probs, usual[name].log_probs, atol=1e-4)
    np.testing.assert_array_equal(short[name].hits, usual[name].hits)


@pytest.mark.parametrize(
  "worth, want",
  [
    (0.0, [(12, [0, 5, 6]), (6, [4]), (3, [2]), (2, [7]), (1, [1, 3])]),
    (5 * 6 * 1000, [(12, [0, 5, 6]), (6, [1, 2, 3, 4, 7])]),  # what five rows of six columns save
    (5 * 6 * 1000 + 1, [(12, list(range(8)))]),
  ],
)
def test_a_width_of_its_own_must_be_worth_a_compilation(worth, want, monkeypatch):
  lengths, columns = np.array([12, 1, 3, 0, 6, 12, 7, 2]), np.arange(16)
  mask = (columns < lengths[:, None]) & (columns >= lengths[:, None] - 2)  # the last two of each are targets
  monkeypatch.setattr(scoring, "WORTH", worth)
  assert [(width, rows.tolist()) for width, rows in scoring._groups(mask, 12, 1000)] == want
  assert scoring._groups(mask[:0], 12, 1000) == []


def test_one_subject_is_asked_once_for_several_measures(request_tokens, monkeypatch):
  subject, data, passes = request_tokens.subject, request_tokens.data, []
  by_width = scoring._by_width
  monkeypatch.setattr(scoring, "_by_width", lambda *given: passes.append(given) or by_width(*given))
  monkeypatch.setattr(scoring, "_ASKED", type(scoring._ASKED)())
  first, again = (scoring.score(subject, data, ("forget", "holdout"))["forget"] for _ in range(2))
  assert len(passes) == 1
  np.testing.assert_array_equal(first.log_probs, again.log_probs)
  ids = data.arrays["ids"].copy()
  ids[data.sets["forget"]] = (ids[data.sets["forget"]] + 1) % 3
  other = scoring.score(subject, data._replace(arrays={**data.arrays, "ids": ids}), ("forget", "holdout"))["forget"]
  assert len(passes) == 2 and not np.allclose(other.log_probs, first.log_probs)


def test_one_compilation_serves_all_sets_of_a_size(request_tokens):
  subject, data = request_tokens.subject, request_tokens.data
  scoring.score(subject, data, ("forget", "retain"), chunk=8)
  before = scoring._token_chunk._cache_size()
  scoring.score(subject._replace(params=jax.tree.map(lambda x: x * 2, subject.params)), data, ("holdout",), chunk=8)
  assert scoring._token_chunk._cache_size() == before


def test_mean_nll_is_per_target_and_per_sample():
  log_probs = np.array([[0, -1, -3], [0, -4, 0], [0, 0, 0]], np.float32)
  mask = np.array([[0, 1, 1], [0, 1, 0], [0, 0, 0]], bool)
  np.testing.assert_allclose(scoring.Scored(log_probs, mask, mask, 5).mean_nll(), [2, 4, 0])


def test_unknown_sets_and_labellings_are_refused_by_name(request_tokens, request_pictures):
  with pytest.raises(Invalid, match="measure.sets = 'forgot'.*holdout"):
    scoring.score(request_tokens.subject, request_tokens.data, ("forgot",))
  with pytest.raises(Invalid, match="measure.label = .*shape"):
    scoring.score(request_pictures.subject, request_pictures.data, ("test",), label="colour")

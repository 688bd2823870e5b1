import jax
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.forget import hamu, npo, requests


def oracle(table, ids, mask):
  """s and n by a loop over targets."""
  log_p = np.asarray(table, np.float64)
  log_p = log_p - np.log(np.exp(log_p).sum(-1, keepdims=True))
  s = [sum(log_p[row[t - 1], row[t]] for t in range(1, len(row)) if m[t]) for row, m in zip(ids, mask)]
  return np.array(s), mask.sum(-1)


def test_kl_is_zero_to_itself_and_looks_at_the_outputs_before_the_targets(bigram):
  batch = requests.rows(bigram.data, "retain", np.arange(3))
  before = np.array(bigram.subject.params[batch["ids"]])
  assert float(requests.kl_term(before, before, batch).total) == 0.0
  elsewhere, there = before.copy(), before.copy()
  elsewhere[:, 3, 0] += 3.0  # position 3 predicts nothing that is a target
  elsewhere[:, 0, 0] += 3.0
  there[:, 1, 0] += 3.0
  assert float(requests.kl_term(before, elsewhere, batch).total) == 0.0
  assert float(requests.kl_term(before, there, batch).total) > 0.1


def test_reference_log_prob_is_the_same_for_every_chunk_size(bigram):
  expected, _ = oracle(bigram.subject.params, bigram.data.arrays["ids"][[3, 1]], bigram.data.arrays["mask"][[3, 1]])
  for chunk in (1, 2, 128):
    np.testing.assert_allclose(requests.reference_log_prob(bigram, "forget", chunk=chunk), expected, rtol=1e-5)
  bigram.data.sets["forget"] = np.array([3, 1, 0], np.int32)
  np.testing.assert_allclose(requests.reference_log_prob(bigram, "forget", chunk=2)[:2], expected, rtol=1e-5)


def test_batches_are_a_function_of_seed_and_step_and_visit_every_row(bigram):
  draw = requests.batch({"forget": 1, "retain": 2})
  for t in (0, 3):
    jax.tree.map(np.testing.assert_array_equal, draw(7, bigram, t), draw(7, bigram, t))
  seen = [int(draw(7, bigram, t)["forget"]["row"][0]) for t in range(4)]
  assert sorted(seen[:2]) == sorted(seen[2:]) == [0, 1]
  drawn = draw(7, bigram, 0)["retain"]
  np.testing.assert_array_equal(drawn["ids"], bigram.data.arrays["ids"][bigram.data.sets["retain"][drawn["row"]]])
  assert len({tuple(draw(seed, bigram, 0)["retain"]["row"]) for seed in range(12)}) > 1


def test_a_set_smaller_than_the_batch_gives_all_it_has(bigram):
  drawn = requests.batch({"forget": 24, "retain": 48})(0, bigram, 5)
  assert sorted(drawn["forget"]["row"]) == [0, 1] and sorted(drawn["retain"]["row"]) == [0, 1, 2]


@pytest.mark.parametrize(
  "change, named",
  [
    (lambda d: Data(d.arrays, {"retain": d.sets["retain"]}), "forget"),
    (lambda d: Data({k: v for k, v in d.arrays.items() if k != "mask"}, d.sets), "mask"),
    (lambda d: Data({"index": d.arrays["index"]}, d.sets), "data.arrays"),
  ],
)
def test_data_that_cannot_be_unlearned_are_refused_by_name(bigram, change, named):
  with pytest.raises(Invalid, match=named):
    requests.check(bigram._replace(data=change(bigram.data)), ("forget", "retain"))


@pytest.mark.parametrize(
  "name, at, said",
  [("forget", [], "at least one row"), ("retain", [], "at least one row"), ("forget", [1, 5], r"\[5\].*0..4"),
   ("retain", [-1], r"\[-1\].*0..4"), ("forget", [3, 1, 3], r"\[3\].*once")],
)  # fmt: skip
@pytest.mark.parametrize("module", [npo, hamu])
def test_sets_that_are_empty_out_of_range_or_doubled_are_refused_by_name(bigram, module, name, at, said):
  data = bigram.data
  wrong = bigram._replace(data=Data(data.arrays, {**data.sets, name: np.array(at, np.int32)}))
  with pytest.raises(Invalid, match=rf"data.sets\[{name}\].*{said}"):
    module.method().init(jax.random.key(0), wrong)


def test_sizes_follow_the_retain_term():
  assert requests.sizes(3, 5, "none") == {"forget": 3}
  assert requests.sizes(3, 5, "kl") == {"forget": 3, "retain": 5}
  with pytest.raises(Invalid, match="method.retain = 'l2'"):
    requests.sizes(3, 5, "l2")


def test_what_is_kept_is_the_union_of_the_sets_named(bigram):
  data = bigram.data
  more = bigram._replace(data=Data(data.arrays, {**data.sets, "world": np.array([4, 1]), "math": np.array([0])}))
  kept = requests.keep(more, ("retain", "world"))
  assert sorted(kept.data.sets["retain"]) == [0, 1, 2, 4]
  np.testing.assert_array_equal(kept.data.sets["forget"], data.sets["forget"])
  drawn = requests.batch({"forget": 1, "retain": 99}, names=("world", "math"))(0, more, 0)["retain"]
  assert sorted(map(tuple, drawn["ids"])) == sorted(map(tuple, data.arrays["ids"][[4, 1, 0]]))
  with pytest.raises(Invalid, match="method.keep = 'far'"):
    requests.keep(more, ("retain", "far"))


def test_batches_of_texts_end_with_the_longest_text_of_their_set(bigram):
  arrays, n = bigram.data.arrays, bigram.data.arrays["ids"].shape[1]
  longer = {name: np.pad(arrays[name], ((0, 0), (0, 9))) for name in ("ids", "mask")}
  padded = bigram._replace(data=Data({**arrays, **longer}, bigram.data.sets))
  draw, sizes = requests.batch({"forget": 2, "retain": 2}), {}
  for name, part in draw(0, padded, 0).items():
    mask = arrays["mask"][bigram.data.sets[name]]
    sizes[name] = 1 + max(np.flatnonzero(mask.any(0)))
    assert part["ids"].shape == part["mask"].shape == (2, sizes[name]) and sizes[name] <= n
    np.testing.assert_array_equal(part["mask"].sum(), arrays["mask"][bigram.data.sets[name][part["row"]]].sum())
  full, cut = (requests.reference_log_prob(one, "forget") for one in (bigram, padded))
  np.testing.assert_allclose(full, cut, rtol=1e-6)

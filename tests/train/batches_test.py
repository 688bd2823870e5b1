"""Batches are a pure function of seed and step."""

import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.train import batches

ROWS = np.int32([9, 8, 7, 5, 4, 3, 2])
DATA = Data(
  {"image": np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1), "index": np.arange(100, 110, dtype=np.int32)},
  {"train": ROWS, "few": np.int32([1, 6]), "none": np.int32([])},
)


@pytest.mark.parametrize("n, size", [(10, 3), (7, 7), (4, 9), (5, 1)])
def test_every_epoch_sees_every_sample_once_and_all_batches_are_full(n, size):
  stream = np.concatenate([batches.shuffled(3, n, size, t) for t in range(2 * n)])
  assert len(stream) == 2 * n * size
  for epoch in range(2 * size):
    assert sorted(stream[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_step_t_needs_no_history():
  later = batches.shuffled(0, 50, 8, 123)
  batches.permutation.cache_clear()
  np.testing.assert_array_equal(batches.shuffled(0, 50, 8, 123), later)


def test_seeds_and_epochs_have_their_own_order():
  orders = [tuple(batches.permutation(s, e, 30)) for s in (0, 1) for e in (0, 1)]
  assert len(set(orders)) == 4


def test_cached_orders_cannot_be_overwritten():
  with pytest.raises(ValueError):
    batches.permutation(0, 0, 5)[0] = 1


def test_epochs_take_rows_of_the_set_with_index_and_mask():
  batch = batches.epochs("train", 4, ("image",))(0, DATA, 2)
  assert batch["image"].shape == (4, 1, 1, 1) and batch["mask"].tolist() == [1] * 4
  np.testing.assert_array_equal(batch["index"] - 100, batch["image"].ravel())
  assert set(batch["image"].ravel()) <= set(ROWS.tolist())


def test_a_request_gives_its_data():
  make = batches.epochs("train", 4, ("image",))
  np.testing.assert_array_equal(make(1, Request(Subject(None, {}), DATA), 5)["index"], make(1, DATA, 5)["index"])


def test_the_mask_of_tokens_is_the_datas_own():
  mask = np.tri(10, 4, dtype=np.float32)
  data = Data({**DATA.arrays, "mask": mask}, DATA.sets)
  batch = batches.epochs("train", 3, ("mask",))(0, data, 0)
  np.testing.assert_array_equal(batch["mask"], mask[batch["index"] - 100])


def test_several_gives_nested_batches_with_different_orders():
  both = batches.several(a=batches.epochs("train", 7, ()), b=batches.epochs("train", 7, ()))(0, DATA, 0)
  assert sorted(both["a"]["index"]) == sorted(both["b"]["index"])
  assert both["a"]["index"].tolist() != both["b"]["index"].tolist()


@pytest.mark.parametrize("name, keys, words", [
  ("valid", (), "few"), ("none", (), "at least one"), ("train", ("pixels",), "image"),
])  # fmt: skip
def test_what_does_not_exist_is_named_with_what_does(name, keys, words):
  with pytest.raises(Invalid, match=words):
    batches.epochs(name, 2, keys)(0, DATA, 0)


def test_trimmed_batches_lose_only_columns_without_a_target():
  ids, mask = np.arange(1, 61).reshape(6, 10).astype(np.int32), np.zeros((6, 10), np.float32)
  mask[2, 6] = mask[4, 3] = 1
  problem = Data({"ids": ids, "mask": mask, "index": np.arange(6, dtype=np.int32)}, {"train": np.arange(6)})
  whole = batches.epochs("train", 4, ("ids", "mask"))
  for t in range(4):
    full, cut = whole(0, problem, t), batches.trimmed(whole)(0, problem, t)
    assert cut["ids"].shape == cut["mask"].shape == (4, 7)
    np.testing.assert_array_equal(cut["ids"], full["ids"][:, :7])
    assert cut["mask"].sum() == full["mask"].sum() and (cut["index"] == full["index"]).all()
  longer = problem._replace(arrays={**problem.arrays, "mask": np.ones((6, 10), np.float32)})
  cut = batches.trimmed(whole)
  assert cut(0, problem, 0)["ids"].shape == (4, 7) and cut(0, longer, 0)["ids"].shape == (4, 10)

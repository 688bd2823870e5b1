import jax
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request, check_data
from ue_jax.data import noisy, splits


@pytest.fixture
def data():
  label = np.arange(60, dtype=np.int32) % 3
  arrays = {"label": label, "index": np.arange(60, dtype=np.int32) + 1000}
  rows = np.arange(60, dtype=np.int32)
  return Data(arrays, {"train": rows[:48], "test": rows[48:]}, {"labels": {"label": ["a", "b", "c"]}})


def test_balanced_order_has_every_prefix_balanced():
  labels = np.array([0] * 20 + [1] * 20 + [2] * 20)
  order = splits.balanced(labels, seed=4)
  assert sorted(order.tolist()) == list(range(60))
  for stop in range(1, 61):
    counts = np.bincount(labels[order[:stop]], minlength=3)
    assert counts.max() - counts.min() <= 1


def test_balanced_order_goes_on_when_a_class_is_used_up():
  labels = np.array([0] * 10 + [1] * 2)
  assert np.bincount(labels[splits.balanced(labels)[:4]]).tolist() == [2, 2]


def test_split_gives_disjoint_balanced_sets_and_keeps_the_rows(data):
  out = check_data(splits.split(data, {"a": 30, "b": 15}, seed=1))
  assert np.bincount(data.arrays["label"][out.sets["a"]]).tolist() == [10, 10, 10]
  assert np.bincount(data.arrays["label"][out.sets["b"]]).tolist() == [5, 5, 5]
  assert not set(out.sets["a"]) & set(out.sets["b"])
  assert out.arrays is data.arrays and "train" in out.sets
  assert not np.array_equal(out.sets["a"], splits.split(data, {"a": 30, "b": 15}, seed=2).sets["a"])


def test_hold_out_takes_rows_out_of_train(data):
  out = splits.hold_out(data, 0.25, seed=0)
  assert len(out.sets["holdout"]) == 12 and len(out.sets["train"]) == 36
  assert sorted([*out.sets["holdout"], *out.sets["train"]]) == data.sets["train"].tolist()


def test_known_rows_are_balanced_and_in_no_other_set(data):
  out = check_data(splits.known(data, 9, seed=1))
  assert np.bincount(data.arrays["label"][out.sets["known"]]).tolist() == [3, 3, 3]
  assert sorted([*out.sets["known"], *out.sets["train"]]) == data.sets["train"].tolist()
  assert np.array_equal(out.sets["test"], data.sets["test"])
  assert splits.known(data, 0) is data
  assert not np.array_equal(out.sets["known"], splits.known(data, 9, seed=2).sets["known"])


def test_unseen_rows_move_from_test_to_train_and_are_what_is_to_be_forgotten(data):
  out = check_data(splits.forget_unseen(data, 5, seed=1))
  gone = set(out.sets["forget"].tolist())
  assert len(gone) == 5 and gone < set(data.sets["test"].tolist())
  assert set(out.sets["train"].tolist()) == set(data.sets["train"].tolist()) | gone
  assert out.sets["retain"].tolist() == data.sets["train"].tolist()
  assert set(out.sets["test"].tolist()) == set(data.sets["test"].tolist()) - gone
  assert gone != set(splits.forget(data, unseen=5, seed=2).sets["forget"].tolist())


@pytest.mark.parametrize("more, said", [
  (dict(unseen=12), "data.forget_unseen = 12"), (dict(unseen=3, share=0.1), "data.forget_unseen = 3"),
  (dict(unseen=3, classes=(0,)), "data.forget_unseen = 3"),
])
def test_unseen_rows_that_cannot_be_moved_are_named(data, more, said):
  with pytest.raises(Invalid, match=said):
    splits.forget(data, **more)


def partition(out, data):
  forget, retain = set(out.sets["forget"].tolist()), set(out.sets["retain"].tolist())
  assert not forget & retain and forget | retain == set(data.sets["train"].tolist())
  return forget


def test_forget_by_class_takes_all_of_the_class(data):
  forget = partition(splits.forget_classes(data, [1]), data)
  assert forget == {row for row in range(48) if row % 3 == 1}


def test_forget_by_class_parts_the_test_set_alike(data):
  sets = check_data(splits.forget_classes(data, [1])).sets
  assert sets["forget_test"].tolist() == [49, 52, 55, 58]
  assert sorted([*sets["forget_test"], *sets["retain_test"]]) == data.sets["test"].tolist()
  bare = splits.forget_classes(Data(data.arrays, {"train": data.sets["train"]}), [1])
  assert set(bare.sets) == {"train", "forget", "retain"}


def test_data_is_asked_to_forget_a_share_or_classes(data):
  assert splits.forget(data) is data
  shared = splits.forget(data, share=0.25, seed=1).sets["forget"]
  assert np.array_equal(shared, splits.forget_share(data, 0.25, seed=1).sets["forget"])
  assert partition(splits.forget(data, classes=(2,)), data) == {row for row in range(48) if row % 3 == 2}
  wrong = [("share", {"share": 1.0, "classes": (1,)}), ("share", {"share": 1.0}), ("classes", {"classes": (7,)})]
  for field, asked in wrong:
    with pytest.raises(Invalid, match=f"data.forget_{field}"):
      splits.forget(data, **asked)


def test_forget_by_share_takes_the_share_and_depends_on_the_seed(data):
  first, second = (partition(splits.forget_share(data, 0.25, seed=s), data) for s in (0, 1))
  assert len(first) == 12 and first != second
  assert partition(splits.forget_share(data, 0.25, seed=0), data) == first


def test_a_share_of_each_class_is_that_many_rows_of_each_and_none_of_the_others(data):
  out = splits.forget(data, share=0.4, classes=(2, 1, 2), seed=3)
  forget = partition(out, data)
  assert np.bincount(data.arrays["label"][list(forget)], minlength=3).tolist() == [0, 6, 6]  # of 16 each
  assert out.sets["test"] is data.sets["test"] and "forget_test" not in out.sets  # the test set stays whole
  asked, request = splits.select(share=0.4, classes=(1, 2), seed=3), Request(None, data)
  assert partition(asked.finish(asked.init(jax.random.key(0), request), request).data, data) == forget
  assert partition(splits.forget(data, share=0.4, classes=(1, 2), seed=4), data) != forget
  places = [sorted(row // 3 for row in forget if row % 3 == c) for c in (1, 2)]
  assert places[0] != places[1]  # each class is drawn by itself


@pytest.mark.parametrize("asked, said", [
  (dict(share=0.4, classes=(1, 7)), r"data.forget_classes = \[1, 7\]: name classes with rows; \[7\] have none"),
  (dict(share=0.01, classes=(1,)), "data.forget_share = 0.01: give a share of 16 rows"),
  (dict(share=1.0, classes=(1,)), "data.forget_share = 1.0: give a share below 1"),
])
def test_a_share_of_classes_that_is_no_row_is_named(data, asked, said):
  with pytest.raises(Invalid, match=said):
    splits.forget(data, **asked)


def test_forget_by_index_means_identities_not_positions(data):
  assert partition(splits.forget_index(data, [1003, 1005]), data) == {3, 5}


@pytest.mark.parametrize("make", [
  lambda d: splits.forget_share(d, 0.0), lambda d: splits.forget_share(d, 1.0), lambda d: splits.forget_share(d, 1.5),
  lambda d: splits.forget_share(d, float("nan")), lambda d: splits.forget_classes(d, [7]),
  lambda d: splits.forget_classes(d, []), lambda d: splits.forget_classes(d, [0, 1, 2]),
  lambda d: splits.forget_classes(d, [0], label="nose"), lambda d: splits.forget_index(d, []),
  lambda d: splits.forget_index(d, [1003, 1003]), lambda d: splits.forget_set(d, "noisy"),
  lambda d: splits.forget_set(d, "train"), lambda d: splits.forget_set(d, "test"),
  lambda d: splits.forget_index(d, [3]), lambda d: splits.forget_index(d, [1050]),
  lambda d: splits.split(d, {"a": 0}), lambda d: splits.split(d, {"a": 61}),
  lambda d: splits.hold_out(d, 1.0), lambda d: splits.hold_out(d, 0.001), lambda d: splits.hold_out(d, 0.5, within="x"),
  lambda d: splits.select(how="luck"), lambda d: splits.known(d, 48), lambda d: splits.known(d, -1),
])
def test_empty_or_unknown_sets_are_refused(data, make):
  with pytest.raises(Invalid):
    make(data)


@pytest.mark.parametrize("arguments,forget", [
  ({"how": "class", "classes": (2,)}, {row for row in range(48) if row % 3 == 2}),
  ({"how": "index", "index": (1000,)}, {0}),
])
def test_select_is_an_arrow_from_request_to_request(data, arguments, forget):
  procedure = splits.select(**arguments)
  request = Request(subject=None, data=data)
  out = procedure.finish(procedure.init(jax.random.key(0), request), request)
  assert partition(out.data, data) == forget


def test_rows_with_wrong_labels_and_parts_of_classes_can_be_asked_for(data):
  wrong = noisy.labels(data, 0.25)
  asked, request = splits.select(how="set"), Request(None, wrong)
  found = asked.finish(asked.init(jax.random.key(0), request), request).data
  assert np.array_equal(found.sets["forget"], wrong.sets["noisy"]) and len(wrong.sets["noisy"]) == 12
  moved = found.arrays["label"] != data.arrays["label"]
  assert moved[found.sets["forget"]].all() and not moved[found.sets["retain"]].any()
  fine = Data({**data.arrays, "fine": np.arange(data.n, dtype=np.int32) % 6}, data.sets)
  part = splits.forget_classes(fine, [1], label="fine")
  assert set(part.arrays["label"][part.sets["forget"]]) == {1}  # one of the two halves of class 1, the other stays
  assert set(part.arrays["fine"][part.sets["retain"]][part.arrays["label"][part.sets["retain"]] == 1]) == {4}


def test_select_asks_the_same_whatever_the_key(data):
  procedure, request = splits.select(share=0.5, seed=3), Request(subject=None, data=data)
  first, second = (procedure.finish(procedure.init(jax.random.key(k), request), request) for k in (0, 1))
  assert np.array_equal(first.data.sets["forget"], second.data.sets["forget"])

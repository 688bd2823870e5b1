import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, check_data
from ue_jax.data import mixture


@pytest.fixture
def pair():
  index = np.arange(20, dtype=np.int32)[::-1].copy()
  rows = np.arange(20, dtype=np.int32)
  clean = Data({"image": np.zeros((20, 2, 2, 1), np.uint8), "index": index}, {"train": rows[:16], "test": rows[16:]})
  image = np.zeros((24, 2, 2, 1), np.uint8)
  image[:16], image[20:] = 9, 7
  sets = {**clean.sets, "test_protected": np.arange(20, 24, dtype=np.int32)}
  return clean, Data({"image": image, "index": np.concatenate([index, index[16:]])}, sets)


@pytest.mark.parametrize("ratio,count", [(0.0, 0), (0.25, 4), (0.5, 8), (1.0, 16)])
def test_the_share_is_exact_and_other_rows_stay(pair, ratio, count):
  clean, protected = pair
  out = check_data(mixture.mix(clean, protected, ratio))
  changed = (out.arrays["image"] == 9).all((1, 2, 3))
  assert changed.sum() == count and not changed[16:].any()
  assert (out.arrays["image"][20:] == 7).all() and (out.arrays["image"][16:20] == 0).all()
  assert np.array_equal(out.arrays["protected"][:16] == 1, changed[:16])
  assert ("train_protected" in out.sets) == (count > 0) and ("train_clean" in out.sets) == (count < 16)
  if count:
    assert changed[out.sets["train_protected"]].all()


def test_smaller_ratios_choose_subsets_and_the_choice_follows_the_index(pair):
  clean, protected = pair
  chosen = lambda c, p, r: set(c.arrays["index"][mixture.mix(c, p, r).sets["train_protected"]].tolist())
  assert chosen(clean, protected, 0.25) < chosen(clean, protected, 0.5)
  order = np.concatenate([np.arange(16)[::-1], np.arange(16, 20)])
  moved = Data({k: v[order] for k, v in clean.arrays.items()}, clean.sets)
  order = np.concatenate([order, np.arange(20, 24)])
  moved_protected = Data({k: v[order] for k, v in protected.arrays.items()}, protected.sets)
  assert chosen(moved, moved_protected, 0.25) == chosen(clean, protected, 0.25)


def test_ratio_out_of_range_and_strangers_are_refused(pair):
  clean, protected = pair
  stranger = Data({**protected.arrays, "index": protected.arrays["index"] + 1}, protected.sets)
  for make in (lambda: mixture.mix(clean, protected, 1.2), lambda: mixture.mix(clean, stranger, 0.5),
               lambda: mixture.mix(clean, protected, 0.5, within="nothing")):
    with pytest.raises(Invalid):
      make()


FORGET, RETAIN = np.arange(100, 106), np.arange(200, 230)


def epochs(how, anchor="forget", **arguments):
  out = [mixture.pairs(FORGET, RETAIN, 3, 5, t, how=how, anchor=anchor, **arguments) for t in range(20)]
  return np.concatenate([f for f, _ in out]), np.concatenate([r for _, r in out])


@pytest.mark.parametrize("how", mixture.PAIRINGS)
def test_the_anchor_is_seen_once_an_epoch(how):
  forget, retain = epochs(how)
  assert all(sorted(epoch) == FORGET.tolist() for epoch in forget.reshape(-1, 6).tolist())
  assert set(retain.tolist()) <= set(RETAIN.tolist()) and len(retain) == len(forget)


def test_anchored_on_retain_the_retain_set_is_seen_once_an_epoch():
  forget, retain = epochs("random", anchor="retain")
  assert sorted(retain[:30].tolist()) == RETAIN.tolist() and set(forget.tolist()) <= set(FORGET.tolist())


def test_cyclic_partners_cover_the_whole_other_set_and_random_ones_repeat():
  assert sorted(epochs("cyclic")[1][:30].tolist()) == RETAIN.tolist()
  assert len(set(epochs("random")[1][:30].tolist())) < 30


def test_one_to_one_partners_never_change():
  forget, retain = epochs("one_to_one")
  partner = dict(zip(forget.tolist(), retain.tolist()))
  assert len(set(partner.values())) == 6
  assert all(partner[f] == r for f, r in zip(forget.tolist(), retain.tolist()))


def test_several_partners_a_row():
  forget, retain = mixture.pairs(FORGET, RETAIN, 3, 0, 0, how="cyclic", partners=2)
  assert len(forget) == 3 and len(set(retain.tolist())) == 6


def test_pairs_are_a_function_of_seed_and_step_and_the_table_stacks_them():
  table = mixture.table(FORGET, RETAIN, 3, 5, steps=4, how="random")
  assert table.shape == (4, 3, 2) and table.dtype == np.int32
  forget, retain = mixture.pairs(FORGET, RETAIN, 3, 5, 2)
  assert np.array_equal(table[2, :, 0], forget) and np.array_equal(table[2, :, 1], retain)
  assert not np.array_equal(table, mixture.table(FORGET, RETAIN, 3, 6, steps=4))


@pytest.mark.parametrize("arguments", [{"how": "luck"}, {"anchor": "test"}, {"how": "one_to_one", "partners": 2}])
def test_unknown_pairings_are_refused(arguments):
  with pytest.raises(Invalid):
    mixture.pairs(FORGET, RETAIN, 3, 0, 0, **arguments)
  with pytest.raises(Invalid):
    mixture.pairs(FORGET, RETAIN[:0], 3, 0, 0)

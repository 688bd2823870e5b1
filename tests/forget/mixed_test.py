import jax
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request
from ue_jax.forget import mixed, requests


@pytest.fixture(scope="module")
def request_():
  """7 pictures to forget, 13 to keep; the only pixel of a picture says which one it is."""
  n = np.arange(20)
  arrays = {"image": n.astype(np.uint8).reshape(-1, 1, 1, 1), "label": (n % 4).astype(np.int32), "index": n}
  sets = {"forget": np.arange(0, 20, 3, dtype=np.int32), "retain": np.setdiff1d(n, np.arange(0, 20, 3))}
  return Request(None, Data(arrays, sets, {"labels": {"label": list("abcd")}}))


def stream(draw, problem, steps, seed=0):
  parts = [draw(seed, problem, t)["mixed"] for t in range(steps)]
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_every_epoch_visits_both_sets_once_with_their_own_labels(request_):
  seen = stream(mixed.together(4), request_, 10)
  who = seen["image"].ravel()
  for epoch in (who[:20], who[20:]):
    assert sorted(epoch) == list(range(20))
  assert (who[:20] != who[20:]).any()
  np.testing.assert_array_equal(seen["forgotten"], who % 3 == 0)
  np.testing.assert_array_equal(seen["label"], who % 4)


@pytest.mark.parametrize("lowest", [0, 1])
def test_labels_of_the_forget_set_are_drawn_every_epoch_and_of_no_other(request_, lowest):
  seen = stream(mixed.together(20, lowest=lowest), request_, 400)
  who, gone = seen["image"].ravel(), seen["forgotten"] > 0
  further = (seen["label"] - who) % 4
  assert not further[~gone].any() and seen["label"].dtype == np.int32
  counts = np.bincount(further[gone], minlength=4) / gone.sum()
  np.testing.assert_allclose(counts[lowest:], 1 / (4 - lowest), atol=0.04)  # 2800 draws: over 4 standard deviations
  assert counts[:lowest].sum() == 0
  one = further[who == 0]  # 400 epochs, each with a draw of its own
  assert len(set(one.tolist())) == 4 - lowest and 0.1 < np.mean(one[1:] == one[:-1]) < 0.5


def test_a_batch_that_meets_the_end_of_an_epoch_takes_the_labels_of_both(request_):
  short, long = (stream(mixed.together(size, lowest=1), request_, 60 // size) for size in (4, 12))
  np.testing.assert_array_equal(short["label"], long["label"])


def test_the_forget_set_can_come_first(request_):
  seen = stream(mixed.together(20, order="forget_first"), request_, 2)
  for epoch in np.split(seen["forgotten"], 2):
    np.testing.assert_array_equal(epoch, [1] * 7 + [0] * 13)
  assert sorted(seen["image"].ravel()[:20]) == list(range(20))


def test_a_share_of_what_is_kept_is_drawn_once(request_):
  draw = mixed.together(4, share=0.5)
  seen = stream(draw, request_, 60)
  kept = np.unique(seen["image"][seen["forgotten"] == 0])
  assert len(kept) == 6 and len(np.unique(seen["image"][seen["forgotten"] == 1])) == 7
  other = stream(draw, request_, 60, seed=1)
  assert set(kept) != set(np.unique(other["image"][other["forgotten"] == 0]))


def test_in_phases_the_others_are_padding_and_passes_stay_whole(request_):
  turns = ["forget", "forget", "retain", "forget", "retain"]
  plain = requests.batch({"forget": 3, "retain": 5})
  draw = mixed.phases(plain, turns)
  own = {"forget": 0, "retain": 0}
  for t, name in enumerate(turns):
    batch = draw(0, request_, t)
    jax.tree.map(np.testing.assert_array_equal, batch[name], plain(0, request_, own[name])[name])
    own[name] += 1
    other = "retain" if name == "forget" else "forget"
    assert batch[name]["mask"].all() and not batch[other]["mask"].any()


def test_what_makes_no_sense_is_refused(request_):
  with pytest.raises(Invalid, match="method.order = 'last'"):
    mixed.together(4, order="last")
  with pytest.raises(Invalid, match="method.share = 0"):
    mixed.together(4, share=0)
  bare = request_._replace(data=Data(request_.data.arrays, request_.data.sets))
  with pytest.raises(Invalid, match="method.label"):
    mixed.together(4, lowest=0)(0, bare, 0)

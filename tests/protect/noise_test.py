import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, check_data
from ue_jax.protect import noise


def pictures(n=90, size=8, channels=3, low=40, high=216):
  rng = np.random.default_rng(0)
  image = rng.integers(low, high, (n, size, size, channels)).astype(np.uint8)
  order = rng.permutation(n).astype(np.int32)
  arrays = {"image": image, "label": (np.arange(n) % 3).astype(np.int32), "index": np.arange(n, dtype=np.int32) * 7}
  return Data(arrays, {"train": np.sort(order[:60]), "test": np.sort(order[60:])}, {"labels": {"label": list("abc")}})


def run(procedure, data, seed=0):
  return procedure.finish(procedure.init(jax.random.key(seed), data), data)


def deltas(data, out, name="train"):
  before = data.arrays["image"][data.sets["test" if name == "test_protected" else name]]
  return out.arrays["image"][out.sets[name]].astype(int) - before


@pytest.mark.parametrize("kind, expected", [("sample", 60), ("class", 3), ("universal", 1), ("cluster", 4)])
def test_each_kind_has_its_number_of_patterns_of_exactly_eps(kind, expected):
  data = pictures()
  out = check_data(run(noise.protect(kind, eps=16 / 255, k=4), data))
  delta = deltas(data, out)
  assert set(np.unique(delta)) == {-16, 16}
  assert len(np.unique(delta.reshape(60, -1), axis=0)) == expected
  assert abs(delta.mean()) < 3


def test_clean_changes_nothing_but_appends_the_copies():
  data = pictures()
  out = run(noise.protect("clean"), data)
  np.testing.assert_array_equal(out.arrays["image"][:90], data.arrays["image"])
  assert (deltas(data, out, "test_protected") == 0).all()


def test_test_copies_share_the_pattern_of_their_class_and_keep_their_identity():
  data = pictures()
  out = run(noise.protect("class"), data)
  train, test = deltas(data, out), deltas(data, out, "test_protected")
  y = data.arrays["label"]
  for c in range(3):
    both = np.concatenate([train[y[data.sets["train"]] == c], test[y[data.sets["test"]] == c]])
    assert (both == both[0]).all()
  np.testing.assert_array_equal(out.arrays["image"][data.sets["test"]], data.arrays["image"][data.sets["test"]])
  index = out.arrays["index"]
  np.testing.assert_array_equal(index[out.sets["test_protected"]], index[data.sets["test"]])


def test_a_sample_keeps_its_noise_when_the_rows_are_selected_anew():
  data = pictures()
  out = deltas(data, run(noise.protect("sample"), data))
  some = data.sets["train"][10:20]
  part = Data({k: a[some] for k, a in data.arrays.items()}, {"train": np.arange(10, dtype=np.int32)}, data.info)
  np.testing.assert_array_equal(deltas(part, run(noise.protect("sample"), part)), out[10:20])


def test_clusters_may_come_from_an_array():
  data = pictures()
  data.arrays["mine"] = (np.arange(90) // 45).astype(np.int32)
  delta = deltas(data, run(noise.protect("cluster", groups="mine"), data))
  first = data.arrays["mine"][data.sets["train"]] == 0
  assert (delta[first] == delta[first][0]).all() and (delta[~first] == delta[~first][0]).all()
  assert (delta[first][0] != delta[~first][0]).any()


def test_equal_keys_give_equal_bytes_and_no_labels_are_read():
  data = pictures()
  for kind in ("sample", "cluster", "universal"):
    one, other = run(noise.protect(kind), data), run(noise.protect(kind), data, 1)
    relabelled = Data({**data.arrays, "label": data.arrays["label"][::-1]}, data.sets, data.info)
    np.testing.assert_array_equal(one.arrays["image"], run(noise.protect(kind), relabelled).arrays["image"])
    assert (one.arrays["image"] != other.arrays["image"]).any()


@pytest.mark.parametrize("eps, level", [(1.0, 18), (0.1, 1), (2 * np.sqrt(192) / 255, 2), (0.135, 2)])
def test_l2_noise_is_the_largest_whole_level_within_its_norm(eps, level):
  data = pictures(size=8)
  out = run(noise.protect("sample", eps=float(eps), norm="l2"), data)
  l2 = np.sqrt(((deltas(data, out) / 255) ** 2).sum((1, 2, 3)))
  assert set(np.unique(np.abs(deltas(data, out)))) == {level} and l2.max() <= eps * (1 + 1e-6)
  traced = jax.jit(lambda eps: noise.protect("sample", eps=eps, norm="l2").init(jax.random.key(0), data).grey)
  assert int(traced(eps)) == level


def test_an_l2_budget_below_one_level_is_named_and_none_is_none():
  data = pictures(size=8)
  with pytest.raises(Invalid, match="protect.eps.*0.0543"):
    run(noise.protect("sample", eps=0.05, norm="l2"), data)
  for none in (noise.protect("sample", eps=0.0, norm="l2"), noise.protect("clean", eps=0.05, norm="l2")):
    assert not deltas(data, run(none, data)).any()


def test_bytes_are_cut_at_both_ends_and_grey_pictures_work():
  data = pictures(channels=1, low=0, high=256)
  out = run(noise.protect("universal", eps=0.2), data)
  assert np.abs(deltas(data, out)).max() == 51
  assert out.arrays["image"].min() == 0 and out.arrays["image"].max() == 255


@pytest.mark.parametrize("kind", ["sample", "universal", "cluster"])
def test_the_painter_stretches_the_same_pattern_within_the_budget(kind):
  data = pictures()
  procedure = noise.protect(kind, eps=10.7 / 255, k=4)
  state = procedure.init(jax.random.key(0), data)
  out, paint = procedure.finish(state, data), noise.painter(state, data)
  row = int(data.sets["train"][5])
  np.testing.assert_array_equal(paint(data.arrays["image"][row], row), out.arrays["image"][row])
  grey = np.full((24, 40, 3), 128, np.uint8)
  big = paint(grey, row).astype(int) - 128
  assert set(np.unique(big)) == {-10, 10}
  pattern = out.arrays["image"][row].astype(int) - data.arrays["image"][row]
  np.testing.assert_array_equal(big[::3, ::5], pattern)
  np.testing.assert_array_equal(big, np.repeat(np.repeat(pattern, 3, 0), 5, 1))
  with pytest.raises(Invalid, match="picture"):
    paint(np.zeros((4, 4), np.uint8), row)


@pytest.mark.parametrize(
  "bad, field",
  [({"kind": "loud"}, "kind"), ({"eps": 1.2}, "eps"), ({"eps": -0.1}, "eps"), ({"norm": "l1"}, "norm")],
)
def test_what_is_out_of_range_is_named(bad, field):
  with pytest.raises(Invalid, match=f"protect.{field}"):
    noise.protect(**bad)


def test_more_clusters_than_pictures_are_named():
  with pytest.raises(Invalid, match="protect.k"):
    run(noise.protect("cluster", k=61), pictures())


def test_a_missing_set_or_array_is_named():
  data = pictures()
  with pytest.raises(Invalid, match="train"):
    run(noise.protect(), Data(data.arrays, {"test": data.sets["test"]}))
  with pytest.raises(Invalid, match="protect.groups"):
    run(noise.protect("cluster", groups="nothing"), data)
  only = run(noise.protect(), Data(data.arrays, {"train": data.sets["train"]}))
  assert only.n == 90 and set(only.sets) == {"train"}


def test_signs_are_fair_and_differ_between_groups():
  drawn = noise.signs(jax.random.key(0), jnp.arange(50), (8, 8, 3))
  assert abs(np.asarray(drawn, np.float32).mean()) < 0.05
  agree = (drawn[0] == drawn[1]).mean()
  assert 0.3 < float(agree) < 0.7


def test_permuted_labels_share_the_patterns_of_the_classes_but_not_their_pictures():
  data = pictures(600)
  by_class, drawn = run(noise.protect("class"), data), run(noise.protect("permuted"), data)
  flat = lambda out: deltas(data, out).reshape(60, -1)
  patterns = np.unique(flat(by_class), axis=0)
  np.testing.assert_array_equal(np.unique(flat(drawn), axis=0), patterns)
  agree = (flat(by_class) == flat(drawn)).all(1).mean()
  assert 0.15 < agree < 0.55  # a third by chance
  np.testing.assert_array_equal(run(noise.protect("permuted"), data).arrays["image"], drawn.arrays["image"])

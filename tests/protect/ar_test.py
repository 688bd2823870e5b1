"""Autoregressive noise: the recurrence, the filter that answers zero, and the norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, check_data
from ue_jax.protect import ar, lsp, publish

SHAPE = (7, 9, 3)


def pictures(n=90, shape=SHAPE, classes=4):
  draw = np.random.default_rng(0)
  image = draw.integers(60, 196, (n, *shape)).astype(np.uint8)
  label, index = (np.arange(n) % classes).astype(np.int32), np.arange(n, dtype=np.int32) * 3
  train, test = np.split(draw.permutation(n).astype(np.int32), [2 * n // 3])
  names = {"labels": {"label": [str(c) for c in range(classes)]}}
  return Data({"image": image, "label": label, "index": index}, {"train": train, "test": test}, names)


def run(procedure, data, seed=0):
  return procedure.finish(procedure.init(jax.random.key(seed), data), data)


@pytest.fixture(scope="module")
def ten():
  return ar.search(jax.random.key(5), 10, (12, 12, 3))


def test_a_signal_is_the_raster_scan_of_its_recurrence(key):
  weights = ar.process(key, 2)
  np.testing.assert_allclose(np.asarray(weights).sum((0, 1)), 1, rtol=1e-5)
  assert (np.asarray(weights)[2, 2] == 0).all()
  out = np.asarray(ar.signal(key, weights, (5, 4)), np.float64)
  top, side = jax.random.split(key)
  x = np.zeros((9, 8, 2))
  x[:2], x[2:, :2] = jax.random.normal(top, (2, 8, 2)), jax.random.normal(side, (7, 2, 2))
  for i in range(7):
    for j in range(6):
      x[i + 2, j + 2] = (np.asarray(weights, np.float64) * x[i : i + 3, j : j + 3]).sum((0, 1))
  np.testing.assert_allclose(out, x[4:, 4:], rtol=1e-3, atol=1e-4 * np.abs(x).max())


def test_the_matching_filter_answers_zero_and_names_every_class_of_held_out_noise(ten):
  assert int(ten.found) == 10
  labels = np.arange(200) % 10
  delta = ar.patterns(
    jax.random.key(7), jnp.arange(200), ten.processes[labels], jnp.float32(1), jnp.asarray(False), (12, 12, 3)
  )
  own = jax.jit(jax.vmap(ar.filtered))(delta, ten.processes[labels])
  others = jax.jit(jax.vmap(ar.filtered))(delta, ten.processes[(labels + 1) % 10])
  size = np.abs(np.asarray(delta)).max((1, 2, 3)) * np.abs(np.asarray(ten.processes[labels])).sum((1, 2)).max(-1)
  assert (np.abs(own).max((1, 2, 3)) < 1e-6 * np.maximum(size, 1)).all()
  assert (np.abs(others).max((1, 2, 3)) > 1e-3).all()
  answers = jax.jit(jax.vmap(jax.vmap(ar.respond, (None, 0)), (0, None)))(delta, ten.processes)
  np.testing.assert_array_equal(np.argmin(answers, 1), labels)


def test_stretched_noise_answers_its_filter_only_where_it_is_resized_back_to_the_crafted_size(ten):
  labels, shape = np.arange(200) % 10, (12, 12, 3)
  delta = ar.patterns(
    jax.random.key(7), jnp.arange(200), ten.processes[labels], jnp.float32(0.1), jnp.asarray(True), shape
  )
  answers = jax.jit(jax.vmap(jax.vmap(ar.respond, (None, 0)), (0, None)))
  named = lambda noise: (np.argmin(answers(jnp.asarray(noise), ten.processes), 1) == labels).mean()
  painted = publish.stretch(delta, 36, 36)
  back = jax.image.resize(painted, (200, *shape), "linear")
  assert named(back) == 1 and named(painted) < 0.5
  for module in (ar, lsp):  # who paints is told
    assert "nearest neighbour" in module.painter.__doc__
  assert "resizes" in ar.painter.__doc__


def test_noise_has_the_norm_of_the_paper_scaled_with_the_size(ten):
  shape = (12, 12, 3)
  args = jax.random.key(1), jnp.arange(20), ten.processes[np.arange(20) % 10], jnp.float32(0.5)
  delta = np.asarray(ar.patterns(*args, jnp.asarray(False), shape), np.float64)
  np.testing.assert_allclose(np.sqrt((delta**2).sum((1, 2, 3))), 0.5 * 12 / 32, rtol=1e-5)
  np.testing.assert_allclose(np.abs(ar.patterns(*args, jnp.asarray(True), shape)).max((1, 2, 3)), 0.5, rtol=1e-6)


def test_processes_stay_small_and_differ(ten):
  keys = jax.random.split(jax.random.key(3), 30)
  made = jax.jit(jax.vmap(lambda k, p: ar.signal(k, p, (12, 12))))(keys, ten.processes[np.arange(30) % 10])
  norms = np.sqrt((np.asarray(made, np.float64) ** 2).sum((1, 2, 3)))
  assert np.quantile(norms, 0.9) < 50 * 12 / 32  # candidates are judged by three signals: a new one may be a bit larger
  assert len(np.unique(np.asarray(ten.processes), axis=0)) == 10


def test_published_bytes_carry_the_noise_and_the_permuted_control_that_of_other_classes():
  data = pictures()
  for permuted, low, high in ((False, 0.99, 1.0), (True, 0.05, 0.5)):
    procedure = ar.protect(eps=3.0, permuted=permuted)
    state = procedure.init(jax.random.key(0), data)
    out = check_data(procedure.finish(state, data))
    test = data.sets["test"]
    delta = (out.arrays["image"][out.sets["test_protected"]].astype(np.float32) - data.arrays["image"][test]) / 255
    answers = jax.jit(jax.vmap(jax.vmap(ar.respond, (None, 0)), (0, None)))(jnp.asarray(delta), state.processes)
    agree = (np.argmin(answers, 1) == data.arrays["label"][test]).mean()
    assert low <= agree <= high
    np.testing.assert_array_equal(out.arrays["image"][test], data.arrays["image"][test])


def test_equal_keys_give_equal_bytes_and_the_painter_the_same():
  data, procedure = pictures(), ar.protect()
  state = procedure.init(jax.random.key(0), data)
  one = procedure.finish(state, data).arrays["image"]
  np.testing.assert_array_equal(one, run(procedure, data).arrays["image"])
  assert (one != run(procedure, data, 1).arrays["image"]).any()
  row, paint = int(data.sets["train"][3]), ar.painter(state, data)
  np.testing.assert_array_equal(paint(data.arrays["image"][row], row), one[row])
  big = paint(np.full((14, 27, 3), 128, np.uint8), row).astype(int) - 128
  pattern = one[row].astype(int) - data.arrays["image"][row]
  np.testing.assert_array_equal(big, np.repeat(np.repeat(pattern, 2, 0), 3, 1))


def test_budgets_of_nothing_and_of_everything_hold_on_the_bytes():
  data = pictures()
  before = data.arrays["image"]
  np.testing.assert_array_equal(run(ar.protect(eps=0.0), data).arrays["image"][: data.n], before)
  for eps, most in ((10.7 / 255, 10), (1.0, 255)):
    out = check_data(run(ar.protect(eps=eps, norm="linf"), data)).arrays["image"][: data.n]
    assert 0 < np.abs(out.astype(int) - before).max() <= most


@pytest.mark.parametrize(
  "bad", [{"eps": -1.0}, {"norm": "l1"}, {"response": -1.0}, {"largest": 0.0}, {"rounds": 0}, {"quantise": "none"},
          {"label": "colour"}],
)  # fmt: skip
def test_what_cannot_be_is_named(bad):
  with pytest.raises(Invalid, match=f"protect.{next(iter(bad))}"):
    run(ar.protect(**bad), pictures())


def test_one_class_and_a_search_in_vain_are_named():
  with pytest.raises(Invalid, match="two classes"):
    run(ar.protect(), pictures(classes=1))
  with pytest.raises(Invalid, match="protect.rounds"):
    run(ar.protect(response=1e9, rounds=2), pictures())


def test_no_picture_shares_its_draws_with_the_search_or_the_groups(monkeypatch):
  seen = []
  for name, at in (("search", 0), ("class_of_each", 2)):
    real = getattr(ar, name)
    spy = lambda *args, at=at, real=real: seen.append(jax.random.key_data(args[at]).tolist()) or real(*args)
    monkeypatch.setattr(ar, name, spy)
  index = np.arange(12, dtype=np.int32)
  image = np.full((12, 8, 8, 3), 100, np.uint8)
  data = Data({"image": image, "label": index % 2, "index": index}, {"train": index}, {"labels": {"label": ["a", "b"]}})
  state = ar.protect().init(jax.random.key(0), data)
  own = [jax.random.key_data(jax.random.fold_in(state.key, i)).tolist() for i in index]
  assert len(seen) == 2 and seen[0] != seen[1] and not [key for key in seen if key in own]

import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.cluster import episodes, few_shot
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request


@pytest.fixture(scope="module")
def digits():
  from sklearn.datasets import load_digits

  x, y = load_digits(return_X_y=True)
  return x.astype(np.float32), y


@pytest.fixture
def data(digits):
  x, y = digits
  arrays = {"image": (x * 15).astype(np.uint8).reshape(-1, 8, 8, 1), "label": y.astype(np.int32)}
  index = np.arange(len(y), dtype=np.int32)
  return Data({**arrays, "index": index}, {"train": index[:900]}, {"labels": {"label": list("0123456789")}})


def test_episodes_hold_what_they_say_and_never_a_point_twice(digits):
  y = digits[1]
  for concentration in (0.0, 2.0):
    drawn = episodes.draw(y, 50, way=4, shots=2, queries=6, concentration=concentration, seed=3)
    both = np.concatenate([drawn.support, drawn.query], 1)
    assert all(len(set(row)) == 4 * 8 for row in both.tolist())
    first = y[drawn.support[:, ::2]]
    np.testing.assert_array_equal(y[drawn.support], np.repeat(first, 2, 1))
    np.testing.assert_array_equal(y[drawn.query], np.take_along_axis(first, drawn.truth, 1))
    sizes = np.stack([np.bincount(row, minlength=4) for row in drawn.truth])
    assert (sizes == 6).all() if concentration == 0 else sizes.std() > 2
    assert len({tuple(sorted(row)) for row in first.tolist()}) > 20
  again = episodes.draw(y, 50, way=4, shots=2, queries=6, concentration=2.0, seed=3)
  np.testing.assert_array_equal(again.query, drawn.query)


def scored(data, key, **how):
  procedure = episodes.measure(way=3, queries=10, **how)
  return procedure.finish(procedure.init(key, data), data)


def test_the_measure_gives_the_mean_of_the_episodes_and_its_interval(digits, data, key):
  x, y = digits
  found = scored(data, key, episodes=40, methods=("prototype",))
  assert 0.7 < found["prototype"].value < 0.95 and found["prototype"].n == 40
  drawn = episodes.draw(y, 40, way=3, queries=10)
  reached = np.asarray(episodes.play(x, drawn, "prototype"))
  support, query = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)
                    for rows in (x[drawn.support] - x.mean(0), x[drawn.query] - x.mean(0)))
  nearest = ((query[:, :, None] - support[:, None]) ** 2).sum(-1).argmin(-1)
  np.testing.assert_allclose(reached, (nearest == drawn.truth).mean(1), atol=0.04)


def test_blocks_of_episodes_give_the_accuracies_of_all_at_once(digits, monkeypatch):
  x, y = digits
  drawn = episodes.draw(y, 10, way=3, queries=10)
  whole = episodes.play(x, drawn, "prototype")
  monkeypatch.setattr(episodes, "CHUNK", 4)
  np.testing.assert_array_equal(episodes.play(x, drawn, "prototype"), whole)


def test_the_weight_of_the_graph_is_chosen_on_classes_that_are_not_tested(digits, data, key, monkeypatch):
  def fake(support, labels, query, way, *, lam, mean, normalise="", neighbours=0):
    """Right on digits below five if lam is 0.3, on the others if it is 0.9: the first pixel says which they are."""
    del mean, normalise, neighbours
    best = jnp.where(query[0, 0] > 0.5, 0.9, 0.3)
    right = jnp.repeat(jnp.arange(way), len(query) // way)
    return few_shot.Inference(jnp.where(jnp.abs(lam - best) < 0.01, right, -1), None, None, None)

  monkeypatch.setitem(episodes.METHODS, "fake", (fake, {}, 0.5))
  data.arrays["image"][:, 0, 0, 0] = np.where(data.arrays["label"] < 5, 0, 255)
  pixels = data.arrays["image"].reshape(-1, 64) / 255
  low = episodes.draw(np.where(digits[1] < 5, digits[1], -1), 8, way=3, queries=10)
  assert episodes.tuned(pixels, low, "fake", (0.1, 0.3, 0.9)) == 0.3
  how = dict(episodes=8, methods=("fake",))
  assert scored(data, key, **how, grid=(0.1, 0.3, 0.9), validation=(0, 1, 2, 3, 4))["fake"].value == 0
  assert scored(data, key, **how, lam={"fake": 0.9})["fake"].value < 1  # some episodes hold low digits, too
  high = Data({**data.arrays, "label": np.where(digits[1] < 5, -1, digits[1])}, data.sets, data.info)
  assert scored(high, key, **how, lam={"fake": 0.9})["fake"].value == 1
  with pytest.raises(Invalid, match="measure.grid"):
    episodes.measure(grid=(0.1, 0.7))


def test_queries_are_those_of_other_classes_than_the_validation_classes(data, key):
  with pytest.raises(Invalid, match="measure.way"):  # nothing is left to test on
    scored(data, key, episodes=5, methods=("slk_means",), grid=(0.1,), validation=range(10))


def test_a_request_is_read_like_its_data(data, key):
  request = Request(None, data)
  a, b = (scored(problem, key, episodes=40, methods=("prototype",)) for problem in (data, request))
  assert a == b


def test_what_cannot_be_drawn_is_named(digits):
  y = digits[1]
  for field, how in (("way", dict(way=11)), ("way", dict(queries=500)), ("shots", dict(shots=0))):
    with pytest.raises(Invalid, match=f"measure.{field}"):
      episodes.draw(y, 5, **how)
  with pytest.raises(Invalid, match="measure.methods"):
    episodes.measure(methods=("magic",))

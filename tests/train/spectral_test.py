import jax
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.data import embedded
from ue_jax.models import mlp
from ue_jax.train import loop, spectral
from ue_jax.train.supervised import predict


def two_heaps(n=80):
  """Noisy copies of two pictures that have nothing in common."""
  noise = np.random.default_rng(0)
  label, image = np.arange(n) % 2, noise.integers(0, 40, (n, 12, 12, 1))
  image[label == 0, :4] += 180
  image[label == 1, 8:] += 180
  rows = np.arange(n, dtype=np.int32)
  arrays = {"image": image.astype(np.uint8), "label": label.astype(np.int32), "index": rows}
  return Data(arrays, {"train": rows}, {})


def purity(places, labels, k):
  from sklearn.cluster import KMeans

  found = KMeans(k, n_init=4, random_state=0).fit_predict(places)
  return sum(np.bincount(labels[found == c]).max() for c in range(k)) / len(labels)


@pytest.fixture(scope="module")
def digits():
  return embedded.data(source="digits", train=1000, test=200)


def test_unconnected_parts_of_the_graph_have_orthogonal_places():
  data = two_heaps()
  places = spectral.embed(data, width=2, neighbours=12, blur=0.0)
  one, other = places[data.arrays["label"] == 0], places[data.arrays["label"] == 1]
  np.testing.assert_allclose(np.abs(one @ other.T), 0, atol=1e-3)
  np.testing.assert_allclose(np.abs(one @ one.T), 1, atol=1e-3)


def test_clusters_of_the_embedding_are_purer_than_clusters_of_pixels(digits):
  rows, labels = digits.sets["train"], digits.arrays["label"][digits.sets["train"]]
  pixels = digits.arrays["image"][rows].reshape(len(rows), -1) / 255.0
  places = spectral.embed(digits, width=10, neighbours=8, blur=0.0)[rows]
  assert purity(places, labels, 10) > purity(pixels, labels, 10) + 0.05


def test_the_network_places_pictures_it_has_not_seen_and_ignores_labels(digits):
  procedure = spectral.train(mlp.model(classes=10, widths=(64,)), blur=0.0, steps=400, rate=3e-3)
  subject = loop.fit(procedure, digits, seed=1)
  other = digits._replace(arrays={**digits.arrays, "label": digits.arrays["label"][::-1].copy()})
  again = loop.fit(procedure, other, seed=1)
  for a, b in zip(jax.tree.leaves(subject.params), jax.tree.leaves(again.params)):
    np.testing.assert_array_equal(a, b)
  test = digits.sets["test"]
  places, _ = predict(subject.model, subject.params, subject.state, digits.arrays["image"][test])
  pixels = digits.arrays["image"][test].reshape(len(test), -1) / 255.0
  labels = digits.arrays["label"][test]
  assert purity(places, labels, 10) > purity(pixels, labels, 10)


@pytest.mark.parametrize("change", [{"neighbours": 0}, {"blur": -1.0}, {"scale": 0.0}])
def test_values_out_of_range_are_named(change):
  with pytest.raises(Invalid, match=f"train.{next(iter(change))}"):
    spectral.train(mlp.model(classes=4), **change)


def test_more_coordinates_than_pictures_are_refused():
  with pytest.raises(Invalid, match="fewer than the 80 pictures"):
    spectral.embed(two_heaps(), width=80, neighbours=4, blur=0.0)


def test_a_single_coordinate_is_refused():
  with pytest.raises(Invalid, match="at least 2 coordinates"):
    spectral.train(mlp.model(classes=1)).init(jax.random.key(0), two_heaps())

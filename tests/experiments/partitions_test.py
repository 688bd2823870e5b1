import numpy as np

from experiments import partitions
from ue_jax.core.nouns import Clustering


def test_the_plane_keeps_the_directions_of_largest_variance():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(400, 6)) * np.array([0.1, 5, 0.1, 0.1, 3, 0.1]) + 7
  flat = partitions.plane(x)
  np.testing.assert_allclose(np.abs(np.corrcoef(flat[:, 0], x[:, 1])[0, 1]), 1, atol=1e-3)
  np.testing.assert_allclose(np.abs(np.corrcoef(flat[:, 1], x[:, 4])[0, 1]), 1, atol=1e-2)
  assert partitions.plane(x[:, :1]).shape == (400, 2)


def test_a_typical_member_belongs_to_its_cluster_and_medoids_stand_for_themselves():
  image = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1)
  labels = np.repeat([0, 1, 2], 4)
  assert partitions.typical(Clustering(labels), image).tolist() in ([1, 5, 9], [2, 6, 10])
  assert partitions.typical(Clustering(labels, medoids=np.array([3, 4, 8])), image).tolist() == [3, 4, 8]

import numpy as np
import pytest

from ue_jax.audit import votes
from ue_jax.core.errors import Invalid


@pytest.mark.parametrize("k", [1, 5, 8])
def test_it_votes_as_scikit_learn_does(k):
  from sklearn.neighbors import KNeighborsClassifier

  rng = np.random.default_rng(k)
  bank, labels = rng.normal(size=(300, 8)).astype(np.float32), rng.integers(0, 4, 300)
  bank[:, 0] += labels
  queries = rng.normal(size=(151, 8)).astype(np.float32) + 1
  want = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(bank, labels).predict(queries)
  got = votes.predict(bank, labels, queries, k, chunk=40)
  assert got.dtype == np.int32 and np.mean(got == want) >= 0.99


def test_near_is_an_angle_and_of_equally_many_votes_the_smallest_class_wins():
  bank, labels = np.array([[1.0, 0], [0, 1.0], [1, 1]]), np.array([2, 1, 0])
  assert votes.predict(bank, labels, np.array([[100.0, 1], [1, 99], [3, 2.9]]), k=1).tolist() == [2, 1, 0]
  assert votes.predict(bank, labels, np.array([[100.0, 1]]), k=3).tolist() == [0]
  assert votes.predict(bank, labels, np.array([[100.0, 1]]), k=99).tolist() == [0]


def test_what_is_no_bank_is_refused():
  good = np.eye(3)
  for bank, queries, k in ((good, np.eye(2), 1), (good * np.nan, good, 1), (good, good, 0)):
    with pytest.raises(Invalid):
      votes.predict(bank, np.arange(3), queries, k)

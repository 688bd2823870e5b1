"""Classes that look like another task, on a network of which it is known what it says."""

import jax
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.forget import similar


def asked(pictures, counts):
  """The request with a set `other`: so many test pictures of each class, with labels that lie."""
  data, label = pictures.data, np.array(pictures.data.arrays["label"])
  test = np.asarray(data.sets["test"])
  rows = np.concatenate([test[label[test] == c][:count] for c, count in enumerate(counts)])
  label[rows] = 0
  return pictures._replace(data=Data({**data.arrays, "label": label}, {**data.sets, "other": rows}, data.info))


@pytest.mark.parametrize("counts, classes, chosen", [((1, 5, 3), 1, [1]), ((1, 5, 3), 2, [1, 2]), ((4, 0, 2), 1, [0])])
def test_the_classes_said_most_often_are_forgotten_whatever_the_labels_there(pictures, counts, classes, chosen):
  procedure, request = similar.select("other", classes), asked(pictures, counts)
  found = procedure.finish(procedure.init(jax.random.key(0), request), request).data
  train, label = found.sets["train"], found.arrays["label"]
  assert sorted(found.sets["forget"]) == sorted(train[np.isin(label[train], chosen)])
  assert sorted(found.sets["retain"]) == sorted(train[~np.isin(label[train], chosen)])
  assert found.info["similar"] == {str(c): counts[c] / sum(counts) for c in chosen}


@pytest.mark.parametrize("name, classes, said", [("other", 3, "leave one"), ("other", 2, "only 1"), ("no", 1, "'no'")])
def test_what_cannot_be_chosen_is_refused(pictures, name, classes, said):
  procedure, request = similar.select(name, classes), asked(pictures, (4, 0, 0))
  with pytest.raises(Invalid, match=said):
    procedure.finish(procedure.init(jax.random.key(0), request), request)


def test_no_class_is_not_a_request():
  with pytest.raises(Invalid, match="select.classes = 0"):
    similar.select("other", 0)

"""Every kind of factory returns its noun, and leaves what it was given as it was."""

import jax
import numpy as np
import pytest

from ue_jax.core import build, tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Clustering, Data, Request, Score, Subject, check_data
from ue_jax.models.model import Model, Out


def found(*kinds):
  """Marks a test to run for every factory of these kinds that is on disk."""
  pairs = [(kind, module) for kind in kinds for module in build.factories(kind)]
  return pytest.mark.parametrize("kind, module", pairs, ids=lambda x: x)


def nouns(workshop, kind, module):
  return [(b, workshop.noun(kind, module, b.flavour)) for b in workshop.built(kind, module)]


def rows(data):
  return len(data.arrays["index"])


def data_of(problem):
  return problem if isinstance(problem, Data) else problem.data


def test_every_exception_is_still_needed(workshop):
  for kind, module in workshop.by_hand:
    factory = build.find(kind, module)
    with pytest.raises(Exception):  # noqa: B017 (whatever it is that it lacks)
      factory(**workshop.arguments(kind, module, "pictures"))
  assert len(workshop.by_hand) <= 6


@found("data")
def test_data_returns_consistent_data(workshop, kind, module):
  if (kind, module) in workshop.by_hand:
    pytest.skip(workshop.by_hand[kind, module])
  data = build.build(kind, module)
  assert isinstance(data, Data)
  check_data(data)
  assert len(np.unique(data.arrays["index"])) == data.n
  for name, classes in data.info.get("labels", {}).items():
    label = data.arrays[name]
    assert label.dtype == np.int32 and label.ndim == 1
    assert label.max() < len(classes), f"labelling {name} has a class without a name"
  again = build.build(kind, module)
  assert tree.fingerprint(dict(again.arrays)) == tree.fingerprint(dict(data.arrays)), "the same seed, other data"


@found("model")
def test_model_returns_a_pair_of_pure_functions(workshop, kind, module):
  model = build.build(kind, module, **workshop.arguments(kind, module, "tokens"))
  assert isinstance(model, Model)
  pictures, tokens = workshop.pictures.arrays["image"], workshop.tokens.arrays["ids"]
  texts = {"models.transformer": tokens[:2], "models.decoder": tokens[:2] % 97}  # the decoder at hand has 97 words
  inputs = texts.get(module, pictures[:2])
  params, state = model.init(jax.random.key(0), inputs)
  again, _ = model.init(jax.random.key(0), inputs)
  other, _ = model.init(jax.random.key(1), inputs)
  assert tree.fingerprint(params) == tree.fingerprint(again) != tree.fingerprint(other)
  out = jax.jit(lambda p, x: model.apply(p, x, state=state))(params, inputs)
  assert isinstance(out, Out)
  for array in (out.logits, out.features):
    assert len(array) == 2 and array.dtype == np.float32 and np.isfinite(array).all()
  assert tree.fingerprint(out.state) == tree.fingerprint(state), "evaluation changes no state"
  with pytest.raises(Invalid):  # a misspelt site would silently do nothing
    model.apply(params, inputs, state=state, taps={"no such site": lambda v: v})


@found("protect")
def test_protect_returns_data_with_protected_rows_of_train_and_a_protected_test_set(workshop, kind, module):
  for built, after in nouns(workshop, kind, module):
    before, n = built.problem, rows(built.problem)
    assert isinstance(after, Data)
    check_data(after)
    assert after.arrays["image"].dtype == np.uint8
    train, test = before.sets["train"], before.sets["test"]
    untouched = np.setdiff1d(np.arange(n), train)
    for name, array in before.arrays.items():
      same = untouched if name == "image" else np.arange(n)
      assert np.array_equal(after.arrays[name][same], array[same]), f"{name} of rows that are not protected"
    for name, positions in before.sets.items():
      assert np.array_equal(after.sets[name], positions), f"set {name}"
    added = after.sets["test_protected"]
    assert len(added) == len(test) and added.min() >= n, "protected copies of the test rows are appended"
    new = np.sort(np.concatenate([after.sets[name] for name in after.sets if name not in before.sets]))
    assert np.array_equal(new, np.arange(n, rows(after))), "every appended row belongs to one new set"
    for name, array in before.arrays.items():
      if name != "image":
        assert np.array_equal(after.arrays[name][added], array[test]), f"{name} of the protected test rows"
    assert after.info.get("labels") == before.info.get("labels")


@found("defend")
def test_defend_returns_data_of_the_same_samples(workshop, kind, module):
  for built, after in nouns(workshop, kind, module):
    before = built.problem
    assert isinstance(after, Data)
    check_data(after)
    assert after.arrays["image"].dtype == np.uint8 and rows(after) == rows(before)
    for name, array in before.arrays.items():
      if name != "image":
        assert np.array_equal(after.arrays[name], array), name
    assert set(after.sets) == set(before.sets)
    test = before.sets["test"]
    assert np.array_equal(after.arrays["image"][test], before.arrays["image"][test]), "the test set stays as it is"


@found("train", "method", "attack")
def test_train_method_and_attack_return_a_finite_subject(workshop, kind, module):
  for built, after in nouns(workshop, kind, module):
    assert isinstance(after, Subject) and isinstance(after.model, Model)
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(after.params))
    if kind != "train":
      assert tree.shapes(after.params) == tree.shapes(built.problem.subject.params)


@found("method", "attack")
def test_a_method_changes_the_subject_but_not_the_one_it_was_given(workshop, kind, module):
  for built, after in nouns(workshop, kind, module):
    given = workshop.subject(built.flavour)
    fresh, _ = given.model.init(jax.random.key(7), workshop.data(built.flavour).arrays[
      "ids" if built.flavour == "tokens" else "image"][:2])
    assert tree.fingerprint(given.params) == tree.fingerprint(fresh), "the request's subject was changed"
    assert tree.fingerprint(after.params) != tree.fingerprint(given.params), "nothing was changed"


@found("select")
def test_select_returns_a_request_with_named_rows(workshop, kind, module):
  for _, after in nouns(workshop, kind, module):
    assert isinstance(after, Request)
    check_data(after.data)
    assert {"forget", "retain"} <= set(after.data.sets)
    assert not set(after.data.sets["forget"]) & set(after.data.sets["retain"])


@found("cluster")
def test_cluster_gives_every_sample_a_cluster(workshop, kind, module):
  for built, after in nouns(workshop, kind, module):
    assert isinstance(after, Clustering)
    labels = np.asarray(after.labels)
    assert labels.shape == (rows(built.problem),) and labels.dtype == np.int32 and labels.min() >= 0
    if after.centers is not None:
      assert labels.max() < len(after.centers) and np.isfinite(np.asarray(after.centers)).all()
    if after.cost is not None:
      assert np.isfinite(np.asarray(after.cost))


@found("measure")
def test_measure_returns_scores_with_direction_and_target(workshop, kind, module):
  for _, after in nouns(workshop, kind, module):
    assert after, "no score at all"
    for name, score in after.items():
      assert isinstance(score, Score), name
      assert score.better in ("low", "high", "near"), name
      assert np.isfinite(score.target), f"{name}: a score without a target is not a score"
      assert score.low <= score.value <= score.high, f"{name} = {score.value} outside {score.low} .. {score.high}"
      assert score.low <= score.target <= score.high, f"the target of {name}"
      assert int(score.n) == score.n >= 1, name


@found("protect", "defend", "train", "select", "method", "attack", "cluster", "measure")
def test_the_data_that_is_given_stays_as_it_is(workshop, kind, module):
  for built, _ in nouns(workshop, kind, module):
    fresh = type(workshop)().data(built.flavour)
    given = data_of(built.problem)
    assert tree.fingerprint(dict(given.arrays)) == tree.fingerprint(dict(fresh.arrays))
    assert tree.fingerprint(dict(given.sets)) == tree.fingerprint(dict(fresh.sets))


@found("protect", "defend", "select", "cluster")
def test_the_same_seed_makes_the_same_noun(workshop, kind, module):
  for built, once in nouns(workshop, kind, module):
    again = workshop.walk(kind, module, built.flavour).again()
    pick = lambda x: dict(x.arrays) if isinstance(x, Data) else dict(x.data.sets) if kind == "select" else x._asdict()
    assert tree.fingerprint(pick(once)) == tree.fingerprint(pick(again))

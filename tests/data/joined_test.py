"""Two picture sets as one: rows, names and labels of each part, and the audits that read the other part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.audit import representation as config
from experiments import folder as watched
from experiments import plan
from tests.data import prepared
from ue_jax.audit import probe, representation, utility, votes
from ue_jax.core.build import build
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request, Subject, check_data
from ue_jax.data import embedded, fitting, folder, joined, splits, synthetic
from ue_jax.forget import random_labels, similar
from ue_jax.models import mlp
from ue_jax.models.model import Model, Out

DIGITS = dict(name="data.embedded", source="digits", train=90, test=30)
SHAPES = dict(name="data.synthetic", n=40, test=10, size=16)
SPLIT = dict(main=DIGITS, held=dict(DIGITS, train=60, seed=1))


def finish(procedure, request):
  return procedure.finish(procedure.init(jax.random.key(0), request), request)


@pytest.fixture(scope="module")
def pair():
  return check_data(joined.data(dict(main=dict(DIGITS, forget_classes=(1,)), shapes=SHAPES)))


def test_the_main_part_is_what_it_is_alone(pair):
  alone = embedded.data("digits", 90, 30, forget_classes=(1,))
  assert set(pair.sets) - set(alone.sets) == {"shapes_train", "shapes_test"}
  for name, rows in alone.sets.items():
    assert np.array_equal(pair.sets[name], rows), name
  for name, array in alone.arrays.items():
    assert np.array_equal(pair.arrays[name][: alone.n], array), name
    assert name in ("image", "index") or (pair.arrays[name][alone.n :] == joined.NONE).all(), name


def test_the_other_part_is_fitted_renamed_and_counted_on(pair):
  other, n = synthetic.data(40, 10, 16), 120
  for at in ("train", "test"):
    rows = pair.sets[f"shapes_{at}"]
    for name in ("label", "colour"):
      assert np.array_equal(pair.arrays[f"shapes_{name}"][rows], other.arrays[name][other.sets[at]])
      assert pair.info["labels"][f"shapes_{name}"] == other.info["labels"][name]
    expected = [folder.fit(one, 8, 1) for one in other.arrays["image"][other.sets[at]]]
    assert np.array_equal(pair.arrays["image"][rows], expected)
  assert (pair.arrays["shapes_label"][:n] == joined.NONE).all()
  assert pair.info["labels"]["part"] == ["main", "shapes"] and np.bincount(pair.arrays["part"]).tolist() == [120, 40]
  assert len(np.unique(pair.arrays["index"])) == pair.n
  assert np.array_equal(pair.arrays["index"][n:] - pair.info["parts"]["shapes"]["first"], other.arrays["index"])


def test_size_and_channels_may_be_asked_for_and_another_part_may_be_the_main_one():
  data = joined.data(dict(a=DIGITS, b=SHAPES), main="b", size=10, channels=1)
  assert data.arrays["image"].shape == (160, 10, 10, 1) and {"train", "a_train", "label", "a_label"} <= {
    *data.sets, *data.arrays}  # fmt: skip
  assert data.info["labels"]["part"] == ["b", "a"] and data.arrays["index"][:40].tolist() == list(range(40))
  assert joined.data(dict(a=DIGITS, b=SHAPES), main="b").arrays["image"].shape == (160, 16, 16, 3)


def test_classes_that_are_kept_are_numbered_anew():
  data = check_data(joined.data(SPLIT, keep=dict(main=(4, 2, 0), held=(7, 9))))
  assert data.info["labels"]["label"] == ["4", "2", "0"] and data.info["labels"]["held_label"] == ["7", "9"]
  alone, rows = embedded.data("digits", 90, 30), data.sets["test"]
  kept = [row for row in alone.sets["test"] if alone.arrays["label"][row] in (4, 2, 0)]
  assert np.array_equal(data.arrays["image"][rows], alone.arrays["image"][kept])
  assert np.array_equal(np.array([4, 2, 0])[data.arrays["label"][rows]], alone.arrays["label"][kept])
  held = data.sets["held_train"]
  assert (data.arrays["held_parity"][held] == 1).all() and (data.arrays["parity"][held] == joined.NONE).all()
  assert set(data.arrays["held_label"][held]) == {0, 1} and len(held) == 12


def test_rows_without_a_label_are_of_no_class_that_is_kept():
  with pytest.raises(Invalid, match="keep.both.*held_train.*0 positions"):  # they were of the last class once
    joined.data(dict(main=DIGITS, both=dict(name="data.joined", parts=SPLIT)), keep=dict(both=(9,)))


def test_grey_is_that_of_pillow_and_nothing_is_copied_in_vain():
  images = np.random.default_rng(0).integers(0, 256, (1003, 5, 4, 3), np.uint8)
  assert np.array_equal(fitting.fitted(images, channels=1)[::50, :4], [folder.fit(x[:4], 4, 1) for x in images[::50]])
  assert fitting.fitted(images) is images and fitting.fitted(images, 3, 3).shape == (1003, 3, 3, 3)


@pytest.mark.parametrize("arguments, said", [
  ({"parts": {"main": DIGITS}}, "data.parts.*at least two"), ({"main": "c"}, "data.main = 'c'"),
  ({"parts": {"main": DIGITS, "b": {"source": "x"}}}, "data.parts.b"),
  ({"parts": {"main": DIGITS, "b": dict(DIGITS, source="x")}}, "data.parts.b.source = 'x'"),
  ({"parts": {"main": DIGITS, "b": dict(DIGITS, sise=3)}}, "data.parts.b.sise"),
  ({"parts": {"main": DIGITS, "b": {"name": "data.blobs"}}}, "data.parts.b.name.*pictures"),
  ({"parts": {"main": DIGITS, "b": {"name": "data.captions", "n": 24, "test": 4}}}, "data.parts.b.name.*only"),
  ({"parts": {"main": dict(DIGITS, forget_classes=(1,)), "forget": DIGITS}}, "two of the set 'forget_test'"),
  ({"keep": {"c": (1,)}}, "data.keep"), ({"parts": SPLIT, "keep": {"held": (1, 1)}}, "data.keep.held"),
  ({"parts": SPLIT, "keep": {"main": (10,)}}, "data.keep.main"), ({"channels": 2}, "data.channels"),
  ({"size": -1}, "data.size"),
])  # fmt: skip
def test_what_cannot_be_joined_is_named(arguments, said):
  with pytest.raises(Invalid, match=said):
    joined.data(**arguments)


def test_an_experiment_checks_and_watches_every_part(tmp_path):
  parts = dict(main=DIGITS, mine=dict(name="data.folder", path=str(tmp_path)))
  with pytest.raises(Invalid, match=r"config.data.parts.mine.sise.*did you mean size"):
    plan.plan(dict(data=dict(name="data.joined", parts=dict(parts, mine=dict(parts["mine"], sise=8)))))
  stage = dict(name="data.joined", parts=parts)
  before = watched.source(stage)
  (tmp_path / "new.png").write_bytes(b"x")
  assert watched.source(stage) != before and watched.source(dict(stage, parts=SPLIT)) == ""


@pytest.fixture(scope="module")
def asked():
  """The transfer of the config, small, asked of networks that nobody trained."""
  said = config.get_config("transfer").data.to_dict()
  said["parts"].pop("mnist")
  said["parts"] = {name: dict(part, train=300, test=60) for name, part in said["parts"].items()}
  said.pop("name")
  data = splits.forget_classes(joined.data(**dict(said, keep={n: said["keep"][n] for n in said["parts"]})), (1, 3))
  model = mlp.model(classes=7, widths=(16, 8))
  one, other = (Subject(model, *model.init(jax.random.key(i), data.arrays["image"][:1])) for i in (0, 1))
  return Request(one, data, reference=other, original=one)


def test_the_audit_reads_the_other_part_by_its_own_labels(asked):
  scores = finish(representation.measure(downstream=("held_train:held_label",)), asked)
  data, (rows, arrays) = asked.data, (asked.data.sets["held_train"], asked.data.arrays)
  out = asked.subject.model.apply(asked.subject.params, jnp.asarray(arrays["image"][rows]), state=asked.subject.state)
  features, truth = np.asarray(out.features), arrays["held_label"][rows]
  order = np.random.default_rng(2)
  order.permutation(len(data.sets["train"]))
  order = order.permutation(len(rows))
  learn, ask = np.split(order, [round(0.8 * len(rows))])
  found = votes.predict(features[learn], truth[learn], features[ask])
  assert scores["knn/held_train:held_label"].value == pytest.approx(np.mean(found == truth[ask]))
  told = probe.fit(features[learn], truth[learn]).predict(features[ask])
  assert scores["probe/held_train:held_label"].value == pytest.approx(np.mean(told == truth[ask]))
  cka, near = scores["cka/held_train:held_label"].value, scores["knn/held_train:held_label"]
  assert 0 < cka < 1 and scores["cka/held_train:held_label"].n == len(rows)
  assert scores["AGR"].value == pytest.approx(cka * (1 - abs(near.value - near.target)))


def test_labels_that_say_nothing_of_a_row_are_never_read(asked):
  for settings in ({"downstream": ("held_test",)}, {"sets": ("held_test",)}, {"downstream": ("held_test:parity",)}):
    with pytest.raises(Invalid, match="says no class.*held_label"):
      finish(representation.measure(**settings), asked)
  with pytest.raises(Invalid, match="measure.label.*fashion"):
    finish(representation.measure(downstream=("held_test:fashion",)), asked)
  with pytest.raises(Invalid, match="says no class"):
    finish(utility.measure(("held_test",)), asked)
  with pytest.raises(Invalid, match="keep it within"):
    build("train", "train.supervised", model=asked.subject.model, train_set="held_train").init(
      jax.random.key(0), asked.data)
  wrong = asked._replace(data=asked.data._replace(sets={**asked.data.sets, "forget": asked.data.sets["held_train"]}))
  with pytest.raises(Invalid, match="no class of some pictures of the set 'forget'"):
    random_labels.method().init(jax.random.key(0), wrong)


def test_cifar_100_with_cifar_10_is_planned_built_and_asked(tmp_path):
  """The config of one GPU on stand-ins of both sets; the network says of a picture what its first byte is."""
  pytest.importorskip("array_record")
  for source in ("cifar100", "cifar10"):
    prepared.prepare(source, str(tmp_path), n=12)
  said = config.get_config("cifar")
  for part in said.data.parts:
    said.data.parts[part].path = str(tmp_path)
  planned = plan.plan(said.to_dict())
  assert [stage.config["name"] for stage in planned.stages.values() if stage.kind == "select"] == ["forget.similar"]
  stage = said.data.to_dict()
  data = check_data(build("data", stage.pop("name"), **stage))
  assert data.arrays["image"].shape == (48, 32, 32, 3)
  assert {name: len(rows) for name, rows in data.sets.items()} == {
    "train": 12, "test": 12, "other_train": 12, "other_test": 12}  # fmt: skip
  assert len(data.info["labels"]["label"]) == 100 and len(data.info["labels"]["other_label"]) == 10
  by_byte = lambda params, images, **how: Out(jax.nn.one_hot(images[:, 0, 0, 0] % 12, 100), images[:, 0, :8, 0], {})
  subject = Subject(Model(lambda key, x: ({}, {}), by_byte), {}, {})
  chosen = said.select.to_dict()
  top = finish(similar.select(chosen["downstream"], 2), Request(subject, data)).data
  counts = np.bincount(data.arrays["image"][data.sets["other_train"]][:, 0, 0, 0] % 12, minlength=12)
  best = sorted(np.argsort(-counts, kind="stable")[:2].tolist())
  assert sorted(set(top.arrays["label"][top.sets["forget"]].tolist())) == best
  assert set(top.sets["forget"]) | set(top.sets["retain"]) == set(data.sets["train"]) and "forget_test" in top.sets

"""Stages are made once; the pipeline gives factories what they ask for; clusterings are scored."""

import numpy as np
import pytest

from experiments import pipeline, store
from experiments.plan import Stage, plan
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Clustering, Data
from ue_jax.protect import tap
from ue_jax.train.loop import fit

TRAIN = {
  "data": {"name": "data.embedded", "source": "digits", "train": 40, "test": 20},
  "model": {"name": "models.mlp", "widths": (4,)},
  "train": {"name": "train.supervised", "steps": 3, "batch_size": 20, "label": "parity"},
  "measure": {"utility": {"name": "audit.utility"}},
}


def times(workdir):
  return {p.parent.name: p.stat().st_mtime_ns for p in (workdir / "artefacts").glob("*/manifest.json")}


def made(config, workdir):
  results = pipeline.Results(plan(config), workdir)
  results.all()
  return results


def test_what_is_stored_is_not_made_again_and_a_new_measure_does_not_retrain(tmp_path):
  made(TRAIN, tmp_path)
  first = times(tmp_path)
  made(TRAIN, tmp_path)
  assert times(tmp_path) == first
  made({**TRAIN, "measure": {"utility": {"name": "audit.utility", "sets": ("test",)}}}, tmp_path)
  new = set(times(tmp_path)) - set(first)
  assert {name.partition("-")[0] for name in new} == {"measure"} and first.items() <= times(tmp_path).items()


def test_a_model_gets_as_many_outputs_as_its_labelling_has_classes(tmp_path):
  results = made(TRAIN, tmp_path)
  (stage,) = (s for s in results.plan.stages.values() if s.kind == "train")
  subject = results(stage.hash)
  assert subject.params["head"]["kernel"].shape[-1] == 2
  assert subject.model.apply(subject.params, np.zeros((1, 8, 8, 1), np.uint8)).logits.shape == (1, 2)


def test_a_labelling_that_does_not_exist_is_named(tmp_path):
  config = {**TRAIN, "train": {**TRAIN["train"], "label": "colour"}}
  with pytest.raises(Invalid, match="colour.*parity"):
    made(config, tmp_path)


WITH_SURROGATE = {
  **TRAIN, "protect": {"name": "protect.unlearnable_clusters", "k": 3, "steps": 1},
  "surrogate": {"model": TRAIN["model"], "train": TRAIN["train"]},
}
MIX = {**TRAIN, "protect": {"name": "protect.cuda"}, "mix": {"ratio": (0.25, 0.5)}}


def test_a_mixture_has_its_share_of_protected_pictures_and_the_clean_share_has_the_others_alone(tmp_path):
  results = made(MIX, tmp_path)
  data = {row: results(hash) for row, hash in results.plan.variants.items()}
  pictures = lambda row: data[row].arrays["image"][data[row].sets["train"]]
  differs = lambda row, other: (pictures(row) != pictures(other)).any(axis=(1, 2, 3))
  moved = differs("clean", "cuda")
  assert moved.all()
  for row, count in (("cuda 25 %", 10), ("cuda 50 %", 20)):
    assert differs(row, "clean").sum() == count and (differs(row, "clean") ^ differs(row, "cuda")).all()
  assert not (differs("cuda 25 %", "clean") & ~differs("cuda 50 %", "clean")).any(), "a part of the larger share"
  for row, mixture in (("clean 75 %", "cuda 25 %"), ("clean 50 %", "cuda 50 %")):
    kept = data[row].sets["train"]
    assert kept.tolist() == data["clean"].sets["train"][~differs(mixture, "clean")].tolist()
    np.testing.assert_array_equal(data[row].arrays["image"], data["clean"].arrays["image"])
    assert data[row].sets["test"].tolist() == data["clean"].sets["test"].tolist()
  accuracy = {c.row: results(c.scores["utility"])["train/accuracy"].n for c in results.plan.cells}
  assert accuracy["clean 75 %"] == 30 and accuracy["cuda 25 %"] == 40
  other = made({**MIX, "mix": {"ratio": 0.5, "seed": 1}}, tmp_path)
  again = other(other.plan.variants["cuda 50 %"]).sets["train_protected"]
  assert set(again.tolist()) != set(data["cuda 50 %"].sets["train_protected"].tolist()), "another seed, other rows"


def test_pictures_of_two_sizes_are_not_mixed(tmp_path):
  protect = {**WITH_SURROGATE["protect"], "size": 16, "mode": "img"}
  model = {"name": "models.cnn", "widths": (4,), "head": "mean"}
  config = {**WITH_SURROGATE, "protect": protect, "mix": {"ratio": 0.5}}
  config["surrogate"] = {**config["surrogate"], "model": model}
  with pytest.raises(Invalid, match="mix = .*8x8x1.*16x16x1"):
    made(config, tmp_path)


def test_a_method_with_a_network_of_its_own_gives_a_subject_of_that_network(tmp_path):
  own = {"name": "forget.der_plus", "model": {"name": "models.multihead", "tasks": 2, "widths": (4,)}, "learn_steps": 2}
  config = {
    **TRAIN, "data": {"name": "data.tasks", "tasks": 2, "train": 40, "test": 20},
    "model": {"name": "models.hypernetwork", "tasks": 2, "widths": (3,)},
    "train": {"name": "train.supervised", "steps": 0}, "select": {"name": "data.tasks", "sequence": "L0,L1,U0"},
    "method": {"plus": own}, "measure": {"stream": {"name": "audit.continual"}},
  }  # fmt: skip
  made(config, tmp_path)
  results = pipeline.Results(plan(config), tmp_path)  # reads what is stored
  cell = next(cell for cell in results.plan.cells if cell.row == "plus")
  subject, image = results(cell.made), np.zeros((1, 8, 8, 1), np.uint8)
  assert subject.params["head"]["kernel"].shape == (2, 4, 10) and len(subject.history["task_1_accuracy"]) == 3
  assert subject.model.apply(subject.params, image, state=subject.state).logits.shape == (1, 10)
  assert "fa" in results(cell.scores["stream"])


def test_a_damaged_artefact_stops_the_run(tmp_path):
  results = made(TRAIN, tmp_path)
  path = results.path(results.plan.clean) / "data.npz"
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(Invalid, match="data.npz"):
    made({**TRAIN, "seeds": (1,)}, tmp_path)


def test_the_keeper_writes_when_time_has_passed_and_what_is_left_when_asked():
  written = []

  class Keeper:
    latest = extra = None
    save = staticmethod(lambda *checkpoint: written.append(checkpoint))

  keeper = pipeline.Timed(Keeper, seconds=1000)
  keeper.save(1, "a")
  keeper.save(2, "b")
  assert written == []
  keeper.flush()
  keeper.flush()
  assert written == [(2, "b")]
  keeper = pipeline.Timed(Keeper, seconds=0)
  keeper.save(3, "c", {})
  assert written[-1] == (3, "c", {})


def test_asked_to_stop_no_further_stage_is_begun(tmp_path):
  results = pipeline.Results(plan(TRAIN), tmp_path, pipeline.Settings(stop=lambda: True))
  with pytest.raises(pipeline.Interrupted):
    results.all()
  assert not (tmp_path / "artefacts").exists()


def test_a_clustering_is_scored_against_every_labelling(tmp_path):
  labels = {"fine": ["a", "b", "c"], "coarse": ["x", "y"]}
  arrays = {"index": np.arange(6), "fine": np.array([0, 0, 1, 1, 2, 2]), "coarse": np.array([0, 1, 0, 1, 0, 1])}
  data = Data(arrays, {"train": np.arange(6)}, {"labels": labels})
  found = Clustering(np.array([5, 5, 0, 0, 3, 3]), cost=np.float32(2), steps=np.int32(4))
  stage = Stage("score", {}, {}, {"k": 4}, 0, "", "")
  scores = pipeline._score_clustering(None, stage, {"clustering": found, "data": data})
  assert scores["fine/acc"].value == scores["fine/nmi"].value == scores["fine/ari"].value == 1
  assert scores["coarse/acc"].value == pytest.approx(1 / 3) and scores["coarse/nmi"].value == pytest.approx(0, abs=1e-6)
  assert scores["clusters"].value == 3 and scores["clusters"].target == 4, "one of those asked for is missing"
  assert "cost" not in scores and "steps" not in scores, "a target of 0 says nothing"
  bare = pipeline._score_clustering(None, stage._replace(parts={}), {"clustering": found, "data": data})
  assert "clusters" not in bare and "fine/acc" in bare


def test_subjects_of_earlier_runs_are_read_with_their_history(tmp_path):
  results = made(TRAIN, tmp_path)
  (stage,) = (s for s in results.plan.stages.values() if s.kind == "train")
  history = store.read_history(results.path(stage.hash))
  assert list(history["step"]) == [1, 2, 3] and history["loss"].shape == (3,)
  assert list(results(stage.hash).history) == list(history)


def test_a_protection_from_a_config_meets_the_points_of_the_training_that_it_names(tmp_path):
  net = {**WITH_SURROGATE["surrogate"], "train": {"name": "train.supervised", "steps": 60, "batch_size": 20}}
  craft = {"name": "protect.tap", "eps": 0.25, "steps": 5, "parts": 1, "offset": 5}
  config = {"data": TRAIN["data"], "surrogate": net, "protect": {"a": craft, "b": {**craft, "checkpoints": (5, 20)}}}
  results = made(config, tmp_path)
  points = [results(h) for h, s in results.plan.stages.items() if s.kind == "train"]  # the last one, then in order
  data = results(results.plan.clean)
  by_hand = tap.protect(points[0], checkpoints=points[1:], **{k: v for k, v in craft.items() if k != "name"})
  expected = fit(by_hand, data, seed=0).arrays["image"]
  a, b = (results(results.plan.variants[row]).arrays["image"] for row in "ab")
  np.testing.assert_array_equal(b, expected)
  assert len(points) == 3 and (a != b).any()

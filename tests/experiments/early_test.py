"""Wrong values, missing files and too few pictures are named before hours of work."""

import copy

import numpy as np
import pytest

from experiments import command, early, pipeline, run
from experiments.plan import plan
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.data import npz

TRAIN = {
  "data": {"name": "data.embedded", "source": "digits", "train": 40, "test": 20},
  "model": {"name": "models.mlp", "widths": (4,)},
  "train": {"name": "train.supervised", "steps": 3, "batch_size": 20, "label": "parity"},
  "measure": {"utility": {"name": "audit.utility"}},
}
WITH_SURROGATE = {
  **TRAIN, "protect": {"name": "protect.unlearnable_clusters", "k": 3, "steps": 1},
  "surrogate": {"model": TRAIN["model"], "train": TRAIN["train"]},
}
FORGET = {
  "data": {"name": "data.facts"}, "model": {"name": "models.transformer"},
  "train": {"name": "train.language"}, "reference": True, "method": {"name": "forget.npo"},
}
MIX = {**TRAIN, "protect": {"name": "protect.cuda"}, "mix": {"ratio": (0.25, 0.5)}}


def made(config, workdir):
  results = pipeline.Results(plan(config), workdir)
  results.all()
  return results


def test_wrong_values_are_named_before_anything_is_made(tmp_path):
  config = {**TRAIN, "protect": {"name": "protect.noise", "eps": 2.0}}
  with pytest.raises(Invalid, match="protect.eps"):
    early.factories(plan(config))


@pytest.mark.parametrize("config, stage, field, value", [
  (WITH_SURROGATE, "protect", "eps", 1.5), (WITH_SURROGATE, "train", "rate", -1.0),
  (WITH_SURROGATE, "train", "schedule", "cosin"), (WITH_SURROGATE, "train", "steps", 10.5),
  (WITH_SURROGATE, "surrogate.train", "rate", -1.0), (FORGET, "train", "batch_size", 0),
  (FORGET, "method", "beta", -1.0),
])
def test_values_of_what_needs_a_network_or_a_surrogate_are_named_before_anything_is_made(config, stage, field, value):
  config = copy.deepcopy(config)
  at = config["surrogate"]["train"] if stage == "surrogate.train" else config[stage]
  early.factories(plan(config))
  at[field] = value
  with pytest.raises(Invalid, match=f"{stage.rpartition('.')[2]}.{field} = {value!r}"):
    early.factories(plan(config))


def test_a_folder_is_enough_for_a_pretrained_surrogate_if_weights_are_in_it(tmp_path):
  surrogate = {"name": "models.clip", "path": str(tmp_path)}
  todo = plan({**TRAIN, "protect": WITH_SURROGATE["protect"], "surrogate": surrogate})
  with pytest.raises(Invalid, match="surrogate.path"):
    early.factories(todo)
  (tmp_path / "model.safetensors").touch()
  early.factories(todo)


@pytest.mark.parametrize("path", ["", "nothing/there.npz"])
def test_a_pretrained_surrogate_without_its_file_is_named_before_anything_is_made(path):
  config = {**TRAIN, "protect": WITH_SURROGATE["protect"], "surrogate": {"name": "models.efficientnet", "path": path}}
  with pytest.raises(Invalid, match="surrogate.path = '" + path):
    early.factories(plan(config))
  del config["surrogate"]["path"]
  with pytest.raises(Invalid, match="surrogate.path"):
    early.factories(plan(config))


@pytest.mark.parametrize("protect", [{"k": 41}, {"name": "protect.noise", "kind": "cluster", "k": 41}])
def test_more_clusters_than_pictures_is_said_before_the_surrogate_is_trained(protect, tmp_path):
  config = {**WITH_SURROGATE, "protect": {**WITH_SURROGATE["protect"], **protect}}
  config["protect"] = {k: v for k, v in config["protect"].items() if "kind" not in protect or k != "steps"}
  with pytest.raises(Invalid, match="protect.k = 41: use 2 to 40"):
    made(config, tmp_path)
  assert {p.name.partition("-")[0] for p in (tmp_path / "artefacts").iterdir()} == {"data"}


@pytest.mark.parametrize("mix, said", [
  ({"ratio": 0.001}, "mix.ratio = 0.001: of the 40 rows"), ({"ratio": 0.999}, "mix.ratio = 0.999: of the 40 rows"),
  ({"ratio": 0.5, "within": "trian"}, "mix.within = 'trian': choose one of"),
])
def test_a_mixture_without_both_kinds_is_named_before_anything_is_protected(mix, said, tmp_path):
  early.factories(plan({**MIX, "mix": mix}))
  with pytest.raises(Invalid, match=said):
    made({**MIX, "mix": mix}, tmp_path)
  assert {p.name.partition("-")[0] for p in (tmp_path / "artefacts").iterdir()} == {"data"}


@pytest.mark.parametrize("retain, named", [((0, 1), "retain"), ((1, 0), "retain"), ((2, 3), "retain"), ((), "")])
def test_forgetting_what_is_retained_is_refused_once_there_is_data(retain, named):
  ids = np.array([[1, 2], [3, 4], [1, 2], [3, 4], [5, 6]], np.int32)
  arrays = {"ids": ids, "mask": np.ones((5, 2), np.float32), "index": np.arange(5, dtype=np.int32)}
  of = lambda forget, kept: Data(arrays, {"forget": np.array(forget, int), "retain": np.array(kept, int)})
  if named:
    with pytest.raises(Invalid, match="data.sets.retain.*other samples"):
      early.apart(of((0, 1), retain))
  with pytest.raises(Invalid, match="data.sets.forget.*at least one"):
    early.apart(of((), (0, 1)))
  for kept in ((4,), (0, 4), (1, 4)):
    assert early.apart(of((0, 1), kept)).n == 5


@pytest.mark.parametrize("empty, said", [((4,), ""), ((0,), "data.sets.forget"), ((2, 3), "data.sets.retain")])
def test_answers_without_a_token_are_one_line_and_exit_2_before_anything_is_trained(empty, said, tmp_path, capsys):
  mask = np.tile(np.float32([0, 0, 1]), (5, 1))
  mask[list(empty)] = [1, 0, 0]  # nothing stands before position 0: it is no target
  np.savez(tmp_path / "data.npz", ids=np.arange(15).reshape(5, 3), mask=mask, set_forget=[0, 1], set_retain=[2, 3])
  data = npz.data(str(tmp_path / "data.npz"))
  if not said:  # the row is in no set
    assert early.answers(data) is data
    return
  config = {**FORGET, "data": {"name": "data.npz", "path": str(tmp_path / "data.npz")}}
  config["model"] = {**config["model"], "vocabulary": 15}
  file, head = tmp_path / "config.py", "from ml_collections import ConfigDict\n\ndef get_config(arg=''):\n"
  file.write_text(f"{head}  return ConfigDict({config!r})\n")
  assert command.guarded(run.main, ["--config", str(file), "--workdir", str(tmp_path / "out")], "") == 2
  lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("[")]
  assert len(lines) == 1 and said in lines[0] and "no target token" in lines[0] and f"[{empty[0]}]" in lines[0], lines
  assert not list((tmp_path / "out").glob("artefacts/*"))


def test_a_single_picture_cannot_be_clustered(tmp_path):
  config = {**WITH_SURROGATE, "data": {**TRAIN["data"], "train": 1}}
  with pytest.raises(Invalid, match="data = .*at least 2 pictures"):
    made(config, tmp_path)

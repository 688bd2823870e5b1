"""A released model, a decoder or a ResNet, as that of an experiment: taken as it is, trained further, unlearned."""

import json
import pathlib
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

import ue_jax.data
from experiments import command, early, pipeline, run
from experiments.plan import plan
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request
from ue_jax.core.procedure import convolves
from ue_jax.forget import fine_tune
from ue_jax.models import decoder, resnet, weights

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "llama_tied"
LM = {"name": "models.decoder", "path": str(GOLDEN)}
TRAIN = {"name": "train.language", "steps": 2, "batch_size": 4, "rate": 1e-3}
NET = {"name": "models.resnet", "depth": 20, "width": 4, "normalise": "imagenet"}
NPO = {"name": "forget.npo", "steps": 2, "rate": 1e-3, "forget_batch": 4, "retain_batch": 4}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
  """A file of 24 sequences of the decoder's 97 words."""
  path = tmp_path_factory.mktemp("tokens") / "tokens.npz"
  rng, rows = np.random.default_rng(0), np.arange(24, dtype=np.int32)
  mask = np.zeros((24, 10), np.float32)
  mask[:, 6:] = 1
  sets = {"set_train": rows, "set_forget": rows[:8], "set_retain": rows[8:]}
  np.savez(path, ids=rng.integers(0, 97, (24, 10), dtype=np.int32), mask=mask, **sets)
  return str(path)


def config(tokens, **more):
  return {"data": {"name": "data.npz", "path": tokens}, "model": LM, "measure": {"name": "audit.utility"}, **more}


def subjects(config, workdir):
  results = pipeline.Results(plan(config), workdir)
  early.factories(results.plan)
  results.all()
  return results, {cell.row: results(cell.made) for cell in results.plan.cells}


def test_without_training_the_weights_are_taken_as_they_are_and_unlearned(tokens, tmp_path):
  results, found = subjects(config(tokens, method=NPO), tmp_path)
  assert {stage.kind for stage in results.plan.stages.values()} == {"data", "pretrained", "method", "measure"}
  released, _ = decoder.load(str(GOLDEN))
  assert tree.fingerprint(found["original"].params) == tree.fingerprint(released)
  assert tree.shapes(found["npo"].params) == tree.shapes(released)
  assert tree.fingerprint(found["npo"].params) != tree.fingerprint(released)
  again, same = subjects(config(tokens, method=NPO), tmp_path)  # read back from disk
  ids = jnp.asarray(results(results.plan.clean).arrays["ids"][:2])
  logits = lambda subject: subject.model.apply(subject.params, ids).logits
  np.testing.assert_array_equal(logits(same["npo"]), logits(found["npo"]))


def test_training_goes_on_from_the_weights_and_so_does_what_trains_anew(tokens, tmp_path):
  frozen = {**TRAIN, "rate": 0.0, "weight_decay": 0.0}
  _, found = subjects(config(tokens, train=frozen, method=NPO, reference=True), tmp_path)
  released, _ = decoder.load(str(GOLDEN))
  for row in ("original", "reference"):  # a step of size 0 from anywhere else would be somewhere else
    assert tree.fingerprint(found[row].params) == tree.fingerprint(released), row
  made = plan(config(tokens, train=TRAIN, method=NPO, reference=True)).stages.values()
  begun = [stage for stage in made if "start" in stage.needs]
  assert sorted(stage.config["name"] for stage in begun) == ["forget.retrain", "train.language"]


def test_weights_alone_can_be_measured(tokens, tmp_path):
  results, found = subjects(config(tokens), tmp_path)
  assert list(found) == ["original"]
  (cell,) = results.plan.cells
  assert results(cell.scores["utility"])["forget/nll"].value > 3  # nats; log 97 is 4.6


def test_other_files_make_another_experiment(tokens):
  hashes = [set(plan(config(tokens), lambda stage, seen=seen: seen).stages) for seen in ("a", "b", "a")]
  assert hashes[0] == hashes[2] and not hashes[0] & hashes[1]


def test_a_path_that_does_not_exist_is_one_line_and_exit_2(tokens, tmp_path, capsys):
  file = tmp_path / "config.py"
  made = config(tokens, model={**LM, "path": "no/such/folder"}, method=NPO)
  file.write_text(f"from ml_collections import ConfigDict\n\ndef get_config(arg=''):\n  return ConfigDict({made!r})\n")
  argv = ["--config", str(file), "--workdir", str(tmp_path / "out")]
  assert command.guarded(run.main, argv, "") == 2
  said = capsys.readouterr().err.strip()
  assert "\n" not in said and "model.path = 'no/such/folder'" in said
  assert not list((tmp_path / "out").glob("artefacts/*"))


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
  """A file with the weights of a small ResNet-20, under PyTorch's names."""
  rng = np.random.default_rng(0)
  kinds = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}
  norm = lambda name, width: {f"{name}.{kind}": np.full(width, value) for kind, value in kinds.items()}
  arrays = {"conv1.weight": rng.normal(size=(4, 3, 3, 3)), **norm("bn1", 4)}
  arrays |= {"linear.weight": rng.normal(size=(10, 16)), "linear.bias": np.zeros(10)}
  before = 4
  for stage, width in enumerate((4, 8, 16), 1):
    for block, layer in ((f"layer{stage}.{i}", j) for i in range(3) for j in (1, 2)):
      arrays[f"{block}.conv{layer}.weight"] = 0.1 * rng.normal(size=(width, before, 3, 3))
      arrays |= norm(f"{block}.bn{layer}", width)
      before = width
  path = tmp_path_factory.mktemp("resnet") / "net.npz"
  weights.write(path, {name: np.float32(array) for name, array in arrays.items()})
  return str(path)


def seen(file, **more):
  """An experiment on grey pictures of digits, which the statistics of three channels make pictures of three."""
  data = {"name": "data.embedded", "source": "digits", "train": 40, "test": 20, "forget_share": 0.25}
  return {"data": data, "model": {**NET, "path": file}, **more}


def test_a_network_of_pictures_begins_with_its_weights_and_its_steps_are_not_scanned(weights_file, tmp_path):
  params, _ = resnet.load(weights_file)
  tune = {"name": "forget.fine_tune", "steps": 2, "retain_batch": 8}
  sgd = {"name": "train.supervised", "steps": 0}
  results, found = subjects(seen(weights_file, train=sgd, reference=True, method=tune), tmp_path)
  for row in ("original", "reference"):
    assert tree.fingerprint(found[row].params) == tree.fingerprint(params), row
  assert tree.fingerprint(found["fine_tune"].params) != tree.fingerprint(params)
  assert convolves(fine_tune.method(), Request(found["original"], results(results.plan.clean)))


@pytest.mark.parametrize("more, said", [
  ({"depth": 32}, r"net\.npz = '.*missing.*': the model needs"), ({"path": ""}, "config.model.path = ''"),
])
def test_weights_of_another_network_are_refused_and_so_is_no_file(weights_file, tmp_path, more, said):
  config = seen(weights_file, method={"name": "forget.fine_tune", "steps": 1})
  config["model"] = {**config["model"], **more}
  with pytest.raises(Invalid, match=said):
    subjects(config, tmp_path)


def test_ids_beyond_the_words_of_the_model_are_named(tmp_path):
  rows = np.arange(8, dtype=np.int32)
  path = str(tmp_path / "tokens.npz")
  sets = {"set_forget": rows[:4], "set_retain": rows}
  np.savez(path, ids=np.full((8, 4), 97, np.int32), mask=np.ones((8, 4), np.float32), **sets)
  with pytest.raises(Invalid, match="ids.* = 97: the model knows 97 words"):
    subjects(config(path, method=NPO), tmp_path / "out")


def test_texts_beyond_the_context_are_named_before_training(tmp_path):
  rows, mask = np.arange(8, dtype=np.int32), np.ones((8, 70), np.float32)
  sets = {"set_train": rows, "set_forget": rows[:4], "set_retain": rows[4:]}
  for name, longest in (("long", 65), ("short", 64)):  # padding behind does not count
    targets = mask * (np.arange(70) < longest)
    np.savez(tmp_path / f"{name}.npz", ids=np.tile(rows[:, None], 70), mask=targets, **sets)
  subjects(config(str(tmp_path / "short.npz")), tmp_path / "out")
  for more in ({"train": TRAIN}, {"method": NPO}, {}):
    with pytest.raises(Invalid, match="data.arrays.ids. = '65 tokens in a row': the model reads up to 64"):
      subjects(config(str(tmp_path / "long.npz"), **more), tmp_path / "out")


@pytest.mark.parametrize("measure, said", [
  ({"name": "audit.rouge", "new": 59}, "measure.new = '59 behind a prompt of 6 tokens'"),
  ({"name": "audit.prompts", "sets": ("forget",), "shots": (6,)}, "measure.shots = '70 tokens with"),
])
def test_measures_that_would_go_beyond_the_context_are_named(tokens, tmp_path, measure, said):
  with pytest.raises(Invalid, match=said):
    subjects(config(tokens, measure=measure), tmp_path)


@pytest.mark.parametrize("more, said", [
  ({"train": {"name": "train.spectral"}, "method": NPO}, "config.train.name = 'train.spectral'.*train.language"),
  ({"method": NPO, "reference": True}, "config.train = '.missing.'.*forget.retrain"),
])
def test_what_cannot_go_on_from_weights_is_named(tokens, more, said):
  with pytest.raises(Invalid, match=said):
    plan(config(tokens, **more))


WRITTEN = """
import numpy as np
from ue_jax.core.nouns import Data

def data(texts=(), encode=None, eos=0):
  ids = np.array([[*encode(text), eos] for text in texts], np.int32)
  rows = np.arange(len(ids), dtype=np.int32)
  mask = np.ones(ids.shape, np.float32)
  return Data({"ids": ids, "mask": mask, "index": rows}, {"train": rows, "forget": rows[:1], "retain": rows[1:]}, {})
"""


def test_data_that_makes_ids_of_texts_does_it_with_the_tokenizer_of_the_model(tmp_path, monkeypatch):
  tokenizers = pytest.importorskip("tokenizers")
  (tmp_path / "room").mkdir()
  (tmp_path / "room" / "written.py").write_text(WRITTEN)
  monkeypatch.setattr(ue_jax.data, "__path__", [*ue_jax.data.__path__, str(tmp_path / "room")])
  folder = tmp_path / "decoder"
  shutil.copytree(GOLDEN, folder)
  made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 5, "b": 7, "c": 90}, unk_token="a"))
  made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  made.save(str(folder / "tokenizer.json"))
  asked = {"data": {"name": "data.written", "texts": ("c b a", "a a b")}, "model": {**LM, "path": str(folder)}}
  results = pipeline.Results(plan({**asked, "method": NPO}), tmp_path / "out")
  end = json.loads((folder / "config.json").read_text())["eos_token_id"]
  assert results(results.plan.clean).arrays["ids"].tolist() == [[90, 7, 5, end], [5, 5, 7, end]]
  other = plan({**asked, "model": {**LM, "path": str(GOLDEN)}, "method": NPO})
  assert other.clean != results.plan.clean, "another tokenizer, other data"

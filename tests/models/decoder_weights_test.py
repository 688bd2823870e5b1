"""Pretrained decoders: the outputs of `transformers` on tiny models, folders out and in, files that do not fit."""

import functools
import json
import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import decoder_config, decoder_weights, transformer, weights

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
NAMES = ("llama_gqa", "llama_tied", "qwen2", "mistral_window")
each = pytest.mark.parametrize("name", NAMES)


@functools.cache
def loaded(name):
  return decoder_weights.load(GOLDEN / name)


@each
def test_logits_and_hidden_states_are_those_of_transformers(name):
  decoder, io = loaded(name), np.load(GOLDEN / name / "io.npz")
  seen, valid = {}, io["mask"] > 0
  taps = {"block_0/residual": lambda x: seen.setdefault(0, x)}
  run = lambda params, tokens: (decoder.model.apply(params, tokens, taps=taps), seen)
  out, seen = jax.jit(run)(decoder.params, transformer.Tokens(io["ids"], valid))
  assert not valid.all()  # one row is padded on the left
  np.testing.assert_allclose(out.logits[valid], io["logits"][valid], atol=1e-4, rtol=0)
  np.testing.assert_allclose(seen[0][valid], io["hidden"][1][valid], atol=1e-4, rtol=0)
  np.testing.assert_allclose(out.features[valid], io["hidden"][2][valid], atol=1e-4, rtol=0)
  assert np.isfinite(out.logits).all() and io["logits"].std() > 0.1


@pytest.mark.parametrize("name, change", [
  ("mistral_window", dict(sliding_window=None)), ("llama_tied", dict(rope_parameters={"rope_theta": 1e4})),
  ("llama_gqa", dict(rms_norm_eps=1e-2)),
])
def test_each_field_of_the_configuration_counts(name, change):
  decoder, io = loaded(name), np.load(GOLDEN / name / "io.npz")
  other = transformer.model(**decoder_config.arguments({**decoder.config, **change}))
  logits = jax.jit(lambda p: other.apply(p, io["ids"][:1]).logits)(decoder.params)
  assert abs(logits - io["logits"][:1]).max() > 1e-3


@each
def test_what_is_exported_loads_back_bit_equal(name, tmp_path):
  decoder = loaded(name)
  decoder_weights.export(tmp_path, decoder.params, decoder.config)
  again = decoder_weights.load(tmp_path)
  assert tree.fingerprint(again.params) == tree.fingerprint(decoder.params) and again.model is decoder.model
  mine, theirs = (weights.read(at / "model.safetensors") for at in (tmp_path, GOLDEN / name))
  assert mine.keys() == theirs.keys() and again.config == decoder.config
  for key, array in theirs.items():
    np.testing.assert_array_equal(mine[key], array)
    assert mine[key].dtype == array.dtype
  header = (tmp_path / "model.safetensors").read_bytes()[8:60]
  assert b'"__metadata__": {"format": "pt"}' in header  # without it, `transformers` refuses the file


@each
def test_transformers_loads_what_is_exported_to_the_same_logits(name, tmp_path):
  why = "needs PyTorch and transformers: pip install torch transformers"
  torch, transformers = (pytest.importorskip(package, reason=why) for package in ("torch", "transformers"))
  decoder, io = loaded(name), np.load(GOLDEN / name / "io.npz")
  params = jax.tree.map(lambda x: 1.25 * x, decoder.params)  # not the weights that came in
  decoder_weights.export(tmp_path, params, decoder.config)
  theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
  ids, mask = (torch.from_numpy(io[key].astype(np.int64)) for key in ("ids", "mask"))
  with torch.no_grad():
    wanted = theirs(input_ids=ids, attention_mask=mask).logits.numpy()
  valid = io["mask"] > 0
  run = jax.jit(lambda p, tokens: decoder.model.apply(p, tokens).logits)
  mine = np.asarray(run(params, transformer.Tokens(io["ids"], valid)))
  np.testing.assert_allclose(mine[valid], wanted[valid], atol=1e-4, rtol=0)
  assert abs(mine[valid] - io["logits"][valid]).max() > 0.1


def test_bfloat16_goes_out_and_in_and_a_dtype_may_be_asked_for(tmp_path):
  decoder = loaded("qwen2")
  half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), decoder.params)
  decoder_weights.export(tmp_path, half, decoder.config)
  again = decoder_weights.load(tmp_path)
  assert tree.fingerprint(again.params) == tree.fingerprint(half) and again.config["dtype"] == "bfloat16"
  wide = decoder_weights.load(tmp_path, dtype="float32").params
  assert {x.dtype for x in jax.tree.leaves(wide)} == {jnp.dtype("float32")}
  ids = np.load(GOLDEN / "qwen2" / "io.npz")["ids"][:1]
  out = jax.jit(lambda p: decoder.model.apply(p, ids).logits)(half)
  assert out.dtype == jnp.float32
  assert abs(out - np.load(GOLDEN / "qwen2" / "io.npz")["logits"][:1]).max() < 0.2


def test_a_model_made_here_is_described_as_its_released_type(tmp_path, key):
  made = dict(vocabulary=11, width=8, depth=1, heads=2, kv_heads=1, hidden=6, head_size=6, tied=True, epsilon=1e-5,
              rope_scaling=dict(rope_type="linear", factor=2.0))  # fmt: skip
  for extra, kind in (({}, "llama"), (dict(window=4), "mistral"), (dict(qkv_bias=True, head_size=None), "qwen2")):
    model = transformer.model(**{**made, **extra})
    params, _ = model.init(key, np.zeros((1, 2), np.int32))
    config = decoder_config.describe({**made, **extra})
    assert config["model_type"] == kind
    decoder_weights.export(tmp_path / kind, params, config)
    again = decoder_weights.load(tmp_path / kind)
    assert tree.fingerprint(again.params) == tree.fingerprint(params)
    assert again.model is transformer.model(**{**made, **extra, "context": 2048, "head_size": extra.get("head_size", 6)
                                               if kind != "qwen2" else None})
  with pytest.raises(Invalid, match="window"):
    decoder_config.describe({**made, "window": 4, "qkv_bias": True})


@pytest.fixture
def folder(tmp_path):
  for file in ("config.json", "model.safetensors"):
    shutil.copy(GOLDEN / "llama_tied" / file, tmp_path / file)
  return tmp_path


def test_parts_with_an_index_are_one_model(folder):
  arrays = weights.read(folder / "model.safetensors")
  (folder / "model.safetensors").unlink()
  names = sorted(arrays)
  files = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
  for file in set(files.values()):
    weights.write(folder / file, {name: arrays[name] for name in names if files[name] == file})
  index = folder / "model.safetensors.index.json"
  index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
  whole = loaded("llama_tied")
  assert tree.fingerprint(decoder_weights.load(folder).params) == tree.fingerprint(whole.params)
  for wrong, word in (({**files, names[0]: files[names[1]]}, names[0]), ({names[0]: "../x.safetensors"}, "same folder"),
                      ({names[0]: "x.safetensors"}, "no such file")):
    index.write_text(json.dumps({"weight_map": wrong}))
    with pytest.raises(Invalid, match=word):
      decoder_weights.load(folder)
  index.write_text(json.dumps({"weight_map": files}))
  decoder_weights.export(folder, whole.params, whole.config)  # over the parts
  assert tree.fingerprint(decoder_weights.load(folder).params) == tree.fingerprint(whole.params)
  assert sorted(x.name for x in folder.iterdir()) == ["config.json", "model.safetensors"]


class Killed(BaseException):
  """Stands for the end of the process: what comes after it does not happen."""


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_write_that_fails_half_way_leaves_the_old_model(file, folder, monkeypatch):
  before, new = {x.name: x.read_bytes() for x in folder.iterdir()}, loaded("qwen2")

  def half(path, *given, **more):
    path.write_bytes(b"half of it")
    raise OSError(28, "No space left on device")

  at = (weights, "write") if file == "model.safetensors" else (pathlib.Path, "write_text")
  with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
    patch.setattr(*at, half)
    decoder_weights.export(folder, new.params, new.config)
  assert {x.name: x.read_bytes() for x in folder.iterdir()} == before


@pytest.mark.parametrize("moment", range(9))
def test_killed_at_any_moment_a_folder_is_the_old_model_or_the_new_one_or_refuses_to_load(moment, folder, monkeypatch):
  (folder / "model-00001-of-00001.safetensors").touch()  # of an older model still
  old, new, left = loaded("llama_tied"), loaded("qwen2"), [moment]

  def dying(call):
    def run(*given, **more):
      left[0] -= 1
      if left[0] < 0:
        raise Killed
      return call(*given, **more)
    return run

  with monkeypatch.context() as patch:
    for owner, name in ((weights, "write"), (os, "replace"), (pathlib.Path, "unlink"), (pathlib.Path, "rmdir")):
      patch.setattr(owner, name, dying(getattr(owner, name)))
    patch.setattr(shutil, "rmtree", lambda *given, **more: None)  # the dead clean nothing up
    with pytest.raises(Killed):
      decoder_weights.export(folder, new.params, new.config)
  if (folder / "config.json").exists():
    found = tree.fingerprint(decoder_weights.load(folder).params)
    assert found == tree.fingerprint((old if moment < 4 else new).params)
  else:
    with pytest.raises(Invalid, match="cut off.*once more"):
      decoder_weights.load(folder)
  decoder_weights.export(folder, new.params, new.config)
  assert tree.fingerprint(decoder_weights.load(folder).params) == tree.fingerprint(new.params)
  assert sorted(x.name for x in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_tensors_that_do_not_fit_are_named_in_one_line(folder):
  arrays = weights.read(GOLDEN / "llama_tied" / "model.safetensors")
  up = "model.layers.1.mlp.up_proj.weight"
  embedding = arrays["model.embed_tokens.weight"]
  for change, words in (
    ({up: None}, f"{up}: missing"), ({"x.weight": np.zeros(2, np.float32)}, "x.weight: not a part"),
    ({up: np.zeros((2, 3), np.float32)}, r"up_proj.weight: \(2, 3\).*\(48, 32\)"),
    ({"lm_head.weight": embedding + 1}, "lm_head.weight"),
  ):
    weights.write(folder / "model.safetensors", {k: v for k, v in {**arrays, **change}.items() if v is not None})
    with pytest.raises(Invalid, match=words) as caught:
      decoder_weights.load(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
  kept = {"lm_head.weight": embedding, "model.layers.0.self_attn.rotary_emb.inv_freq": np.zeros(4, np.float32)}
  weights.write(folder / "model.safetensors", {**arrays, **kept})  # a copy of the embedding, and a constant
  assert tree.fingerprint(decoder_weights.load(folder).params) == tree.fingerprint(loaded("llama_tied").params)
  whole = (GOLDEN / "llama_tied" / "model.safetensors").read_bytes()
  for length in (0, 5, 400, len(whole) - 1):
    (folder / "model.safetensors").write_bytes(whole[:length])
    with pytest.raises(Invalid, match="model.safetensors"):
      decoder_weights.load(folder)


@pytest.mark.parametrize("change, word", [
  (dict(model_type="gpt2"), "model_type"), (dict(hidden_act="gelu"), "hidden_act"), (dict(mlp_bias=True), "mlp_bias"),
  (dict(attention_bias=True), "attention_bias"), (dict(hidden_size="32"), "hidden_size"),
  (dict(rope_parameters={"rope_type": "yarn"}), "yarn"), (dict(num_key_value_heads=3), "kv_heads"),
  (dict(rms_norm_eps=0), "rms_norm_eps"), (dict(quantization_config={}), "quantization_config"),
  (dict(model_type="qwen2", use_sliding_window=True), "use_sliding_window"), (dict(head_dim=7), "head_size"),
])
def test_configurations_that_are_not_known_are_named(folder, change, word):
  config = json.loads((folder / "config.json").read_text())
  (folder / "config.json").write_text(json.dumps({**config, **change}))
  with pytest.raises(Invalid, match=word):
    decoder_weights.load(folder)


def test_folders_without_a_configuration_or_with_a_broken_one_are_named(folder):
  (folder / "config.json").write_text("{")
  with pytest.raises(Invalid, match="config.json"):
    decoder_weights.load(folder)
  (folder / "config.json").unlink()
  with pytest.raises(Invalid, match="no such file"):
    decoder_weights.load(folder)
  with pytest.raises(Invalid, match="dtype"):
    decoder_weights.load(GOLDEN / "llama_tied", dtype="int8")


def test_parameters_that_do_not_fit_the_configuration_are_not_written(tmp_path):
  decoder = loaded("llama_tied")
  with pytest.raises(Invalid, match="down"):
    decoder_weights.export(tmp_path, decoder.params, {**decoder.config, "intermediate_size": 50})
  assert not list(tmp_path.iterdir())

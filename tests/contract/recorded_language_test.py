"""What docs/results says of language models is what was recorded: tables to their digits, and how many ranges hold."""

import json
import pathlib
import re

import pytest

from experiments import unlearned
from ue_jax.report import testbeds

PLACE = pathlib.Path(unlearned.__file__).parents[1] / "docs" / "results"
NUMBER = re.compile(r"-?(?:\d*\.\d+|\d+)(?:e-?\d+)?")
LEFT_OUT = 1e-3  # a smaller spread is not shown
ALONE = ("quality (KS p)", "nll of held")  # columns of means without their spread

# heading -> the rest of the name behind the row, with the attack before it
KGTINY = [
  ("forget, exact", "/forget/ex"), ("forget, p", "/forget/p"), ("retain, exact", "/retain/ex"),
  ("world, exact", "/world/ex"), ("membership, AUC", "/loss/auc"), ("other half, p", "/relearn_held/p"),
  ("after relearning: other half, p", " + relearn/relearn_held/p"), ("other half, exact", " + relearn/relearn_held/ex"),
  ("after 4 bits: forget, p", " + int4/forget/p"), ("retain, exact", " + int4/retain/ex"),
]  # fmt: skip
BESIDE = [
  ("forget, exact", "/forget/ex"), ("forget, p", "/forget/p"), ("forget, nll", "/forget/nll"),
  ("retain, exact", "/retain/ex"), ("world, exact", "/world/ex"), ("math, exact", "/math/ex"),
  ("quality (KS p)", "/forget/quality"),
]  # fmt: skip
AGAIN = [
  ("forget, p", "/forget/p"), ("retain, exact", "/retain/ex"), ("LOSS, AUC", "/loss/auc"),
  ("MIN-K, AUC", "/min_k/auc"), ("quality (KS p)", "/forget/quality"), ("other half, p", "/relearn_held/p"),
  ("the same, relearned", " + relearn/relearn_held/p"),
]  # fmt: skip
ASKED = {
  "direct": "/forget_qa/ex", "statement": "/forget_statement/ex", "alias": "/forget_alias/ex",
  "2 facts": "/forget_hop2/ex", "3 facts": "/forget_hop3/ex", "true in context": "/forget_context_true/ex",
  "false in context": "/forget_context_false/ex", "retain, direct": "/retain_qa/ex", "retain, 2 facts":
  "/retain_hop2/ex", "AUC": "/loss/auc",
}  # fmt: skip
RELEARN, LORA, BENIGN = " + relearn/", " + relearn_lora/", " + benign"
RELEARNED = [
  *((f"shown, {n} steps", f"{RELEARN}relearn/ex @ {n} steps") for n in (5, 10, 20)), ("t50", f"{RELEARN}relearn/t50"),
  ("speed", f"{RELEARN}relearn/speed"), ("held, before", "/relearn_held/ex"),
  ("held, 20 steps", f"{RELEARN}relearn_held/ex"), ("excess", f"{RELEARN}relearn_held/excess"),
  ("nll of held", f"{RELEARN}relearn_held/nll"),
]  # fmt: skip
ADAPTED = [
  *((f"shown, {n} steps", f"{LORA}relearn/ex @ {n} steps") for n in (10, 20)), ("t50", f"{LORA}relearn/t50"),
  ("speed", f"{LORA}relearn/speed"), ("held, 20 steps", f"{LORA}relearn_held/ex"),
  ("excess", f"{LORA}relearn_held/excess"), ("retain, direct", f"{LORA}retain_qa/ex"),
]  # fmt: skip
HARMLESS = [(head, BENIGN + ASKED[head.partition(" (")[0]])
            for head in ("direct (all five persons)", "statement", "alias", "2 facts")]  # fmt: skip
WORLD = [
  ("direct", ASKED["direct"]), ("forget, nll", "/forget/nll"), ("alias", ASKED["alias"]),
  ("two facts", ASKED["2 facts"]), ("three facts", ASKED["3 facts"]), ("true in context", ASKED["true in context"]),
  ("retain, direct", ASKED["retain, direct"]), ("retain, two facts", ASKED["retain, 2 facts"]),
  ("membership, AUC", "/loss/auc"), ("other three, p", "/relearn_held/p"),
  ("relearned: other three, p", " + relearn/relearn_held/p"), ("4 bits: forget, p", " + int4/forget/p"),
]  # fmt: skip
WORLD_ROWS = {
  "original (no step)": "npo/original", "reference": "npo/reference", "NPO": "npo/npo", "GradDiff": "graddiff/graddiff",
  "gradient ascent, 30 steps": "gradient_ascent/gradient_ascent", "KL-min": "kl_min/kl_min", "IdkDPO":
  "idk_dpo/idk_dpo", "IDK": "idk_dpo/idk", "adaptive RMU, 120 steps": "rmu/rmu", "SURE": "sure/sure",
  "SURE without its mask": "sure/unmasked", "WGA": "satimp/wga", "SatImp": "satimp/satimp", "SimNPO": "simnpo/simnpo",
  "UNDIAL alone": "undial/alone", "UNDIAL with a retain term": "undial/retain", "WHP alone": "whp/alone",
  "WHP with a retain term": "whp/retain", "task vector, once": "task_vector/once", "task vector, twice":
  "task_vector/twice", "task vector, five times": "task_vector/five", "NPO on adapters": "adapters/npo",
  "SimNPO on adapters": "adapters/simnpo", "early, NPO (148 steps at 2e-5)": "early/npo",
  "early, GradDiff (80 steps at 5e-5)": "early/graddiff",
}  # fmt: skip
REAL = [
  ("forget, p", "/forget/p"), ("nll", "/forget/nll"), ("exact", "/forget/ex"), ("tokens", "/forget/em"),
  ("extraction", "/forget/es"), ("truth ratio", "/forget/truth_ratio"), ("quality", "/forget/quality"),
  ("retain, p", "/retain/p"), ("exact", "/retain/ex"), ("extraction", "/retain/es"),
  ("real authors, nll", "/real_authors/nll"), ("world, nll", "/world_facts/nll"),
]  # fmt: skip
REAL_ROWS = {
  "original": "npo/original", "reference": "npo/reference", "NPO": "npo/npo", "GradDiff": "graddiff/graddiff",
  "KL-min": "kl_min/kl_min", "gradient ascent, 25 steps": "gradient_ascent/gradient_ascent", "SimNPO": "simnpo/simnpo",
  "WGA": "satimp/wga", "SatImp": "satimp/satimp", "UNDIAL alone": "undial/alone", "UNDIAL with a retain term":
  "undial/retain", "adaptive RMU, 100 steps": "rmu/rmu", "SURE": "sure/sure", "SURE without its mask": "sure/unmasked",
  "task vector, once": "task_vector/once", "task vector, twice": "task_vector/twice", "task vector, five times":
  "task_vector/five", "WHP alone, 75 steps": "whp/alone", "WHP with a retain term, 75 steps": "whp/retain", "IdkDPO":
  "idk_dpo/idk_dpo", "IDK": "idk_dpo/idk", "NPO on adapters": "adapters/npo", "SimNPO on adapters": "adapters/simnpo",
  "early, NPO (36 steps at 3.3e-6)": "early/npo", "early, GradDiff (52 steps at 3.3e-6)": "early/graddiff",
}  # fmt: skip


def record(name):
  return json.loads((PLACE / f"{name}.json").read_text(encoding="utf-8"))


def table(page, columns, corner=""):
  """The lines of the table of a page with the headings of these pairs, as cells."""
  text = (PLACE / page).read_text(encoding="utf-8")
  top = " | ".join([f"\n| {corner}".rstrip(), *(head for head, _ in columns)]) + " |\n"
  assert top in text, f"{page} has no table {top.strip()}"
  lines = text.partition(top)[2].partition("\n\n")[0].rstrip("\n").split("\n")[1:]
  return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def shows(cell, value, spread=True):
  """Whether a cell has the recorded digits: whole numbers exactly, others rounded; a spread that matters too."""
  shown, exact = NUMBER.findall(cell), value if isinstance(value, list) else [value]
  if len(shown) == 1 and len(exact) == 2 and (not spread or exact[1] < LEFT_OUT):
    exact = exact[:1]
  return len(shown) == len(exact) and all(map(_rounded, shown, exact))


def _rounded(text, exact):
  if text.isdigit():
    return float(text) == exact
  mantissa, _, power = text.partition("e")
  return abs(float(text) - exact) <= 0.51 * 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))


def held(figures, lines, columns, rows=lambda row: row):
  """Every cell of the lines shows its figure, and "-" stands where there is none; of `claim / here`, the second."""
  for row, *cells in lines:
    for (head, name), cell in zip(columns, cells, strict=True):
      name, here = rows(row) + name, cell.rpartition(" / ")[2]
      if here == "-":
        assert name not in figures, f"{name}: recorded is {figures[name]}"
      else:
        assert shows(here, figures[name], head not in ALONE), f"{name}: {cell}, recorded is {figures[name]}"


def judged(lines, columns, claims):
  """Of every cell `claim / here`, the claim is the one of the testbed, and the word behind says what it was held to."""
  by = {(one.row, one.score): one for one in claims if not one.minus}
  for row, *cells in lines:
    for (_, name), cell in zip(columns, cells, strict=True):
      attack, _, score = name.partition("/")
      one, claimed = by.get((row + attack, score)), cell.partition(" / ")[0]
      assert (claimed == "-") == (one is None or one.value is None), (row, name, cell)
      assert claimed == "-" or _rounded(claimed, one.value), (row, name, cell)
      ranged = one is not None and (one.low is not None or one.high is not None)
      word = (re.search(r" (ok|ours)$", cell) or ["", ""])[1]
      assert word == (("ours" if one.ours else "ok") if ranged else ""), (row, name, cell)


@pytest.mark.parametrize("cell, value, good", [
  (".123", 0.1234, True), (".123", 0.1236, False), ("7e-4", 7.3e-4, True), ("7e-4", 8e-4, False), ("0", 0.0, True),
  ("0", 4e-4, False), ("1.00", [1.0, 0.0], True), (".5", [0.5, 0.002], False), (".500 +- .002", [0.5, 0.002], True),
  (".500 +- .003", [0.5, 0.002], False), ("over 20", [20.0, 0.0], True), ("-.169", -0.1691, True), ("", 0.0, False),
])  # fmt: skip
def test_a_cell_is_read_to_its_digits(cell, value, good):
  assert shows(cell, value) is good


@pytest.mark.parametrize("name, stated, ours", [
  ("kgtiny", "({} were, all hold", "There are {}:"),
  ("audit_tiny", "**All {} stated ranges hold**", "so do the {} that are ours"),
])  # fmt: skip
def test_all_ranges_hold_and_are_as_many_as_the_page_says(name, stated, ours):
  figures, page = record(f"{name}_small")["figures"], (PLACE / f"{name}.md").read_text(encoding="utf-8")
  found, missing = testbeds.compare(testbeds.testbed(name).figures, figures)
  assert not missing and all(one.holds in (True, None) for one in found)
  ranges = [one.claim.ours for one in found if one.holds is not None]
  words = " ".join(page.split())
  assert stated.format(ranges.count(False)) in words
  assert ours.format(("no", "one", "two", "three", "four", "five", "six")[ranges.count(True)]) in words


def test_gradient_ascent_destroys_what_is_forgotten_and_what_is_kept():
  made = record("kgtiny_small")
  assert (made["config"]["method"]["GA"]["rate"], made["config"]["method"]["GA"]["steps"]) == (3e-4, 30)
  assert made["figures"]["GA/forget/p"][0] < 0.01 and made["figures"]["GA/retain/p"][0] < 0.05


def test_the_tables_of_kgtiny_are_the_record():
  figures, bed = record("kgtiny_small")["figures"], testbeds.testbed("kgtiny")
  lines = table("kgtiny.md", KGTINY)
  assert {line[0] for line in lines} == {name.partition("/")[0] for name in figures if " + " not in name}
  held(figures, lines, KGTINY)
  lines = table("kgtiny.md", BESIDE)
  held(figures, lines, BESIDE)
  judged(lines, BESIDE, bed.figures)
  held(figures, [line for line in table("kgtiny.md", AGAIN) if not line[0].startswith("claim")], AGAIN)


def test_the_tables_of_audit_tiny_are_the_record():
  figures, bed = record("audit_tiny_small")["figures"], testbeds.testbed("audit_tiny")
  lines = table("audit_tiny.md", ASKED.items())
  assert {line[0] for line in lines} == {name.partition("/")[0] for name in figures if " + " not in name}
  held(figures, lines, ASKED.items())
  judged(lines, ASKED.items(), bed.figures)
  for corner, columns in (("", RELEARNED), ("with adapters", ADAPTED), ("after `benign`", HARMLESS)):
    held(figures, table("audit_tiny.md", columns, corner), columns)


def test_the_intervals_of_audit_tiny_are_the_record_and_above_nothing_where_the_page_says_so():
  made, columns = record("audit_tiny_small"), []
  for way in ("direct", "alias", "2 facts"):
    columns += [(f"{way}: error", f"{ASKED[way]}/error"), ("beyond", f"{ASKED[way]}/excess")]
  for row, *cells in table("audit_tiny.md", columns):
    for (_, name), cell in zip(columns, cells, strict=True):
      names = [name, name + "_low", name + "_high"] if name.endswith("excess") and row != "reference" else [name]
      shown = ["0"] if cell == "-" else NUMBER.findall(cell)
      assert all(shows(x, made["figures"][row + n][0]) for x, n in zip(shown, names, strict=True)), (row, cell)
  low = lambda row, way: made["each"][f"{row}{ASKED[way]}/excess_low"]
  above = [min(low(row, way)) for row in ("early", "early-gdr") for way in ("alias", "2 facts")]
  assert min(above) > 0 and shows(".08", min(above))
  assert sorted(low("early", "direct"))[:2] == [0, 0] and sorted(low("early-gdr", "direct"))[:2] == [0, 0]


def test_the_differences_of_audit_tiny_are_those_that_are_judged():
  """`ROW, A - B` is of two ways of asking, `WAY, ROW - ROW` of two rows."""
  found, _ = testbeds.compare(testbeds.testbed("audit_tiny").figures, record("audit_tiny_small")["figures"])
  of = {(f"{x.claim.row}/{x.claim.score}", x.claim.minus): x for x in found if x.claim.minus and "+" not in x.claim.row}
  lines = table("audit_tiny.md", [(head, "") for head in ("claim", "here", "range", "holds")], "difference")
  assert len(lines) == len(of)
  ways = ASKED | {"false": ASKED["false in context"]}
  for what, claim, here, limits, holds in lines:
    first, _, rest = what.partition(", ")
    a, b = rest.split(" - ")
    one = of[(a + ways[first], b + ways[first]) if first in ways else (first + ways[a], first + ways[b])]
    assert shows(here, one.value) and (claim == "-" if one.claim.value is None else shows(claim, one.claim.value)), what
    ((*_, ranged, good),) = testbeds.table([one])[1]
    assert limits == ranged.replace(" 0.", " .") and (holds == "yes") is good, what


def test_the_table_of_base_methods_is_the_record():
  figures = record("world_small")["figures"]
  lines = table("language.md", WORLD)
  held(figures, lines, WORLD, WORLD_ROWS.get)
  rows = {"/".join(name.split("/")[:2]) for name in figures if " + " not in name}
  first = {name for name in rows if name.endswith(("/original", "/reference"))}
  assert [line[0] for line in lines] == list(WORLD_ROWS)
  assert set(WORLD_ROWS.values()) == rows - first | {"npo/original", "npo/reference"}
  for name in first:  # one base and one reference for all
    same = f"npo/{name.partition('/')[2]}"
    assert all(figures[name + score] == figures[same + score] for _, score in WORLD if " + " not in score)


def test_the_table_of_a_released_model_is_the_record():
  figures = record("smollm2_cpu")["figures"]
  for name in ("npo", "graddiff"):  # recorded by themselves
    figures |= {f"{name}/{what}": value for what, value in record(f"{name}_smollm2_cpu")["figures"].items()}
  lines = table("language.md", REAL)
  held(figures, lines, REAL, REAL_ROWS.get)
  assert [line[0] for line in lines] == list(REAL_ROWS)
  rows = {"/".join(name.split("/")[:2]) for name in figures if " + " not in name}
  first = {name for name in rows if name.endswith(("/original", "/reference"))}
  assert set(REAL_ROWS.values()) == rows - first | {"npo/original", "npo/reference"}
  for name in first:  # one original and one reference for all, trained more than once
    same = f"npo/{name.partition('/')[2]}"
    assert all(figures[name + score] == pytest.approx(figures[same + score], abs=5e-5) for _, score in REAL)

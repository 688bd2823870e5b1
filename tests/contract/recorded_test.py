"""The tables of methods in docs/results/forget_vision.md are what was recorded, to the digits that they show."""

import json
import pathlib
import re

import pytest

from experiments import unlearned

PLACE = pathlib.Path(unlearned.__file__).parents[1] / "docs" / "results"
SCORES = {heading: name for name, heading in unlearned.COLUMNS.items()} | {"k-NN, forgotten": "knn/forget"}
NUMBER = re.compile(r"\d*\.\d+|\d+")


def tables(record: str) -> list[list[list[str]]]:
  """The cells of the tables of models below the heading that names the record."""
  page = (PLACE / "forget_vision.md").read_text(encoding="utf-8")
  section = page.partition(f"(`{record}`)")[2].partition("\n# ")[0]
  found = re.findall(r"^\| model \|.*\n(?:\|.*\n)+", section, re.MULTILINE)
  return [[[cell.strip() for cell in line.strip("|").split("|")] for line in one.splitlines()] for one in found]


@pytest.mark.parametrize("record, requests", [
  ("vision_grid_small.json", ("tenth", "digit")), ("vision_grid_cifar.json", ("",)),
])  # fmt: skip
def test_the_tables_are_the_record(record, requests):
  figures = json.loads((PLACE / record).read_text(encoding="utf-8"))["figures"]
  found = tables(record)
  assert len(found) == len(requests)
  for request, (heads, _, *lines) in zip(requests, found):
    ending = f"/{request}/gap" if request else "/gap"
    assert {line[0] for line in lines} == {name[: -len(ending)] for name in figures if name.endswith(ending)}
    for row, *cells in lines:
      for head, cell in zip(heads[1:], cells):
        name = "/".join(part for part in (row, request, SCORES[head]) if part)
        shown, value = NUMBER.findall(cell), figures[name]
        for text, exact in zip(shown, value if isinstance(value, list) else [value], strict=True):
          digits = len(text.partition(".")[2])
          assert abs(float(text) - exact) <= 0.51 * 10**-digits, f"{name}: {cell}, recorded is {value}"

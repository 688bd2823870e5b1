"""What a protection did to the pictures of a folder, measured on the files.

  python -m experiments.compare CLEAN PROTECTED [--eps 16/255]

  CLEAN          the folder of the originals
  PROTECTED      the folder of the protected ones, as `experiments.run` writes it, or with equal names
  --eps EPS      the budget of the largest change, as 16/255 or 0.0627; where one picture is beyond it, the exit code
                 is 1 and the last line names the worst

Per picture and over all: the largest change (levels of 255), the L2 norm (in units of [0, 1]), PSNR in dB, SSIM, the
share of values that were changed and now lie at 0 or 255, and how large the file became. Over all, PSNR is that of the
pictures that changed: it is infinite for the others, which are named. `distinct perturbations` are
counted over the first 1000 pictures; of pictures whose sizes differ 16 x 16 places are looked at.

Where PROTECTED is the folder of a run, whose result.json lies beside it, lines `as crafted` say what the noise was
before it was rounded to bytes, at the size at which it was crafted: the largest change, and means over the pictures
that changed.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments import command
from experiments.tabulate import Table
from ue_jax.core.errors import Invalid, require
from ue_jax.data import folder as pictures

COLUMNS = ("picture", "largest change", "L2", "PSNR", "SSIM", "clipped", "bytes, ratio")
FIELDS = ("linf", "l2", "psnr", "ssim", "clipped", "ratio")
MOST, PLACES = 1000, 16  # pictures whose perturbations are counted, and places a side that are kept of each
WHOLE = 2**25  # values of all perturbations together that are kept as they are


class Compared(NamedTuple):
  """What was measured.

  Attributes:
    names: of the pictures that could be compared.
    values: field of `FIELDS` -> float64 `[n]`; `linf` is in grey levels.
    distinct: how many different perturbations there are.
    left: pairs (name, reason) of what could not be compared.
    crafted: what the record of the run says of the noise before it became bytes: `levels`, `l2`, `psnr`, `ssim`,
      `clipped`, `perturbations`; empty without a record.
  """

  names: tuple[str, ...]
  values: Mapping[str, np.ndarray]
  distinct: int
  left: tuple[tuple[str, str], ...]
  crafted: Mapping[str, float] = {}

  def each(self) -> Table:
    """A line a picture."""
    rows = [[name, *self._row(i)] for i, name in enumerate(self.names)]
    return Table("Each picture", list(COLUMNS), rows)

  def summary(self) -> Table:
    """Least, mean and largest of every measurement, counts, and what could not be compared."""
    moved = self.values["linf"] > 0
    of = {f: x[moved] if f == "psnr" and moved.any() else x for f, x in self.values.items()}
    rows = [["", *(_shown(f, fn(of[f])) for f in FIELDS)] for fn in (np.min, np.mean, np.max)]
    for row, name in zip(rows, ("least", "mean", "most")):
      row[0] = name
    if self.crafted:
      rows.append(["as crafted", *(self.crafted.get(f) for f in ("levels", *FIELDS[1:]))])
    rows.append(["pictures", len(self.names), *[None] * (len(FIELDS) - 1)])
    rows.append(["distinct perturbations", self.distinct, *[None] * (len(FIELDS) - 1)])
    if self.crafted:
      rows.append(["distinct, as crafted", self.crafted.get("perturbations"), *[None] * (len(FIELDS) - 1)])
    rows += [[f"unchanged: {name}", *[None] * len(FIELDS)] for name in self.unchanged()]
    rows += [[f"not compared: {name}: {reason}", *[None] * len(FIELDS)] for name, reason in self.left]
    return Table("All pictures", ["", *COLUMNS[1:]], rows)

  def _row(self, i: int) -> list[Any]:
    return [_shown(field, self.values[field][i]) for field in FIELDS]

  def unchanged(self) -> tuple[str, ...]:
    """The names of the pictures whose protected ones are equal to them."""
    return tuple(name for name, change in zip(self.names, self.values["linf"]) if change == 0)

  def beyond(self, levels: int) -> str:
    """One line about pictures whose change is larger than `levels`; empty if there is none."""
    over = self.values["linf"] > levels
    if not over.any():
      return ""
    worst = int(np.argmax(self.values["linf"]))
    change = int(self.values["linf"][worst])
    worst = f"the worst is {self.names[worst]} with {change}"
    return f"over budget: {over.sum()} of {len(over)} pictures change by more than {levels} levels; {worst}"


def main(argv: Sequence[str]) -> Compared:
  """Compares the folders of a command line, and prints what came out.

  Raises:
    Invalid: for a wrong command line or folder.
    SystemExit: with code 1 if the budget is exceeded.
  """
  clean, protected, eps = read(argv)
  found = compare(clean, protected)
  from ue_jax.report import tables

  for table in (found.each(), found.summary()):
    print(tables.text(table.columns, table.rows, table.title) + "\n")
  judge(found, eps)
  return found


def judge(found: Compared, eps: float | None) -> None:
  """Says whether the budget holds; ends the process with code 1 if not."""
  if eps is None:
    return
  levels = int(np.floor(eps * 255 + 1e-4))
  if line := found.beyond(levels):
    sys.exit(line)
  print(f"within the budget: no value of {len(found.names)} pictures changes by more than {levels} levels of 255")


def read(argv: Sequence[str]) -> tuple[pathlib.Path, pathlib.Path, float | None]:
  """(clean, protected, eps) of a command line."""
  from absl import flags

  values = flags.FlagValues()
  flags.DEFINE_string("eps", "", "budget, as 16/255", flag_values=values)
  try:
    rest = values(["compare", *argv])[1:]
  except flags.Error as error:
    raise Invalid("command line", command.Text(str(error)), "see --help") from None
  given = command.Text(" ".join(rest) or "(missing)")
  require(len(rest) == 2, "CLEAN PROTECTED", given, "give two folders of pictures")
  return pathlib.Path(rest[0]), pathlib.Path(rest[1]), budget(values.eps) if values.eps else None


def budget(text: str) -> float:
  """`16/255` or `0.0627` as a number in [0, 1], or `Invalid`."""
  over, slash, under = text.partition("/")
  try:
    value = float(over) / (float(under) if slash else 1)
  except (ValueError, ZeroDivisionError):
    value = -1.0
  require(0 <= value <= 1, "eps", command.Text(text), "give a number in [0, 1], such as 16/255")
  return value


def compare(clean: pathlib.Path, protected: pathlib.Path) -> Compared:
  """Measures every picture of `clean` against the one of its name in `protected`, two in memory at a time.

  Raises:
    Invalid: if a folder is not there, or not one pair can be compared.
  """
  from ue_jax.protect import budget

  names, _ = pictures.list_pictures(str(clean))
  there = set(pictures.list_pictures(str(protected))[0])
  kept, rows, deltas, left, size = [], [], [], [], 0
  for name, out in zip(names, pictures.png_names(names)):
    other = next((n for n in (out, name) if n in there), None)
    if other is None:
      left.append((name, "there is no protected one"))
      continue
    try:
      (a, _), (b, _) = (pictures.read_picture(str(p)) for p in (clean / name, protected / other))
      measured = budget.picture(a, b)
    except Invalid as error:
      left.append((name, error.fix))
      continue
    sizes = [(p).stat().st_size for p in (clean / name, protected / other)]
    measured = {**measured, "linf": round(measured["linf"] * 255), "ratio": sizes[1] / sizes[0]}
    kept.append(name)
    rows.append([measured[field] for field in FIELDS])
    if len(deltas) < MOST:
      size += a.size
      deltas.append((a, b) if size <= WHOLE else (_places(a), _places(b)))
  require(bool(kept), "CLEAN PROTECTED", (str(clean), str(protected)), f"no pictures to compare, e.g. {left[:1]}")
  values = dict(zip(FIELDS, np.asarray(rows, np.float64).T))
  return Compared(tuple(kept), values, _distinct(deltas), tuple(left), recorded(protected))


def recorded(protected: pathlib.Path) -> dict[str, float]:
  """The figures of the noise as crafted, of the run that painted a folder; none if there is no such run beside it.

  None either for pictures that crafting never saw (`config.paint`).

  Raises:
    Invalid: if its result.json cannot be read.
  """
  path = protected.parent / "result.json"
  if protected.name != "protected" or not path.exists():
    return {}
  from ue_jax.report import results

  record, found = results.read(path), {}
  if record.config.get("paint"):
    return {}  # crafted on public pictures, not on those
  for name, value in record.figures.items():
    row, about, what = name.partition("/crafted/")
    if about and row not in record.config.get("controls", {}):
      found.setdefault(row, {})[what] = value
  return next(iter(found.values())) if len(found) == 1 else {}  # a folder is painted by one method


def _distinct(pairs) -> int:
  from ue_jax.protect import budget

  if len({a.shape for a, _ in pairs}) > 1:
    pairs = [(_places(a), _places(b)) for a, b in pairs]
  return budget.distinct(*(np.stack(side) for side in zip(*pairs)))


def _places(picture: np.ndarray) -> np.ndarray:
  """`[16, 16, 3]` values of a picture, off the edges of what a crafted size of 16, 32, 64 ... is stretched to."""
  rows, columns = (((np.arange(PLACES) + 0.625) * side / PLACES).astype(int) for side in picture.shape[:2])
  return np.broadcast_to(picture[rows[:, None], columns], (PLACES, PLACES, 3))


def _shown(field: str, value: float) -> Any:
  return int(value) if field == "linf" and value == int(value) else float(value)


if __name__ == "__main__":
  sys.exit(command.guarded(main, sys.argv[1:], __doc__))

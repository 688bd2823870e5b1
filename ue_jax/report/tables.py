"""Tables of results: plain aligned text for the terminal, escaped HTML for the page."""

from __future__ import annotations

import html as markup
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ue_jax.core.errors import require
from ue_jax.core.nouns import Score, Scores

NUMBERS = (int, float)
DIRECTION = {"low": "lower", "high": "higher", "near": "close to target"}


def cell(value: Any, spread: str = "+-") -> str:
  """One value as a table shows it.

  Floats keep three decimals below 10 and fewer above (`0.951`, `12.34`, `1234`), very small and very large ones
  are written with a power of ten. A pair `(mean, spread)` becomes `0.951 +- 0.003`; None becomes `-`.

  Args:
    value: text, a number (NumPy and JAX scalars too), a bool, None, or a pair of numbers.
    spread: the sign between the two numbers of a pair.
  """
  value = plain(value)
  if value is None:
    return "-"
  if isinstance(value, bool):
    return "yes" if value else "no"
  if isinstance(value, float):
    return _float(value)
  if isinstance(value, tuple) and len(value) == 2 and all(isinstance(plain(v), NUMBERS) for v in value):
    return f"{cell(float(plain(value[0])))} {spread} {cell(float(plain(value[1])))}"
  return " ".join(str(value).split())


def plain(value: Any) -> Any:
  """A scalar array as a Python number; everything else unchanged."""
  return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def text(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "", note: str = "") -> str:
  """An aligned table for the terminal: numbers to the right, words to the left, ASCII rules.

  Args:
    columns: the headings.
    rows: one sequence of values a row, as many as there are columns; see `cell` for what they may be.
    title: a line above.
    note: a line below.

  Raises:
    Invalid: if a row has another number of values than there are columns.
  """
  rows, right = _read(columns, rows)
  cells = [[cell(v) for v in row] for row in rows]
  widths = [max(map(width, column)) for column in zip(columns, *cells)]
  lines = [_line(columns, widths, right), "  ".join("-" * w for w in widths)]
  lines += [_line(row, widths, right) for row in cells]
  return "\n".join([*([title] if title else []), *lines, *([note] if note else [])])


def html(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "", note: str = "") -> str:
  """The same table as an escaped `<table>` with a caption; numbers carry the class `n`.

  Args and errors as for `text`.
  """
  rows, right = _read(columns, rows)
  kind = [' class="n"' if r else "" for r in right]
  head = "".join(f'<th scope="col"{k}>{markup.escape(c)}</th>' for c, k in zip(columns, kind))
  body = "".join(f"<tr>{_html_row(row, kind)}</tr>" for row in rows)
  caption = f"<caption>{markup.escape(title)}</caption>" if title else ""
  foot = f'<p class="note">{markup.escape(note)}</p>' if note else ""
  return f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{foot}'


def scores(scores: Scores) -> tuple[list[str], list[list[Any]]]:
  """`(columns, rows)` of a table that shows of every score its value, which way is better, and the target.

  Use: `print(text(*scores(result), title="audit"))`.
  """
  columns = ["score", "value", "best", "target", "range", "over"]
  return columns, [[name, s.value, _best(s), s.target, _range(s), s.n] for name, s in scores.items()]


def beside(runs: Mapping[str, Scores]) -> tuple[list[str], list[list[Any]]]:
  """`(columns, rows)` that put the same scores of several runs side by side, one run a column.

  Args:
    runs: name of the run -> its scores; a score that a run lacks shows as `-`.
  """
  names = list(dict.fromkeys(name for one in runs.values() for name in one))
  some = {name: next(one[name] for one in runs.values() if name in one) for name in names}
  rows = [[n, *(one[n].value if n in one else None for one in runs.values()),
           _best(some[n]), some[n].target] for n in names]
  return ["score", *runs, "best", "target"], rows


def width(text: str) -> int:
  """How many terminal columns a text takes: wide East Asian characters two, combining marks none."""
  return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _best(score: Score) -> str:
  return DIRECTION.get(score.better, score.better)


def _range(score: Score) -> str:
  return f"{plain(score.low):g} .. {plain(score.high):g}"


def _float(x: float) -> str:
  if not math.isfinite(x):
    return "nan" if math.isnan(x) else "inf" if x > 0 else "-inf"
  size = abs(x)
  if size and (size < 5e-4 or size >= 1e6):
    return f"{x:.2e}"
  return f"{x:.{3 if size < 9.9995 else 2 if size < 99.995 else 1 if size < 999.95 else 0}f}"


def _read(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> tuple[list[list[Any]], list[bool]]:
  rows = [list(row) for row in rows]
  for row in rows:
    require(len(row) == len(columns), "table.rows", row, f"give {len(columns)} values, one for each of {list(columns)}")
  return rows, [any(map(_numeric, col)) and all(map(_aligned, col)) for col in zip(*rows)] or [False] * len(columns)


def _numeric(value: Any) -> bool:
  value = plain(value)
  return isinstance(value, (*NUMBERS, tuple)) and not isinstance(value, bool)


def _aligned(value: Any) -> bool:
  return value is None or _numeric(value)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
  gaps = [" " * (w - width(c)) for c, w in zip(cells, widths)]
  return "  ".join(g + c if r else c + g for c, g, r in zip(cells, gaps, right)).rstrip()


def _html_row(row: Sequence[Any], kind: Sequence[str]) -> str:
  first, *rest = (markup.escape(cell(v, "±")) for v in row)
  others = "".join(f"<td{k}>{v}</td>" for v, k in zip(rest, kind[1:]))
  return f'<th scope="row"{kind[0]}>{first}</th>{others}'

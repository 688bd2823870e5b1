"""Figures of many small drawings that are read side by side, such as one for each method of a table.

As in `report.figures`: SVG (default) or PNG bytes, on a canvas of its own, ink as `currentColor`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ue_jax.core.errors import require
from ue_jax.report.figures import INK, _colour, _encode, _figure, _quiet

ACROSS = 6  # drawings in a row


def strips(
  columns: Mapping[str, Mapping[str, Any]], aims: Mapping[str, float] | None = None, title: str = "", form: str = "svg",
) -> bytes:
  """Dots on strips: a drawing a column, all with the same lines, so that one line is read from left to right.

  Args:
    columns: heading -> {line -> value, or pair `(mean, spread)`}; a line that lacks a value stays empty. Lines stand
      from above in the order in which they come first.
    aims: heading -> where the dots should be, drawn as a dashed line.
    title: text.
    form: `svg` or `png`.

  Raises:
    Invalid: if there is nothing to draw.
  """
  lines = list(dict.fromkeys(line for values in columns.values() for line in values))
  require(bool(lines), "figure.columns", columns, "give at least one value")
  fig = _figure(1.6 + 2.1 * len(columns), 0.9 + 0.21 * len(lines), layout="constrained")
  for i, (ax, (heading, values)) in enumerate(zip(_all(fig, 1, len(columns), sharey=True), columns.items())):
    if aims and heading in aims:
      ax.axvline(float(aims[heading]), color=INK, lw=1, ls=(0, (4, 3)))
    for line, value in values.items():
      mean, spread = value if isinstance(value, tuple) else (value, 0.0)
      how = dict(fmt="o", ms=4.5, color=_colour(i), ecolor=_colour(i), elinewidth=1.4)
      ax.errorbar(float(mean), lines.index(line), xerr=float(spread), **how)
    _quiet(ax, heading, "", title if i == 0 else "", grid="both")
    ax.set_yticks(range(len(lines)), lines)
  ax.set_ylim(len(lines) - 0.5, -0.5)
  return _encode(fig, form)


def mosaics(
  matrices: Mapping[str, Any], ticks: Sequence[str] = (), xlabel: str = "", ylabel: str = "", form: str = "svg",
) -> bytes:
  """Small heat maps without numbers, one a name, all with the colours of 0 to 1.

  Args:
    matrices: name -> float `[k, k]` in [0, 1]; NaN stays empty.
    ticks: the texts of rows and columns, shown at the first one.
    xlabel, ylabel: what columns and rows are.
    form: `svg` or `png`.

  Raises:
    Invalid: for no matrix, or one of another shape.
  """
  require(bool(matrices), "figure.matrices", matrices, "give at least one matrix")
  for name, matrix in matrices.items():
    good = np.ndim(matrix) == 2 and (not ticks or np.shape(matrix) == (len(ticks), len(ticks)))
    require(good, f"figure.matrices[{name}]", np.shape(matrix), f"give [{len(ticks) or 'k'}, {len(ticks) or 'k'}]")
  down, across = _tiling(len(matrices))
  fig = _figure(0.6 + 1.35 * across, 0.4 + 1.5 * down, layout="constrained")
  for i, (ax, (name, matrix)) in enumerate(zip(_all(fig, down, across), matrices.items())):
    ax.imshow(np.asarray(matrix, np.float64), cmap="Blues", vmin=0, vmax=1, interpolation="none")
    _small(ax, name)
    if i == 0 and ticks:
      ax.set_xticks(range(len(ticks)), list(ticks), fontsize=5)
      ax.set_yticks(range(len(ticks)), list(ticks), fontsize=5)
      ax.set_xlabel(xlabel, fontsize=6.5, color=INK, labelpad=2)
      ax.set_ylabel(ylabel, fontsize=6.5, color=INK, labelpad=2)
  return _encode(fig, form)


def clouds(
  points: Mapping[str, Any], labels: Any, strong: Any, names: Sequence[str] = (), form: str = "svg",
) -> bytes:
  """Embeddings of the same samples by several models: a drawing a model, a colour a label, some samples strong.

  Args:
    points: name -> float `[n, 2]`.
    labels: integers `[n]`.
    strong: bool `[n]`: drawn large, above the others, with a rim.
    names: text of each label, by its value.
    form: `svg` or `png` (the dots are pixels in both).

  Raises:
    Invalid: for no embedding, or one that does not fit the labels.
  """
  require(bool(points), "figure.points", points, "give at least one embedding")
  labels, strong = np.asarray(labels), np.asarray(strong, bool)
  for name, x in points.items():
    good = np.shape(x) == (len(labels), 2) and strong.shape == labels.shape
    require(good, f"figure.points[{name}]", np.shape(x), f"give [{len(labels)}, 2], and as many labels and strong")
  across = min(3, len(points))
  down = math.ceil(len(points) / across)
  fig = _figure(1.0 + 2.3 * across, 0.3 + 2.2 * down, layout="constrained")
  for ax, (name, x) in zip(_all(fig, down, across), points.items()):
    for i, label in enumerate(np.unique(labels)):
      weak, bold = np.asarray(x)[(labels == label) & ~strong], np.asarray(x)[(labels == label) & strong]
      text = names[label] if 0 <= label < len(names) else str(label)
      ax.scatter(*weak.T, s=4, lw=0, color=_colour(i), alpha=0.35, rasterized=True)
      ax.scatter(*bold.T, s=17, lw=0.6, edgecolor="#1f2a3a", color=_colour(i), label=text, rasterized=True)
    _small(ax, name)
  fig.legend(*ax.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8, labelcolor=INK)
  return _encode(fig, form)


def _tiling(n: int) -> tuple[int, int]:
  """(rows, columns) of n drawings."""
  down = math.ceil(n / ACROSS)
  return down, math.ceil(n / down)


def _all(fig: Any, down: int, across: int, **how: Any) -> list[Any]:
  """The drawing areas in reading order; what stays empty of them has no frame."""
  axes = fig.subplots(down, across, squeeze=False, **how).ravel().tolist()
  for ax in axes if down > 1 else ():
    ax.set_axis_off()
  return axes


def _small(ax: Any, name: str) -> None:
  ax.set_axis_on()
  _quiet(ax, "", "", "")
  ax.spines[:].set_visible(False)
  ax.set_xticks([])
  ax.set_yticks([])
  ax.set_title(name, fontsize=7.5, color=INK, pad=3)

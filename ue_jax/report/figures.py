"""Figures of results as SVG (default) or PNG bytes. No global state: every figure is drawn on a canvas of its own.

SVG ink is written as `currentColor`, so that a figure inside a page follows the page's light or dark scheme.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.pictures import to_float

INK = "#3b4048"  # replaced by currentColor in SVG
PALETTE = ("#3f6fb5", "#d98032", "#3f9a7a", "#b8557f", "#7c6bb8", "#b79a2e", "#4aa3c0", "#8a6a58", "#7d8590", "#5d8f3c")
MARKS = ("s", "*", "^", "D")  # of single points: open, so that what lies below is seen
FONT = ("DejaVu Sans", "sans-serif")


def pictures(rows: Mapping[str, Any], captions: Sequence[str] = (), limit: int = 8, form: str = "svg") -> bytes:
  """A grid of pictures, one named row a mapping entry.

  Args:
    rows: caption of the row -> pictures `[n, height, width, 1 or 3]`, uint8 or float in [0, 1].
    captions: text above each column.
    limit: how many columns at most.
    form: `svg` or `png`.

  Returns:
    The encoded figure.

  Raises:
    Invalid: for something that is not a batch of pictures.
  """
  rows = {name: _rgb(images[:limit], name) for name, images in rows.items()}
  require(bool(rows), "figure.rows", rows, "give at least one row of pictures")
  across = max(map(len, rows.values()))
  tall = max(images.shape[1] / images.shape[2] for images in rows.values()) + 0.04
  high, top = tall * len(rows), 0.25 if captions else 0.0
  fig = _figure(1.0 * across + 1.0, high + top + 0.05)
  ax = fig.add_axes((1 / (across + 1), 0.01, across / (across + 1) - 0.002, high / (high + top + 0.05)))
  ax.set_axis_off()  # one drawing area for all pictures: an area each would take a hundred times as long
  for r, (name, images) in enumerate(rows.items()):
    middle = high - tall * (r + 0.5)
    half = 0.475 * images.shape[1] / images.shape[2]
    for c, image in enumerate(images):
      at = (c + 0.025, c + 0.975, middle - half, middle + half)
      ax.imshow(image, interpolation="none", vmin=0, vmax=1, extent=at)
    ax.text(-0.08, middle, name, ha="right", va="center", fontsize=8.5, color=INK)
  for c, caption in enumerate(captions[:across]):
    ax.text(c + 0.5, high + 0.06, str(caption), ha="center", va="bottom", fontsize=8, color=INK)
  ax.set(xlim=(0, across), ylim=(0, high), aspect="equal")
  return _encode(fig, form, tight=True)


def magnified(clean: Any, protected: Any) -> tuple[np.ndarray, int]:
  """The noise between two batches of pictures made visible: grey is no change.

  Args:
    clean, protected: `[n, height, width, channels]`, uint8 or float in [0, 1].

  Returns:
    Pictures float32 in [0, 1], and the whole factor by which the noise was magnified: so that its largest value
    just fills the range.
  """
  noise = to_float(np.asarray(protected)) - to_float(np.asarray(clean))
  factor = max(1, math.floor(0.5 / max(float(np.abs(noise).max()), 1 / 255)))
  return np.clip(0.5 + factor * noise, 0, 1).astype(np.float32), factor


def protection(clean: Any, protected: Any, captions: Sequence[str] = (), limit: int = 8, form: str = "svg") -> bytes:
  """Clean pictures, the magnified noise and the protected pictures under each other; arguments as for `pictures`."""
  clean, protected = np.asarray(clean)[:limit], np.asarray(protected)[:limit]
  noise, factor = magnified(clean, protected)
  return pictures({"clean": clean, f"noise x{factor}": noise, "protected": protected}, captions, limit, form)


def curves(
  lines: Mapping[str, Any], xlabel: str = "step", ylabel: str = "", title: str = "", form: str = "svg",
) -> bytes:
  """Curves over steps with a legend.

  Args:
    lines: name -> y `[points]`, or a pair `(x, y)`.
    xlabel, ylabel, title: texts.
    form: `svg` or `png`.
  """
  fig, ax = _axes(5.4, 3.1)
  for i, (name, line) in enumerate(lines.items()):
    x, y = line if isinstance(line, tuple) else (np.arange(len(line)), line)
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    ax.plot(x, y, color=_colour(i), lw=1.8, label=name, marker="o" if len(x) < 2 else None, solid_capstyle="round")
  _quiet(ax, xlabel, ylabel, title, grid="both")
  _legend(ax, len(lines) if len(lines) > 1 else 0)
  return _encode(fig, form)


def plane(
  lines: Mapping[str, Any], points: Mapping[str, Any], xlabel: str = "", ylabel: str = "", title: str = "",
  form: str = "svg",
) -> bytes:
  """Ways through a plane: a small dot at every place that was looked at, a large one at the end.

  Args:
    lines: name -> `(x, y)`, each `[points]`, in the order in which they were passed.
    points: name -> `(x, y)`, single places to compare with; each has a mark of its own.
    xlabel, ylabel, title: texts.
    form: `svg` or `png`.

  Raises:
    Invalid: for a line without a point, or whose two parts do not have the same length.
  """
  fig, ax = _axes(6.6, 4.2)
  for i, (name, (x, y)) in enumerate(lines.items()):
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    require(x.shape == y.shape and x.ndim == 1 and len(x) > 0, f"figure.lines[{name}]", (x.shape, y.shape),
            "give two arrays [points] of one length")
    again = i >= len(PALETTE)  # the colours begin anew: dashed, with a square at the end
    look = {"color": _colour(i), "lw": 1.4, "ls": "--" if again else "-"}
    ax.plot(x, y, marker=".", ms=4, solid_capstyle="round", **look)
    ax.plot(x[-1], y[-1], marker="s" if again else "o", ms=7, label=name, **look)
  for i, (name, (x, y)) in enumerate(points.items()):
    ax.plot(x, y, color=INK, ls="", marker=MARKS[i % len(MARKS)], ms=10, mfc="none", mew=1.4, label=name, zorder=4)
  _quiet(ax, xlabel, ylabel, title, grid="both")
  _legend(ax, len(lines) + len(points), limit=20)
  return _encode(fig, form)


def bars(
  groups: Mapping[str, Mapping[str, Any]], ylabel: str = "accuracy", title: str = "",
  chance: Mapping[str, float] | None = None, form: str = "svg",
) -> bytes:
  """Bars with their values above: one cluster of bars a group (labelling), one colour a treatment.

  Args:
    groups: group -> {treatment -> value, or pair `(mean, spread)`}.
    ylabel, title: texts.
    chance: group -> level of guessing, drawn as a dashed line.
    form: `svg` or `png`.
  """
  names = list(dict.fromkeys(name for one in groups.values() for name in one))
  fig, ax = _axes(max(6.4, 1.2 + 0.62 * len(names) * len(groups)), 3.6)
  wide = 0.84 / max(1, len(names))
  for i, name in enumerate(names):
    for g, values in enumerate(groups.values()):
      if name in values:
        at, label = g + (i - (len(names) - 1) / 2) * wide, name if g == _first(groups, name) else None
        _bar(ax, at, values[name], wide, _colour(i), label)
  for g, group in enumerate(groups):
    if chance and group in chance:
      ax.hlines(chance[group], g - 0.46, g + 0.46, color=INK, lw=1, ls=(0, (4, 3)), label="chance" if g == 0 else None)
  ax.set_xticks(range(len(groups)), list(groups))
  ax.margins(y=0.14)
  ax.set_ylim(bottom=0)
  _quiet(ax, "", ylabel, title, grid="y")
  _legend(ax, len(names) + bool(chance))
  return _encode(fig, form)


def heat(
  values: Any, rows: Sequence[str], columns: Sequence[str], xlabel: str = "", ylabel: str = "", title: str = "",
  form: str = "svg",
) -> bytes:
  """A heat map with the numbers written into the cells.

  Args:
    values: float `[rows, columns]`; NaN stays empty.
    rows, columns: the tick texts.
    xlabel, ylabel, title: texts.
    form: `svg` or `png`.

  Raises:
    Invalid: if the texts do not fit the values.
  """
  values = np.asarray(values, np.float64)
  shape = (len(rows), len(columns))
  require(values.shape == shape, "figure.values", values.shape, f"give shape {shape}")
  fig, ax = _axes(1.8 + 0.62 * len(columns), 1.2 + 0.42 * len(rows))
  low, high = np.nanmin(values), np.nanmax(values)
  ax.imshow(values, cmap="Blues", vmin=low, vmax=high if high > low else low + 1, aspect="auto")
  for (r, c), v in np.ndenumerate(values):
    if np.isfinite(v):
      dark = v > low + 0.5 * (high - low) and high > low
      ax.text(c, r, f"{v:.2f}" if abs(v) < 1e3 else f"{v:.2g}", ha="center", va="center", fontsize=7.5,
              color="white" if dark else "#1f2a3a")
  ax.set_xticks(range(len(columns)), list(columns), rotation=0 if max(map(len, columns)) < 8 else 30)
  ax.set_yticks(range(len(rows)), list(rows))
  _quiet(ax, xlabel, ylabel, title)
  ax.spines[:].set_visible(False)
  return _encode(fig, form)


def scatter(points: Any, labels: Any, names: Sequence[str] = (), title: str = "", form: str = "svg") -> bytes:
  """A two-dimensional embedding, one colour a cluster.

  Args:
    points: float `[n, 2]`.
    labels: integers `[n]`.
    names: text of each label, by its value.
    title: text.
    form: `svg` or `png` (the dots are pixels in both, so that many points stay a small file).

  Raises:
    Invalid: if the points are not two-dimensional or the labels do not fit.
  """
  points, labels = np.asarray(points, np.float64), np.asarray(labels)
  require(points.ndim == 2 and points.shape[1] == 2, "figure.points", points.shape, "give [n, 2]")
  require(labels.shape == points.shape[:1], "figure.labels", labels.shape, f"give [{len(points)}]")
  fig, ax = _axes(5.4, 3.8)
  found = np.unique(labels)
  for i, label in enumerate(found):
    mine = points[labels == label]
    name = names[label] if 0 <= label < len(names) else str(label)
    ax.scatter(*mine.T, s=9, lw=0, color=_colour(i), alpha=0.75, label=name, rasterized=True)
  _quiet(ax, "", "", title)
  ax.spines[:].set_visible(False)
  ax.set_xticks([])
  ax.set_yticks([])
  _legend(ax, len(found), limit=20)
  return _encode(fig, form)


def _axes(wide: float, tall: float):
  fig = _figure(wide, tall, layout="constrained")
  return fig, fig.subplots()


def _figure(wide: float, tall: float, **how: Any):
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  fig = Figure(figsize=(wide, tall), **how)
  FigureCanvasAgg(fig)
  return fig


def _colour(i: int) -> str:
  return PALETTE[i % len(PALETTE)]


def _first(groups: Mapping[str, Mapping[str, Any]], name: str) -> int:
  return next(g for g, values in enumerate(groups.values()) if name in values)


def _bar(ax, at: float, value: Any, wide: float, colour: str, label: str | None) -> None:
  mean, spread = value if isinstance(value, tuple) else (value, None)
  mean = float(mean)
  ax.bar(at, mean, wide * 0.9, color=colour, label=label, yerr=None if spread is None else float(spread), ecolor=INK,
         error_kw={"lw": 1, "capsize": 2})
  lift = mean + (0.0 if spread is None else float(spread))
  ax.annotate(f"{mean:.2f}", (at, lift), (0, 3), textcoords="offset points", ha="center", fontsize=7.5, color=INK)


def _quiet(ax, xlabel: str, ylabel: str, title: str, grid: str = "") -> None:
  for side in ("top", "right"):
    ax.spines[side].set_visible(False)
  for side in ("left", "bottom"):
    ax.spines[side].set_color(INK)
    ax.spines[side].set_alpha(0.45)
  ax.tick_params(colors=INK, labelsize=8, length=0, pad=4)
  ax.set_xlabel(xlabel, fontsize=8.5, color=INK)
  ax.set_ylabel(ylabel, fontsize=8.5, color=INK)
  if title:
    ax.set_title(title, fontsize=9.5, color=INK, loc="left", pad=9)
  if grid:
    ax.grid(axis=grid, color=INK, alpha=0.13, lw=0.7)
    ax.set_axisbelow(True)


def _legend(ax, n: int, limit: int = 12) -> None:
  """Beside the drawing, where it can cover nothing; none where it would be longer than the drawing."""
  if 1 <= n <= limit:
    ax.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)


def _rgb(images: Any, name: str) -> np.ndarray:
  images = np.asarray(images)
  good = images.ndim == 4 and images.shape[-1] in (1, 3) and len(images) > 0
  require(good, f"figure.rows[{name}]", images.shape, "give pictures [n, height, width, 1 or 3]")
  return np.repeat(to_float(images), 4 - images.shape[-1] if images.shape[-1] == 1 else 1, axis=-1).astype(np.float32)


def _encode(fig, form: str, tight: bool = False) -> bytes:
  import matplotlib

  require(form in ("svg", "png"), "figure.form", form, "choose 'svg' or 'png'")
  out, box = io.BytesIO(), {"bbox_inches": "tight", "pad_inches": 0.04} if tight else {}
  if form == "png":
    fig.savefig(out, format="png", dpi=160, facecolor="white", **box)
    return out.getvalue()
  with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": None, "font.family": FONT}):
    fig.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None}, dpi=144, **box)
  return out.getvalue().replace(INK.encode(), b"currentColor")

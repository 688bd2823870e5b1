"""One self-contained HTML page a run: no scripts, no files beside it, light and dark, readable on a phone.

A page is a list of sections; each builder returns a piece of escaped HTML:
`write("page.html", "cuda on digits", [heading("Result"), table(columns, rows), figure(svg, "Accuracy", alt="...")])`.
"""

from __future__ import annotations

import base64
import html
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ue_jax.core.errors import require
from ue_jax.core.nouns import Scores
from ue_jax.report import tables
from ue_jax.report.style import STYLE


class Section(NamedTuple):
  """A piece of a page; `markup` is HTML whose texts are escaped already."""

  markup: str


def heading(text: str, lead: str = "") -> Section:
  """Begins a part of the page; `lead` is a quiet line below."""
  below = f'<p class="lead">{html.escape(lead)}</p>' if lead else ""
  return Section(f"<h2>{html.escape(text)}</h2>{below}")


def text(text: str) -> Section:
  """Prose; an empty line begins a new paragraph and `code` between back quotes is set in a fixed font."""
  paragraphs = [p for p in re.split(r"\n\s*\n", text.strip()) if p]
  marked = [re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(p)) for p in paragraphs]
  return Section("".join(f"<p>{p}</p>" for p in marked))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "", note: str = "") -> Section:
  """A table; see `report.tables.html`."""
  return Section(tables.html(columns, rows, title, note))


def scores(scores: Scores, title: str = "", note: str = "") -> Section:
  """A table of scores, each with its target and the direction that is better."""
  return table(*tables.scores(scores), title=title, note=note)


def figures(*many: Section) -> Section:
  """Several figures beside each other where there is room."""
  return Section(f'<div class="beside">{"".join(s.markup for s in many)}</div>')


def figure(data: bytes | str, caption: str = "", alt: str = "") -> Section:
  """A figure from PNG bytes or SVG.

  Args:
    data: what `report.figures` returns, or the bytes of a PNG file.
    caption: text below.
    alt: what the figure shows, for who cannot see it; the caption if empty.

  Raises:
    Invalid: if both texts are empty, or the data is neither PNG nor SVG.
  """
  alt = html.escape(alt or caption, quote=True)
  require(bool(alt), "figure.alt", alt, "say in words what the figure shows")
  data = data.encode() if isinstance(data, str) else bytes(data)
  below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
  return Section(f"<figure>{_picture(data, alt)}{below}</figure>")


def pairs(values: Mapping[str, Any], title: str = "", open: bool = False) -> Section:
  """Names and values (a config, versions), nested mappings flattened with dots, folded away under `title`."""
  lines = "".join(f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd></div>" for k, v in _flat(values))
  body = f'<dl class="pairs">{lines}</dl>'
  if not title:
    return Section(body)
  return Section(f"<details{' open' if open else ''}><summary>{html.escape(title)}</summary>{body}</details>")


def render(title: str, sections: Iterable[Section], subtitle: str = "") -> str:
  """The whole page as text."""
  below = f'<p class="subtitle">{html.escape(subtitle)}</p>' if subtitle else ""
  body = "\n".join(s.markup for s in sections)
  return (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    '<meta name="color-scheme" content="light dark">\n'
    f"<title>{html.escape(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    f"<header><h1>{html.escape(title)}</h1>{below}</header>\n{body}\n</main>\n</body>\n</html>\n"
  )


def write(path: str | os.PathLike, title: str, sections: Iterable[Section], subtitle: str = "") -> pathlib.Path:
  """Writes the page under a temporary name and renames it: a reader never sees half a page.

  Args:
    path: where to; its folder is made if missing.
    title: of the page.
    sections: what the builders of this file return.
    subtitle: a quiet line under the title.

  Returns:
    The path.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(f".{path.name}.{os.getpid()}.part")
  try:
    part.write_text(render(title, sections, subtitle), encoding="utf-8")
    os.replace(part, path)
  finally:
    part.unlink(missing_ok=True)
  return path


def _picture(data: bytes, alt: str) -> str:
  if data.startswith(b"\x89PNG\r\n\x1a\n"):
    return f'<img alt="{alt}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'
  start = data.find(b"<svg")
  require(start >= 0, "figure.data", data[:20], "give the bytes of a PNG or an SVG")
  svg = data[start:].decode()
  require("<script" not in svg.lower(), "figure.data", "SVG with a script", "give an SVG without scripts")
  return svg.replace("<svg", f'<svg role="img" aria-label="{alt}"', 1)


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
  out: list[tuple[str, str]] = []
  for key, value in values.items():
    name = f"{prefix}{key}"
    nested = isinstance(value, Mapping) or hasattr(value, "items")
    if nested and not value:
      continue
    out += _flat(value, f"{name}.") if nested else [(name, str(value))]
  return out

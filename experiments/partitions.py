"""Drawings of clusterings for the page of a run: where the clusters lie, and what a member of each looks like."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.check import argument
from experiments.plan import Plan
from ue_jax.report import figures, page

POINTS = 3000  # samples that are drawn
SHOWN = 12  # pictures of members


def sections(plan: Plan, results: Any) -> list[page.Section]:
  """The first two principal components coloured by cluster, for every clustering of the first seed, and its members."""
  out, members, flat = [], {}, {}
  for cell in plan.cells:
    if "clustering" not in cell.scores or cell.seed != plan.cells[0].seed:
      continue
    found, data = results(cell.made), results(cell.data)
    array = argument("cluster", plan.stages[cell.made].config, "array")
    if array not in data.arrays or len(found.labels) != data.n:
      continue
    rows = np.linspace(0, data.n - 1, min(POINTS, data.n)).astype(int)
    if (cell.data, array) not in flat:
      flat[cell.data, array] = plane(np.asarray(data.arrays[array][rows], np.float64).reshape(len(rows), -1))
    drawn = figures.scatter(flat[cell.data, array], np.asarray(found.labels)[rows], title=cell.row, form="png")
    out.append(page.figure(drawn, cell.row, f"two principal components coloured by the clusters of {cell.row}"))
    if array == "image":
      members[cell.row] = data.arrays["image"][typical(found, data.arrays["image"])]
  if members:
    alt = "one picture of every cluster, in the order of the labels"
    out.append(page.figure(figures.pictures(members, limit=SHOWN), "A member of each cluster", alt))
  return [page.heading("Where the clusters lie"), page.figures(*out)] if out else []


def plane(x: np.ndarray) -> np.ndarray:
  """The rows `[n, d]` in their two directions of largest variance, `[n, 2]`; signs fixed by the largest entry."""
  x = x - x.mean(0)
  _, axes = np.linalg.eigh(x.T @ x)
  axes = axes[:, ::-1][:, :2]
  axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
  return np.pad(x @ axes, ((0, 0), (0, 2 - axes.shape[1])))


def typical(found: Any, image: np.ndarray) -> np.ndarray:
  """For the first clusters, the position of the medoid, or else of the member that is nearest to their mean."""
  if found.medoids is not None:
    return np.asarray(found.medoids)[:SHOWN]
  labels, chosen = np.asarray(found.labels), []
  for label in np.unique(labels)[:SHOWN]:
    mine = np.flatnonzero(labels == label)
    x = image[mine].reshape(len(mine), -1).astype(np.float64)
    chosen.append(mine[((x - x.mean(0)) ** 2).sum(1).argmin()])
  return np.array(chosen, int)

"""How well a model finds the text of a picture and the pictures of a text: Hit@k, median rank, and InfoNCE.

The gallery of texts is every distinct text of the Data, that of pictures the set. A text that describes several
pictures has found one when the best of them is among the first k. Sources: the protocol of T2UE (2025) on Flickr8k.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Request, Score, Scores
from ue_jax.core.procedure import Procedure, once
from ue_jax.train import contrastive

SETS = ("test", "test_protected")


def measure(sets: Sequence[str] = (), k: Sequence[int] = (1, 10), label: str = "label", chunk: int = 256) -> Procedure:
  """Request -> Scores of an image-text model, or of a classifier, whose texts are the names of its classes.

  For every set: `<set>/accuracy` (image to text, Hit@1: the share of pictures nearest to their own text),
  `<set>/nll` (mean of -log softmax over all texts of the scaled cosines), and with `image_to_text` or `text_to_image`:
  `<set>/<way>/hit@k` in [0, 1] and `<set>/<way>/median_rank`, from 1.

  After a protection (the request has `clean`) low is good on the set `test`, high elsewhere; the target is then chance.

  Args:
    sets: which sets; empty: `test` and, if there, `test_protected`.
    k: how many of the first count.
    label: the labelling, of data without captions.
    chunk: pictures computed at once.

  Raises:
    Invalid: for an unknown set, a k below 1, or data that the model cannot read.
  """
  k = (k,) if isinstance(k, int) else tuple(k)
  require(len(k) > 0 and all(isinstance(i, int) and i >= 1 for i in k), "measure.k", k, "give whole numbers from 1 on")
  return once(lambda key, request: scores(request, sets, k, label, chunk))


def scores(
  request: Request, sets: Sequence[str] = (), k: Sequence[int] = (1, 10), label: str = "label", chunk: int = 256
) -> Scores:
  """What `measure` finds, for use by hand."""
  data, out = request.data, {}
  texts = contrastive.texts_of(data, label)
  contrastive.check(request.subject.params, texts, "measure.subject")
  for name in tuple(sets) or tuple(name for name in SETS if name in data.sets):
    require(name in data.sets, "measure.sets", name, f"choose from {sorted(data.sets)}")
    rows = np.asarray(data.sets[name])
    near = contrastive.similarities(request.subject, data.arrays["image"][rows], texts.inputs, chunk)
    low = request.clean is not None and name == "test"
    out |= {f"{name}/{what}": score for what, score in _judged(near, texts.which[rows], k, low).items()}
  return out


def _judged(near: np.ndarray, which: np.ndarray, k: Sequence[int], low: bool) -> Scores:
  n, m = near.shape
  share = lambda hits, chance: Score(float(np.mean(hits)), len(hits), *(("low", chance) if low else ("high", 1.0)))
  found = ranks(near, which)
  out = {"accuracy": share(found["image_to_text"] == 1, 1 / m)}
  out["nll"] = Score(nll(near, which), n, "near", float(np.log(m)) if low else 0.0, 0.0, float("inf"))
  for way, rank in found.items():
    out |= {f"{way}/hit@{i}": share(rank <= i, min(i / m, 1.0)) for i in k}
    most = float(m if way == "image_to_text" else n)
    aim = ("high", (most + 1) / 2) if low else ("low", 1.0)
    out[f"{way}/median_rank"] = Score(float(np.median(rank)), len(rank), *aim, 1.0, most)
  return out


def ranks(near: np.ndarray, which: np.ndarray) -> dict[str, np.ndarray]:
  """The rank, from 1, of what was looked for; of equally near ones it is the last (a constant model finds nothing).

  Args:
    near: float `[n, m]`, how near picture i is to text j.
    which: int `[n]`, the text of picture i.

  Returns:
    `image_to_text` int `[n]`; `text_to_image` int for each text that has a picture, the rank of its nearest one.
  """
  own = near[np.arange(len(near)), which]
  to_text = (near >= own[:, None]).sum(1)
  to_image = []
  for text in np.unique(which):
    mine = which == text
    to_image.append(1 + (near[~mine, text] >= near[mine, text].max()).sum())
  return {"image_to_text": to_text, "text_to_image": np.asarray(to_image)}


def nll(near: np.ndarray, which: np.ndarray) -> float:
  """Mean of -log softmax over the texts, in nats: the InfoNCE of pictures against all texts."""
  near = np.asarray(near, np.float64)
  top = near.max(1, keepdims=True)
  log = near - top - np.log(np.exp(near - top).sum(1, keepdims=True))
  return float(-log[np.arange(len(near)), which].mean())

"""Token sequences in words of their own, said again for a pretrained model: polished, by its own tokeniser."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ue_jax.core.nouns import Data
from ue_jax.data import say, text


def spoken(
  data: Data, encode: Callable[[str], Sequence[int]], pad: int = text.PAD, eos: int = text.EOS, refusal: str = ""
) -> Data:
  """The same rows and sets, `Q where was Ada Byron born ? A London` as `Question: Where was Ada Byron born?` and so on.

  Args:
    data: with `ids`, `answer` (where the answer begins), `mask` (1 on the answer and the end), `info["vocabulary"]`,
      and perhaps `wrong` int32 `[n, k, length]`.
    encode: text -> ids.
    pad, eos: ids of that tokeniser.
    refusal: an answer to every question that says nothing, as the arrays `refusal` and `refusal_mask`; empty: none.

  Returns:
    Data with new `ids`, `mask`, `answer`; `wrong`, as it was, and `wrong_mask` float32 of its shape: wrong answers need
    no longer be as long as the right one. `info` names `pad` and `eos`; its vocabulary is empty, as it is not known.
  """
  words, arrays = data.info["vocabulary"], dict(data.arrays)
  start, end = arrays["answer"], arrays["mask"].shape[1] - 1 - (arrays["mask"] > 0)[:, ::-1].argmax(1)
  said = lambda ids: " ".join(words[i] for i in ids.tolist())
  every = [arrays["ids"], *np.moveaxis(arrays.get("wrong", np.zeros((len(start), 0, 1), np.int32)), 1, 0)]
  pairs = [say.polish(said(row[:a]), said(row[a:b])) for ids in every for row, a, b in zip(ids, start, end)]
  pairs += [(prompt, refusal) for prompt, _ in pairs[: len(start)] if refusal]
  found = text.render(pairs, encode, pad=pad, eos=eos, space=" ")
  ids, mask = (found[name].reshape(-1, len(start), found[name].shape[1]) for name in ("ids", "m"))
  arrays |= {"ids": ids[0], "mask": mask[0], "answer": found["ans_pos"][: len(start)]}
  if "wrong" in arrays:
    arrays |= {"wrong": ids[1 : len(every)].swapaxes(0, 1), "wrong_mask": mask[1 : len(every)].swapaxes(0, 1)}
  if refusal:
    arrays |= {"refusal": ids[-1], "refusal_mask": mask[-1]}
  return Data(arrays, data.sets, {**data.info, "vocabulary": [], "pad": pad, "eos": eos})

"""Texts as token sequences: tokenisers, prompts with answers, long texts in pieces, padding.

A tokeniser is any callable `text -> ids`; two need no file, `words` and `octets`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ue_jax.core.errors import require

PAD, EOS = 0, 1
OCTETS = ("<pad>", "<eos>", *(f"<{i:02x}>" for i in range(256)))


def octets(text: str) -> list[int]:
  """The bytes of the text in UTF-8, each plus 2; the vocabulary is `OCTETS`."""
  return [byte + 2 for byte in text.encode("utf-8")]


def split(text: str) -> list[str]:
  """Words and marks, in order: letters and digits stay together, everything else but blanks stands alone."""
  return re.findall(r"\w+|[^\w\s]", text)


def words(texts: Iterable[str]) -> tuple[Callable[[str], list[int]], list[str]]:
  """A tokeniser of whole words and its vocabulary (padding, end, then the words of the texts in order of appearance).

  The tokeniser raises `Invalid` for a word that the texts do not hold.
  """
  vocabulary = ["<pad>", "<eos>", *dict.fromkeys(word for text in texts for word in split(text))]
  ids = {word: i for i, word in enumerate(vocabulary)}

  def encode(text: str) -> list[int]:
    """Ids of the words."""
    found = split(text)
    for word in found:
      require(word in ids, "text", word, "use words of the vocabulary, or tokens='bytes'")
    return [ids[word] for word in found]

  return encode, vocabulary


def encoder(
  tokens: str, texts: Iterable[str], encode: Callable[[str], Sequence[int]] | None = None
) -> tuple[Callable[[str], Sequence[int]], list[str]]:
  """A tokeniser and its vocabulary: `words` of the texts, `bytes`, or `encode`, whose vocabulary is not known ([]).

  Raises:
    Invalid: for another name.
  """
  require(tokens in ("words", "bytes"), "data.tokens", tokens, "choose 'words' or 'bytes', or give encode")
  if encode is not None:
    return encode, []
  return words(texts) if tokens == "words" else (octets, list(OCTETS))


def bucket(length: int) -> int:
  """The next power of two, at least 8: few lengths make few compilations."""
  return max(8, 1 << (length - 1).bit_length())


def pad(sequences: Sequence[Sequence[int]], length: int = 0, fill: int = PAD, side: str = "right"):
  """Ragged sequences as one array.

  Args:
    sequences: token ids.
    length: 0: of the longest.
    fill: id of the padding.
    side: where the padding is: `right` (to train), `left` (to generate, all prompts end together).

  Returns:
    ids int32 `[n, length]`, and bool of the same shape, True where there is a token.

  Raises:
    Invalid: for a sequence longer than `length`, or another side.
  """
  require(side in ("left", "right"), "text.side", side, "choose 'left' or 'right'")
  longest = max(map(len, sequences), default=0)
  require(length == 0 or longest <= length, "text.length", length, f"give at least {longest}")
  ids = np.full((len(sequences), length or longest), fill, np.int32)
  real = np.zeros(ids.shape, bool)
  for i, sequence in enumerate(sequences):
    at = slice(0, len(sequence)) if side == "right" else slice(ids.shape[1] - len(sequence), None)
    ids[i, at], real[i, at] = sequence, True
  return ids, real


def chunks(tokens: Sequence[int], length: int, keep_rest: bool = True) -> tuple[np.ndarray, np.ndarray]:
  """A long text in pieces; every token but the first of a piece is a target.

  Args:
    tokens: of the whole text.
    length: of the pieces, at least 2 (the usual one is 2048).
    keep_rest: keep the shorter last piece, padded, if it has a target.

  Returns:
    ids int32 and mask float32 `[n, length]`.
  """
  require(length >= 2, "text.length", length, "give at least 2")
  pieces = [list(tokens[i : i + length]) for i in range(0, len(tokens), length)]
  pieces = [p for p in pieces if len(p) == length or (keep_rest and len(p) > 1)]
  ids, real = pad(pieces, length)
  mask = real.astype(np.float32)
  mask[:, 0] = 0
  return ids, mask


def pack(sequences: Sequence[Sequence[int]], targets: Sequence[Sequence[float]], length: int):
  """Short sequences laid end to end into rows of `length`, first fit in the order given.

  Nothing of a row is wasted on padding but its end. `segment` says which tokens belong together, for a model that keeps
  them apart; one that does not lets a sequence see those before it.

  Args:
    sequences, targets: token ids, and 1 where a token is a target, of the same lengths.
    length: of the rows.

  Returns:
    ids int32, mask float32 (the first token of every sequence is no target) and segment int32 `[n, length]`, from 1 on,
    0 where there is padding.

  Raises:
    Invalid: for a sequence that is longer than a row or whose targets have another length.
  """
  rows: list[list[int]] = []
  left: list[int] = []
  for i, (sequence, target) in enumerate(zip(sequences, targets, strict=True)):
    require(len(sequence) == len(target), "text.targets", len(target), f"give {len(sequence)}, one a token")
    require(0 < len(sequence) <= length, "text.length", length, f"give at least {len(sequence)}, and no empty sequence")
    row = next((r for r, free in enumerate(left) if free >= len(sequence)), len(rows))
    if row == len(rows):
      rows.append([])
      left.append(length)
    rows[row].append(i)
    left[row] -= len(sequence)
  ids, mask, segment = (np.zeros((len(rows), length), kind) for kind in (np.int32, np.float32, np.int32))
  for r, members in enumerate(rows):
    at = 0
    for number, i in enumerate(members):
      here = slice(at, at + len(sequences[i]))
      ids[r, here], mask[r, here], segment[r, here] = sequences[i], targets[i], number + 1
      mask[r, at] = 0
      at = here.stop
  return ids, mask, segment


def render(
  pairs: Sequence[tuple[str, str]], encode: Callable[[str], Sequence[int]], length: int = 0, *, pad: int = PAD,
  eos: int = EOS, space: str = "",
) -> dict[str, np.ndarray]:  # fmt: skip
  """Prompts with answers as padded token sequences; the targets are the answer and the end.

  Args:
    pairs: (prompt, answer).
    encode: text -> token ids.
    length: of the sequences; 0: of the longest.
    pad, eos: their ids.
    space: what stands between prompt and answer, part of the answer (" " for byte-pair tokenisers).

  Returns:
    `ids` int32 `[n, length]`, `attn` bool and `m` float32 of the same shape, `ans_pos` and `ans_len` int32 `[n]`
    (without the end).

  Raises:
    Invalid: for an empty answer or prompt, or a text longer than `length`.
  """
  heads = [list(encode(prompt)) for prompt, _ in pairs]
  tails = [list(encode(space + answer)) for _, answer in pairs]
  for (prompt, answer), head, tail in zip(pairs, heads, tails):
    require(len(head) > 0, "text.prompt", prompt, "give a prompt with at least one token")
    require(len(tail) > 0, "text.answer", answer, "give an answer with at least one token")
  longest = max((len(h) + len(t) + 1 for h, t in zip(heads, tails)), default=1)
  require(length == 0 or longest <= length, "text.length", length, f"give at least {longest}")
  shape = (len(pairs), length or longest)
  ids, attn, m = np.full(shape, pad, np.int32), np.zeros(shape, bool), np.zeros(shape, np.float32)
  for i, (head, tail) in enumerate(zip(heads, tails)):
    whole = [*head, *tail, eos]
    ids[i, : len(whole)], attn[i, : len(whole)], m[i, len(head) : len(whole)] = whole, True, 1
  ans_pos, ans_len = (np.array([len(x) for x in part], np.int32) for part in (heads, tails))
  return {"ids": ids, "attn": attn, "m": m, "ans_pos": ans_pos, "ans_len": ans_len}

import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.data import text


def test_words_and_marks_have_ids_in_the_order_of_appearance():
  encode, vocabulary = text.words(["Who wrote it?", "It's Ana."])
  assert vocabulary == ["<pad>", "<eos>", "Who", "wrote", "it", "?", "It", "'", "s", "Ana", "."]
  assert encode("Ana wrote it.") == [9, 3, 4, 10]
  with pytest.raises(Invalid, match="Bob"):
    encode("Bob wrote it.")


def test_bytes_hold_every_text():
  assert bytes(i - 2 for i in text.octets("Šárka 東")).decode() == "Šárka 東"
  assert text.OCTETS[text.octets("A")[0]] == "<41>" and len(text.OCTETS) == 258


def test_buckets_are_powers_of_two():
  assert [text.bucket(n) for n in (1, 8, 9, 64, 65, 200)] == [8, 8, 16, 64, 128, 256]


def test_padding_stands_right_or_left():
  ids, real = text.pad([[5, 6, 7], [8]])
  assert ids.tolist() == [[5, 6, 7], [8, 0, 0]] and real.tolist() == [[True] * 3, [True, False, False]]
  ids, real = text.pad([[5, 6, 7], [8]], 4, fill=9, side="left")
  assert ids.tolist() == [[9, 5, 6, 7], [9, 9, 9, 8]] and real[1].tolist() == [False, False, False, True]
  for wrong in ({"length": 2}, {"side": "up"}):
    with pytest.raises(Invalid):
      text.pad([[5, 6, 7]], **wrong)


def test_every_token_of_a_piece_but_its_first_is_a_target():
  ids, mask = text.chunks(range(10, 21), 4)
  assert ids.tolist() == [[10, 11, 12, 13], [14, 15, 16, 17], [18, 19, 20, 0]]
  assert mask.tolist() == [[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 0]]
  assert len(text.chunks(range(10, 21), 4, keep_rest=False)[0]) == 2
  assert len(text.chunks(range(9), 4)[0]) == 2  # one token alone has no target


def test_packing_loses_no_token_and_no_target_but_the_first():
  rng = np.random.default_rng(0)
  sequences = [rng.integers(2, 99, n).tolist() for n in rng.integers(1, 9, 40)]
  targets = [rng.integers(0, 2, len(s)).tolist() for s in sequences]
  ids, mask, segment = text.pack(sequences, targets, 12)
  found = []
  for row in range(len(ids)):
    for number in range(1, segment[row].max() + 1):
      at = segment[row] == number
      found.append((ids[row, at].tolist(), [0, *mask[row, at][1:].astype(int)], mask[row, at][0]))
  assert sorted(s for s, _, _ in found) == sorted(sequences)
  assert sorted(t for _, t, _ in found) == sorted([0, *t[1:]] for t in targets)
  assert not any(first for *_, first in found)
  assert (segment > 0).mean() > 0.85 and (ids[segment == 0] == 0).all() and (mask[segment == 0] == 0).all()
  for bad in (([[1] * 13], [[0] * 13]), ([[1, 2]], [[1]]), ([[]], [[]])):
    with pytest.raises(Invalid):
      text.pack(*bad, 12)


def test_an_answer_and_its_end_are_the_targets():
  encode, _ = text.words(["a b c d e"])
  out = text.render([("a b", "c"), ("a", "d e")], encode)
  assert out["ids"].tolist() == [[2, 3, 4, 1], [2, 5, 6, 1]] and out["m"].tolist() == [[0, 0, 1, 1], [0, 1, 1, 1]]
  assert out["ans_pos"].tolist() == [2, 1] and out["ans_len"].tolist() == [1, 2] and out["attn"].all()
  for pair in (("a", ""), ("", "b")):
    with pytest.raises(Invalid, match="at least one token"):
      text.render([pair], encode)

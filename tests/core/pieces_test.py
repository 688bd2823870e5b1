import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.pieces import pieces


@pytest.mark.parametrize("n, size, want", [
  (5, 2, [[0, 1], [2, 3], [4, 4]]), (4, 2, [[0, 1], [2, 3]]), (3, 8, [[0, 1, 2]]), (1, 1, [[0]]), (0, 4, []),
])  # fmt: skip
def test_pieces_have_one_size_and_hold_every_row_first(n, size, want):
  found = [piece.tolist() for piece in pieces(n, size)]
  assert found == want
  assert np.concatenate([[], *found])[:n].tolist() == list(range(n))


@pytest.mark.parametrize("size", [0, -3, 1.5, None, "2"])
def test_a_size_without_rows_is_refused_at_once(size):
  with pytest.raises(Invalid, match="measure.chunk"):
    pieces(3, size, "measure.chunk")

import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.forget import compromise


def at_angle(degrees):
  a = np.deg2rad(degrees)
  return {"0": np.float32([1, 0])}, {"0": np.float32([np.cos(a), np.sin(a)])}


@pytest.mark.parametrize("rule, angle, released, wanted", [
  ("retain", 60, False, lambda r, f: -r), ("ascent", 60, False, lambda r, f: f),
  ("difference", 60, False, lambda r, f: (f - r) / 2),
  ("gru", 60, False, lambda r, f: f - (r @ f) * r), ("gru", 60, True, lambda r, f: f),
  ("gru", 120, False, lambda r, f: f), ("gru", 120, True, lambda r, f: f - (r @ f) * r),
  ("pcgrad", 60, False, lambda r, f: (-(r - (r @ f) * f) + f - (r @ f) * r) / 2),
  ("pcgrad", 120, False, lambda r, f: (f - r) / 2),
])  # fmt: skip
def test_the_plain_rules(rule, angle, released, wanted):
  g_r, g_f = at_angle(angle)
  delta, _ = compromise.joined(g_r, g_f, 0.5, rule, released)
  np.testing.assert_allclose(delta["0"], 0.5 * wanted(g_r["0"], g_f["0"]), atol=1e-6)
  if rule in ("gru", "pcgrad") and not released:
    assert float(tree.dot(delta, g_r)) <= 1e-6  # with the right sign neither harms what is kept


def test_an_unknown_rule_is_refused():
  with pytest.raises(Invalid, match="rule"):
    compromise.method("sum")

import jax
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


def softmax(z):
  z = np.exp(z - z.max(-1, keepdims=True))
  return z / z.sum(-1, keepdims=True)


@pytest.mark.parametrize("retain, forget", [("kl", "nll"), ("both", "kl")])
def test_a_run_on_other_losses_is_the_formula(bigram, retain, forget):
  """Four steps of ragged sequences against NumPy in float64, both gradients by hand: KL, and SCRUB."""
  arrays, before = bigram.data.arrays, np.float64(bigram.subject.params)
  method = compromise.method(rate=0.7, retain=retain, forget=forget, gamma=0.8, alpha=0.3, clip=0.4)
  state, table, step = method.init(jax.random.key(0), bigram), before.copy(), jax.jit(method.step)

  def sides(name):
    """nll and KL(before || now) of a set, each with its slope."""
    rows = bigram.data.sets[name]
    told = arrays["mask"][rows][:, 1:] > 0
    last, word = arrays["ids"][rows][:, :-1][told], arrays["ids"][rows][:, 1:][told]
    now, then, hit = softmax(table)[last], softmax(before)[last], np.eye(4)[word]
    slope = lambda off: np.stack([off[last == row].sum(0) for row in range(4)]) / len(last)
    nll, kl = -np.log(now[hit > 0]).mean(), (then * np.log(then / now)).sum(-1).mean()
    return {"nll": (nll, slope(now - hit)), "kl": (kl, slope(now - then))}

  for t in range(4):
    state, seen = step(state, method.batch(0, bigram, t))
    of_r, of_f = sides("retain"), sides("forget")
    parts = {"kl": {"kl": 1.0}, "both": {"nll": 0.8, "kl": 0.3}}[retain]
    loss, g_r = (sum(scale * of_r[kind][i] for kind, scale in parts.items()) for i in (0, 1))
    assert float(seen["loss"]) == pytest.approx(loss - of_f[forget][0], abs=2e-6)
    g_r, g_f = (g * min(1.0, 0.4 / max(np.linalg.norm(g), 1e-12)) for g in (g_r, of_f[forget][1]))
    table += 0.7 * (g_f - g_r) / 2
    np.testing.assert_allclose(state.params, table, atol=2e-6)
  assert np.abs(table - before).max() > 0.1


def test_an_unknown_rule_is_refused():
  with pytest.raises(Invalid, match="rule"):
    compromise.method("sum")
  with pytest.raises(Invalid, match="method.retain = 'none'"):
    compromise.method(retain="none")
  with pytest.raises(Invalid, match="method.forget = 'both'"):
    compromise.method(forget="both")

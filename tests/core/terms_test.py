"""Terms: sums and weights, combined once."""

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.terms import Term, combine, mean_term, safe


def test_mean_term_counts_only_unmasked_items():
  values, mask = np.float32([1, 2, 30, 4]), np.float32([1, 1, 0, 1])
  term = mean_term(jnp.asarray(values), jnp.asarray(mask), scale=2.0)
  assert float(term.total) == 7.0 and float(term.weight) == 3.0
  np.testing.assert_allclose(combine({"a": term}), 2 * 7 / 3, rtol=1e-6)


def test_combine_adds_scaled_means_of_different_weights():
  terms = {"a": Term(jnp.float32(6), jnp.float32(3)), "b": Term(jnp.float32(10), jnp.float32(4), -0.5)}
  np.testing.assert_allclose(combine(terms), 6 / 3 - 0.5 * 10 / 4, rtol=1e-6)


def test_parts_of_a_ragged_batch_add_up_to_the_mean_over_all():
  values = np.arange(8, dtype=np.float32).reshape(2, 4) ** 2
  mask = np.float32([[1, 1, 1, 1], [1, 0, 0, 0]])
  total = float(mask.sum())
  terms = [{"a": mean_term(jnp.asarray(v), jnp.asarray(m))} for v, m in zip(values, mask)]
  parts = [combine(t, lambda _: jnp.float32(total)) for t in terms]
  np.testing.assert_allclose(sum(parts), (values * mask).sum() / total, rtol=1e-6)
  mean_of_means = np.mean([(v * m).sum() / m.sum() for v, m in zip(values, mask)])
  assert abs(float(sum(parts)) - mean_of_means) > 0.5


def test_an_empty_term_is_zero_and_has_a_zero_gradient():
  loss = lambda w: combine({"a": mean_term(w * jnp.ones(3), jnp.zeros(3)), "b": mean_term(w * w * jnp.ones(2))})
  value, grad = jax.value_and_grad(loss)(jnp.float32(3))
  assert float(value) == 9.0 and float(grad) == 6.0
  assert float(safe(jnp.float32(0))) == 1.0 and float(safe(jnp.float32(0.5))) == 0.5


def test_the_weight_is_not_differentiated():
  loss = lambda w: combine({"a": Term(w * 2, w)})
  np.testing.assert_allclose(jax.grad(loss)(jnp.float32(4)), 2 / 4, rtol=1e-6)


def test_the_scale_may_be_traced():
  loss = jax.vmap(lambda s: combine({"a": mean_term(jnp.float32([1, 3]), scale=s)}))
  np.testing.assert_allclose(loss(jnp.float32([1, -2])), [2, -4])

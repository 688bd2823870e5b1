import itertools

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import lloyd, seeding
from ue_jax.cluster.distances import assign_top1


def test_positions_are_drawn_by_their_mass_and_never_without(key):
  mass = np.zeros(3000, np.float32)
  mass[[5, 1030, 2999]] = [1, 2, 7]
  drawn = np.asarray(jax.jit(seeding.draw, static_argnums=2)(key, mass, 20000))
  assert set(np.unique(drawn)) == {5, 1030, 2999}
  np.testing.assert_allclose([(drawn == i).mean() for i in (5, 1030, 2999)], [0.1, 0.2, 0.7], atol=0.015)


def test_known_centres_repel_and_are_not_returned(key):
  x = jnp.asarray(np.repeat(np.eye(3) * 9, 20, 0) + 0.01 * np.random.default_rng(0).normal(size=(60, 3)), jnp.float32)
  picks = jax.vmap(lambda k: seeding.plus_plus(k, x, 2, jnp.ones(60), known=x[:1]))(jax.random.split(key, 20))
  assert picks.shape == (20, 2)
  assert (np.sort(np.asarray(picks) // 20, axis=1) == [1, 2]).all()


def test_greedy_lowers_the_cost_and_so_does_the_parallel_form(key):
  rng = np.random.default_rng(1)
  x = jnp.asarray(rng.normal(size=(30, 4))[rng.integers(0, 30, 600)] * 5 + rng.normal(size=(600, 4)), jnp.float32)
  ones, keys = jnp.ones(600), jax.random.split(key, 20)
  away = lambda centers: jnp.sum(jnp.min(jnp.sum((x[:, None] - centers) ** 2, -1), axis=1))
  cost = lambda how: np.asarray(jax.jit(jax.vmap(lambda k: away(how(k))))(keys)).mean()
  random = cost(lambda k: x[jax.random.choice(k, 600, (30,), replace=False)])
  plain = cost(lambda k: x[seeding.plus_plus(k, x, 30, ones, trials=1)])
  greedy = cost(lambda k: x[seeding.plus_plus(k, x, 30, ones)])
  parallel = cost(lambda k: seeding.parallel(k, x, 30, ones))
  assert greedy < plain < random
  assert parallel < 1.15 * greedy


def test_the_power_says_how_far_rows_are_preferred(key):
  """Plain seeding of two from three places: the second is drawn by distance^power, at 1 and 4 from the first."""
  x = jnp.asarray([[0.0], [1.0], [4.0]])
  pick = lambda power: jax.jit(jax.vmap(
    lambda k: seeding.plus_plus(k, x, 1, jnp.ones(3), trials=1, power=power, known=x[:1])[0]))  # fmt: skip
  for power, share in ((1.0, 4 / 5), (2.0, 16 / 17)):
    drawn = np.asarray(pick(power)(jax.random.split(key, 4000)))
    assert set(np.unique(drawn)) == {1, 2}
    np.testing.assert_allclose((drawn == 2).mean(), share, atol=0.02)


def test_the_power_holds_for_chosen_rows_as_for_known_ones(key):
  """Three from four places: whichever was first, the others follow by the distances to all that were chosen."""
  x = jnp.asarray([[0.0], [1.0], [4.0], [9.0]])
  picks = jax.vmap(lambda k: seeding.plus_plus(k, x, 2, jnp.ones(4), trials=1, power=1.0))(jax.random.split(key, 8000))
  picks = np.asarray(picks)
  for first, masses in ((0, [0, 1, 4, 9]), (3, [9, 8, 5, 0])):
    second = np.bincount(picks[picks[:, 0] == first, 1], minlength=4)
    np.testing.assert_allclose(second / second.sum(), np.array(masses) / sum(masses), atol=0.04)


def test_the_expected_cost_keeps_the_bound_of_the_paper_over_the_best_of_all_partitions(key):
  """Fifty sets of twelve rows in three far groups, plain and greedy; rows drawn alike break the bound."""
  rng = np.random.default_rng(0)
  x = rng.normal(size=(50, 12, 2)) + 50 * rng.normal(size=(50, 3, 2))[:, np.arange(12) % 3]
  x = x - x.mean(1, keepdims=True)
  parts = np.array([(0, next_one, *rest) for next_one in (0, 1) for rest in itertools.product(range(3), repeat=10)])
  flat, between = x.transpose(1, 0, 2).reshape(12, 100), 0
  for cluster in range(3):
    member = (parts == cluster).astype(np.float64)
    squares = (member @ flat) ** 2
    between += (squares[:, ::2] + squares[:, 1::2]) / np.maximum(member.sum(1), 1)[:, None]
  best = (x**2).sum((1, 2)) - between.max(0)

  def expected(draw):
    cost = lambda key, x: jnp.sum(jnp.min(jnp.sum((x[:, None] - x[draw(key, x)]) ** 2, -1), axis=1))
    mean = lambda x: jnp.mean(jax.vmap(cost, (0, None))(jax.random.split(key, 200), x))
    return np.asarray(jax.jit(jax.vmap(mean))(jnp.asarray(x, jnp.float32)))

  bound = 8 * (np.log(3) + 2) * best
  ones = jnp.ones(12)
  plain = expected(lambda key, x: seeding.plus_plus(key, x, 3, ones, trials=1))
  greedy = expected(lambda key, x: seeding.plus_plus(key, x, 3, ones))
  alike = expected(lambda key, x: jax.random.choice(key, 12, (3,), replace=False))
  assert (plain >= best * (1 - 1e-3)).all() and (plain <= bound).all() and (greedy <= bound).all()
  assert (alike > bound).mean() > 0.9


def test_greedy_seeding_of_digits_ends_no_higher_than_the_plain_one(key):
  from sklearn.datasets import load_digits

  x = load_digits().data
  x = jnp.asarray(x - x.mean(0), jnp.float32)
  ones, keys = jnp.ones(len(x)), jax.random.split(key, 20)
  one = lambda key, trials: seeding.plus_plus(key, x, 10, ones, trials=trials)
  seed = jax.jit(lambda keys, trials: jax.vmap(lambda key: one(key, trials))(keys), static_argnums=1)

  @jax.jit
  def costs(at):
    before = jnp.sum(assign_top1(x, x[at])[1])
    return jnp.stack([before, lloyd.descend(x, ones, jnp.float32(1e-4), jnp.int32(300), x[at]).cost])

  greedy, plain = (np.mean([costs(at) for at in seed(keys, trials)], axis=0) for trials in (0, 1))
  assert greedy[0] < 0.9 * plain[0]
  assert greedy[1] <= plain[1]

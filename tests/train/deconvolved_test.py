"""Adversarial training against filters: what a filter does, that ascent finds worse ones, and whose pictures count."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.build import build
from ue_jax.core.errors import Invalid
from ue_jax.data import embedded
from ue_jax.models import mlp
from ue_jax.parallel import spread
from ue_jax.train import deconvolved, losses, supervised
from ue_jax.train.deconvolved import Filters

MODEL = mlp.model(widths=(16,))
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def data():
  return embedded.data("digits", train=600, test=300)


@pytest.mark.parametrize("size", [3, 5])
def test_a_filter_is_a_transposed_convolution_brought_to_the_unit_range(size, key):
  x, labels = RNG.random((4, 9, 7, 3), np.float32), np.array([1, 0, 2, 1])
  filters = deconvolved.fresh(key, 3, size)
  assert filters.weight.shape == (3, size, size) and np.abs(filters.weight).max() <= 1 / size
  for i, label in enumerate(labels):
    channels = np.moveaxis(x[i], -1, 0)[..., None]
    pad = (size - 1) // 2
    turned = jax.lax.conv_transpose(  # the gradient of a convolution, which is what other libraries mean by it
      channels, filters.weight[label][:, :, None, None], (1, 1), [(pad, pad)] * 2, transpose_kernel=True
    )
    out = np.moveaxis(np.asarray(turned)[..., 0], 0, -1) + filters.bias[label]
    expected = (out - out.min()) / (out.max() - out.min())
    np.testing.assert_allclose(deconvolved.applied(filters, x, labels)[i], expected, atol=1e-5)


def test_what_a_filter_makes_flat_is_black_and_has_a_gradient():
  flat = Filters(jnp.zeros((1, 3, 3)), jnp.ones(1))
  look = lambda filters: deconvolved.applied(filters, RNG.random((2, 4, 4, 1), np.float32), np.array([0, 0]))
  assert not np.any(jax.jit(look)(flat))
  slope = jax.jit(jax.grad(lambda f: look(f).sum()))(flat)
  assert all(np.isfinite(leaf).all() for leaf in slope)


def test_a_step_of_the_ascent_follows_each_classes_own_mean(key):
  x, labels = RNG.random((6, 5, 5, 1), np.float32), np.array([0, 0, 0, 1, 1, 2])
  mask = np.array([1, 1, 0, 1, 1, 0], np.float32)
  weights = RNG.normal(size=(25, 3)).astype(np.float32)
  network = lambda x: 3 * x.reshape(len(x), -1) @ weights
  filters = deconvolved.fresh(key, 3, 3)
  filters = filters._replace(weight=filters.weight.at[1, 0, 0].set(9.0))
  cut = filters._replace(weight=filters.weight.at[1, 0, 0].set(5.0))

  @jax.jit
  def mean(filters, x, labels):
    return losses.cross_entropy(network(deconvolved.applied(filters, x, labels)), labels).mean()

  worst = jax.jit(lambda filters, steps: deconvolved.worst(network, filters, x, labels, labels, mask, 0.1, steps),
                  static_argnums=1)  # fmt: skip
  found = worst(filters, 1)
  for kind, rows in ((0, np.array([0, 1])), (1, np.array([3, 4]))):
    slope = jax.jit(jax.grad(mean))(cut, x[rows], labels[rows])
    np.testing.assert_allclose(found.weight[kind], (cut.weight + 0.1 * slope.weight)[kind], atol=1e-5)
    np.testing.assert_allclose(found.bias[kind], (cut.bias + 0.1 * slope.bias)[kind], atol=1e-5)
  np.testing.assert_array_equal(found.weight[2], filters.weight[2])  # its only picture is padding
  many = worst(cut, 10)
  for rows in ([0, 1], [3, 4]):
    assert float(mean(many, x[rows], labels[rows])) > float(mean(cut, x[rows], labels[rows])) + 0.02


def test_it_trains_on_what_the_ascent_made_worse_and_devices_share_the_work(data):
  make = lambda attack_steps, step_size: deconvolved.train(
    MODEL, batch_size=30, optimizer="sgd", rate=0.1, attack_steps=attack_steps, step_size=step_size
  )
  trained = supervised.train(MODEL, steps=120, batch_size=60, rate=1e-2)
  state = trained.init(jax.random.key(0), data)
  step = jax.jit(trained.step)
  for t in range(120):
    state, _ = step(state, trained.batch(0, data, t))
  run = make(10, 0.5)
  begin = lambda run: run.init(jax.random.key(0), data)._replace(params=state.params)
  batch = run.batch(0, data, 0)
  one, metrics = spread.spread(run.step, mode="one")(begin(run), batch)
  _, random = spread.spread(make(0, 0.5).step, mode="one")(begin(run), batch)
  assert float(metrics["loss"]) > float(random["loss"]) + 0.1
  for mode in ("jit", "shard_map"):
    many, _ = spread.spread(run.step, mode=mode)(begin(run), batch)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(many.params)):
      np.testing.assert_allclose(a, b, atol=1e-5)


def test_it_takes_the_arguments_of_plain_training():
  own, of = (inspect.signature(fn).parameters for fn in (deconvolved.train, supervised.train))
  assert all(own[name].default == p.default for name, p in of.items())
  assert build("train", "train.deconvolved", model=MODEL, steps=7, rate=0.1).steps == 7


@pytest.mark.parametrize("kw, field", [
  ({"size": 4}, "train.size"), ({"attack_steps": -1}, "train.attack_steps"), ({"step_size": -0.1}, "train.step_size"),
  ({"batch_size": 0}, "train.batch_size"),
])  # fmt: skip
def test_what_does_not_fit_is_named(kw, field):
  with pytest.raises(Invalid, match=field):
    deconvolved.train(MODEL, **kw)

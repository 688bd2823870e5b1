import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import pictures as convert
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.forget import lipschitz
from ue_jax.parallel import sweep
from ue_jax.train import loop, supervised

fit = functools.partial(loop.fit, mode="one")


def test_slopes_are_the_formula():
  rng = np.random.default_rng(0)
  image, noise, w = rng.random((4, 2, 2, 1)), rng.normal(size=(3, 4, 2, 2, 1)), rng.normal(size=(4, 5))
  look = lambda x: jnp.tanh(x.reshape(-1, 4) @ w)
  f = lambda x: np.tanh(x.reshape(-1, 4) @ w)
  want = [np.linalg.norm(f(image) - f(image + z), axis=1) / np.linalg.norm(z.reshape(4, -1), axis=1) for z in noise]
  found = lipschitz.slopes(look, jnp.float32(image), jnp.float32(noise), False)
  np.testing.assert_allclose(found, np.mean(want, axis=0), rtol=1e-5)


def test_the_gradient_flows_through_both_outputs_or_through_that_of_the_picture_alone():
  """f(x) = w x: the slope is |w|. Through both its gradient is +-1; through f(x) alone x / z times the sign."""
  image, noise = jnp.full((1, 1, 1, 1), 0.25), jnp.full((1, 1, 1, 1, 1), 0.5)
  slope = lambda w, through: lipschitz.slopes(lambda x: w * x.reshape(-1, 1), image, noise, through)[0]
  for through, want in ((True, 1.0), (False, -0.5)):
    value, found = jax.jit(jax.value_and_grad(slope), static_argnums=1)(-2.0, through)
    assert float(value) == pytest.approx(2.0)
    assert float(found) == pytest.approx(-want)


def test_where_two_outputs_are_one_the_gradient_is_zero_and_finite():
  image, noise = jnp.ones((1, 1, 1, 1)), jnp.ones((2, 1, 1, 1, 1))
  slope = lambda w: lipschitz.slopes(lambda x: w * x.reshape(-1, 1), image, noise)[0]
  assert float(jax.jit(jax.grad(slope))(0.0)) == 0


def test_a_step_is_that_of_plain_descent_on_the_mean_with_ragged_weights_and_noise_of_that_size(pictures):
  data, apply = pictures.data, pictures.subject.model.apply
  method = lambda rate, sigma: lipschitz.method(rate=rate, sigma=sigma, samples=5, forget_batch=10, through=True)
  state, batch = method(0.1, 0.3).init(jax.random.key(0), pictures), method(0.1, 0.3).batch(0, pictures, 0)
  assert set(batch) == {"forget"} and (data.arrays["label"][data.sets["forget"]][batch["forget"]["row"]] == 2).all()
  batch["forget"]["mask"] = np.float32([1, 1, 0, 1, 0, 1, 1, 1, 1, 0])
  step = jax.jit(lambda rate, sigma: method(rate, sigma).step(state, batch)[0].params)
  image = convert.to_float(jnp.asarray(batch["forget"]["image"]))
  z = jax.random.normal(jax.random.fold_in(state.key, 0), (5, *image.shape))

  def loss(params, sigma):
    f = [apply(params, image + sigma * one).logits - apply(params, image).logits for one in z]
    size = jnp.sqrt(jnp.sum((sigma * z) ** 2, axis=(2, 3, 4)))
    return jnp.sum(batch["forget"]["mask"] * jnp.mean(jnp.linalg.norm(jnp.stack(f), axis=-1) / size, axis=0)) / 7

  slope = jax.jit(jax.grad(loss))
  for rate, sigma in ((0.1, 0.3), (0.02, 0.7)):
    want = jax.tree.map(lambda p, g, rate=rate: p - rate * g, state.params, slope(state.params, sigma))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), step(rate, sigma), want)


def test_neither_labels_nor_what_is_kept_is_read(pictures):
  data = pictures.data
  arrays, rows = dict(data.arrays), data.sets["retain"]
  arrays["image"] = data.arrays["image"].copy()
  arrays["image"][rows] = 0
  arrays["label"] = (data.arrays["label"] + 1) % 3
  sets = {name: rows for name, rows in data.sets.items() if name != "retain"}
  other = pictures._replace(data=data._replace(arrays=arrays, sets=sets))
  one, two = (fit(lipschitz.method(steps=3), request) for request in (pictures, other))
  assert tree.fingerprint(one.params) == tree.fingerprint(two.params) != tree.fingerprint(pictures.subject.params)


def test_the_class_is_forgotten_and_the_others_are_kept_and_settings_run_as_one_program(pictures):
  share = lambda subject, name: supervised.accuracies(
    subject.model, subject.params, subject.state, pictures.data, "label", (name,)
  )[f"{name}_accuracy"]
  grid = sweep.grid(rate=[1e-9, 1.0], sigma=[0.5])
  none, after = sweep.sweep(functools.partial(lipschitz.method, steps=10), grid, pictures, mode="vmap")
  assert share(none, "forget") > 0.9 and share(none, "retain") > 0.9
  assert share(after, "forget") < 0.1 and share(after, "retain") > 0.9


def test_what_makes_no_sense_is_refused():
  for field in ("sigma", "samples", "forget_batch"):
    with pytest.raises(Invalid, match=f"method.{field}"):
      lipschitz.method(**{field: 0})

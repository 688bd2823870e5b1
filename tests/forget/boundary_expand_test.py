import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import utility
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.forget import boundary_expand
from ue_jax.models.model import Out
from ue_jax.train import loop


def test_the_further_neuron_reads_the_features_behind_the_logits():
  out = Out(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]))
  wide = boundary_expand.widened(out, {"kernel": jnp.array([1.0, 10.0, 100.0]), "bias": jnp.array(0.5)})
  np.testing.assert_array_equal(wide, [[1.0, 2.0, 201.5], [3.0, 4.0, 10.5]])


def test_the_loss_is_that_of_a_class_that_did_not_exist(pictures):
  method = boundary_expand.method(forget_batch=30)
  state, batch = method.init(jax.random.key(0), pictures), method.batch(0, pictures, 0)
  _, metrics = jax.jit(method.step)(state, batch)
  out = pictures.subject.model.apply(state.params["model"], batch["forget"]["image"])
  wide = np.asarray(boundary_expand.widened(out, state.params["neuron"]), np.float64)
  want = np.mean(np.log(np.exp(wide).sum(1)) - wide[:, 3])
  np.testing.assert_allclose(metrics["loss"], want, rtol=1e-5)


def test_the_neuron_begins_as_small_as_it_is_told_to(pictures):
  begin = lambda size: boundary_expand.method(size=size).init(jax.random.key(0), pictures).params["neuron"]
  one, half = begin(1.0), begin(0.5)
  np.testing.assert_allclose(half["kernel"], one["kernel"] / 2, rtol=1e-6)
  assert np.all(one["kernel"] != 0) and float(one["bias"]) == 0


def test_only_the_leaves_asked_for_are_trained(pictures):
  after = loop.fit(boundary_expand.method(rate=1e-2, steps=2, trainable="head"), pictures, mode="one")
  same = jax.tree.map(lambda a, b: bool((a == b).all()), after.params, pictures.subject.params)
  assert not any(jax.tree.leaves(same["head"])) and all(jax.tree.leaves({k: v for k, v in same.items() if k != "head"}))
  for nothing in ("neuron", "^head"):  # names begin with model/
    with pytest.raises(Invalid, match="method.trainable = .*model/head/kernel"):
      boundary_expand.method(trainable=nothing).init(jax.random.key(0), pictures)


def test_the_class_is_forgotten_and_the_neuron_is_gone(pictures):
  method = boundary_expand.method(rate=1e-2, steps=40)
  assert set(method.batch(0, pictures, 0)) == {"forget"}
  after = loop.fit(method, pictures, mode="one")
  assert tree.shapes(after.params) == tree.shapes(pictures.subject.params)
  look = lambda subject: utility.scores(pictures._replace(subject=subject), ("forget", "retain"))
  before, scores = look(pictures.subject), look(after)
  assert scores["forget/nll"].value > before["forget/nll"].value + 1
  assert scores["retain/accuracy"].value > 0.6

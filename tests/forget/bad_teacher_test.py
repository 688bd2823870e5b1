import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import utility
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.forget import bad_teacher
from ue_jax.train import loop


def softmax(logits):
  z = np.asarray(logits, np.float64)
  return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


@pytest.mark.parametrize("elementwise", [False, True])
def test_the_loss_is_the_mean_of_the_divergence_from_the_teacher_of_each_sample(pictures, elementwise):
  method = bad_teacher.method(share=1.0, batch_size=20, temperature=2.0, elementwise=elementwise)
  state, batch = method.init(jax.random.key(0), pictures), method.batch(0, pictures, 0)
  part, apply = batch["mixed"], pictures.subject.model.apply
  moved = state._replace(params=jax.tree.map(lambda x: x * 1.3, state.params))
  good, bad, now = (softmax(apply(p, part["image"]).logits / 2.0)
                    for p in (pictures.subject.params, state.frozen["bad"][0], moved.params))
  teacher = np.where(part["forgotten"][:, None] > 0, bad, good)
  want = np.mean(np.sum(teacher * np.log(teacher / now), -1)) / (3 if elementwise else 1)
  assert 0 < part["forgotten"].sum() < 20
  assert float(jax.jit(method.step)(moved, batch)[1]["loss"]) == pytest.approx(want, rel=1e-4)


def test_the_bad_teacher_is_a_fresh_network_of_the_key(pictures):
  one, same, other = (bad_teacher.method().init(jax.random.key(seed), pictures).frozen["bad"] for seed in (0, 0, 1))
  assert tree.fingerprint(one) == tree.fingerprint(same) != tree.fingerprint(other)
  assert tree.shapes(one[0]) == tree.shapes(pictures.subject.params)


def test_labels_are_not_read(pictures):
  data = pictures.data
  absurd = Data({**data.arrays, "label": (data.arrays["label"] + 1) % 3}, data.sets, data.info)
  run = lambda request: loop.fit(bad_teacher.method(steps=4), request, mode="one").params
  ends = [run(pictures), run(pictures._replace(data=absurd))]
  assert tree.fingerprint(ends[0]) == tree.fingerprint(ends[1])


def test_the_class_becomes_as_unknown_as_to_a_fresh_network_and_the_others_are_kept(pictures):
  after = loop.fit(bad_teacher.method(share=1.0, steps=80, rate=1e-2), pictures, mode="one")
  before, scores = (utility.scores(pictures._replace(subject=s), ("forget", "retain"))
                    for s in (pictures.subject, after))
  assert before["forget/accuracy"].value > 0.9  # doing nothing would stay there
  assert scores["forget/accuracy"].value < 0.6 and scores["retain/accuracy"].value > 0.9
  assert scores["forget/nll"].value > before["forget/nll"].value + 0.5


def test_the_temperature_may_be_traced_and_must_be_positive(pictures):
  def run(temperature):
    method = bad_teacher.method(temperature=temperature)
    return method.step(method.init(jax.random.key(0), pictures), method.batch(0, pictures, 0))[1]["loss"]

  both = jax.jit(jax.vmap(run))(jnp.array([1.0, 4.0]))
  assert both[1] < both[0] and float(both[0]) == pytest.approx(float(jax.jit(lambda: run(1.0))()), rel=1e-4)
  with pytest.raises(Invalid, match="method.temperature = 0"):
    bad_teacher.method(temperature=0)

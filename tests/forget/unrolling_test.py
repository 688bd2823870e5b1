import functools

import jax
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.pictures import to_float
from ue_jax.forget import gradients, unrolling
from ue_jax.models import mlp
from ue_jax.models.model import Model, Out
from ue_jax.parallel import sweep
from ue_jax.train import loop, losses, supervised

fit = functools.partial(loop.fit, mode="one")
STEPS = 6  # of 15 samples: one pass over the 90


def train(request, rate=1e-2, **more):
  plain = dict(steps=STEPS, batch_size=15, rate=rate, optimizer="sgd", momentum=0.0)
  return supervised.train(request.subject.model, **{**plain, **more})


@pytest.fixture(scope="module")
def batch(pictures):
  """The request to forget all that the third batch saw."""
  data = pictures.data
  index = train(pictures).batch(0, data, 2)["index"]
  at = np.flatnonzero(np.isin(data.arrays["index"], index)).astype(np.int32)
  sets = {**data.sets, "forget": at, "retain": np.setdiff1d(data.sets["train"], at)}
  return pictures._replace(data=Data(data.arrays, sets, data.info))


def skipped(request, rate):
  """The parameters after training that leaves the third batch out."""
  procedure = train(request, rate)
  state, step = procedure.init(jax.random.key(0), request.data), jax.jit(procedure.step)
  for t in range(STEPS):
    new, _ = step(state, procedure.batch(0, request.data, t))
    state = state._replace(step=state.step + 1) if t == 2 else new
  return state.params


def far(a, b):
  return float(tree.norm(jax.tree.map(lambda x, y: x - y, a, b)))


def test_it_is_training_without_the_batch_up_to_the_square_of_the_rate(batch):
  left, whole = [], []
  for rate in (1e-1, 1e-2):
    subject = fit(train(batch, rate), batch.data)
    got = fit(unrolling.method(train(batch, rate), rate=rate), batch._replace(subject=subject))
    retrained = skipped(batch, rate)
    left.append(far(got.params, retrained))
    whole.append(far(subject.params, retrained))
  assert 5 < whole[0] / whole[1] < 20  # the verification error of doing nothing is of the order of the rate ...
  assert 40 < left[0] / left[1] < 250 and left[1] < 0.1 * whole[1]  # ... and what is left of that of its square


def test_a_checkpoint_is_the_weights_of_that_step_and_all_passes_are_given_back(batch):
  """They are those of a training stopped there, of what is forgotten as well."""
  recipe, subject = train(batch, 0.3), batch.subject
  stopped = fit(recipe._replace(steps=4), batch.data, seed=2)
  total = gradients.summed(batch._replace(subject=stopped), "forget")
  got = fit(unrolling.method(recipe, rate=0.3, checkpoint=4), batch, seed=2).params
  want = jax.tree.map(lambda p, g: np.float64(p) + 0.3 * STEPS / 90 * np.float64(g), subject.params, total)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, want)
  early = fit(unrolling.method(recipe, rate=0.3), batch, seed=2).params
  assert far(got, early) > 0.1 * far(early, subject.params)


@pytest.mark.parametrize("seed", [0, 3])
def test_it_begins_to_the_last_bit_where_the_training_of_its_seed_began(pictures, seed):
  """A training of no step gives its start away; where the method began is seen as it asks the training."""
  start, seen, recipe = lambda seed: fit(train(pictures, steps=0), pictures.data, seed=seed).params, {}, train(pictures)
  spy = recipe._replace(init=lambda key, data: seen.setdefault("first", recipe.init(key, data)))
  fit(unrolling.method(spy), pictures, seed=seed)
  assert tree.fingerprint(seen["first"].params) == tree.fingerprint(start(seed))
  assert tree.fingerprint(seen["first"].params) != tree.fingerprint(start(seed + 1))


def test_the_gradient_is_taken_there_once_a_pass_for_every_sample(pictures):
  """Ten steps of 45 are five passes over 90, whatever is kept beside what is forgotten."""
  data, model = pictures.data, pictures.subject.model
  recipe = train(pictures, steps=10, batch_size=45)
  start, rows = recipe.init(jax.random.key(4), data).params, data.sets["forget"]
  image, label = data.arrays["image"][rows], data.arrays["label"][rows]
  nll = lambda params, x, y: losses.cross_entropy(model.apply(params, x[None]).logits, y[None])[0]
  each = jax.jit(jax.vmap(jax.grad(nll), (None, 0, 0)))(start, image, label)
  total = jax.tree.map(lambda g: np.sum(np.float64(g), axis=0), each)
  after = unrolling.method(recipe, rate=0.02)
  after = after.finish(after.init(jax.random.key(4), pictures), pictures)
  want = jax.tree.map(lambda p, g: np.float64(p) + 0.02 * 5 / 45 * g, pictures.subject.params, total)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), after.params, want)


def centred():
  """A Model of one layer on pictures less a mean, its batch statistics, which begin as drawn by the key."""

  def apply(params, image, *, state={}, train=False, key=None, taps={}):
    x = to_float(image).reshape(len(image), -1)
    mean = x.mean(0) if train else state["mean"]
    return Out((x - mean) @ params["w"], x - mean, {"mean": mean})

  def init(key, image):
    one, two = jax.random.split(key)
    return {"w": jax.random.normal(one, (image[0].size, 3))}, {"mean": jax.random.uniform(two, (image[0].size,))}

  return Model(init, apply)


@pytest.mark.parametrize("checkpoint", [0, 2])
def test_batch_statistics_are_those_of_there_for_the_gradient_and_the_subjects_own_at_the_end(pictures, checkpoint):
  net, data = centred(), pictures.data
  subject = Subject(net, *net.init(jax.random.key(9), data.arrays["image"][:1]))
  asked, recipe = pictures._replace(subject=subject), supervised.train(net, steps=10, batch_size=45)
  start, rows = fit(recipe._replace(steps=checkpoint), data, seed=4), data.sets["forget"]
  x = data.arrays["image"][rows].reshape(len(rows), -1) / 255 - np.float64(start.state["mean"])
  p = np.exp(x @ np.float64(start.params["w"]))
  gradient = x.T @ (p / p.sum(1, keepdims=True) - np.eye(3)[data.arrays["label"][rows]])
  after = fit(unrolling.method(recipe, rate=0.02, checkpoint=checkpoint), asked, seed=4)
  want = np.float64(subject.params["w"]) + 0.02 * 5 / 45 * gradient
  np.testing.assert_allclose(after.params["w"], want, rtol=1e-4, atol=1e-5)
  assert tree.fingerprint(after.state) == tree.fingerprint(subject.state)


@pytest.mark.parametrize("checkpoint", [0, 2])
def test_rates_run_as_one_program(batch, checkpoint):
  factory = lambda rate: unrolling.method(train(batch), rate=rate, checkpoint=checkpoint)
  many = sweep.sweep(factory, sweep.grid(rate=[0.0, 1e-2, 2e-2]), batch, mode="vmap")
  assert tree.fingerprint(many[0].params) == tree.fingerprint(batch.subject.params)
  moved = [far(one.params, batch.subject.params) for one in many[1:]]
  assert moved[0] > 0 and moved[1] == pytest.approx(2 * moved[0], rel=1e-4)


def test_labels_of_what_is_forgotten_count_and_what_is_kept_is_only_counted(batch):
  data, key = batch.data, jax.random.key(0)
  method = unrolling.method(train(batch), rate=1.0)
  go = lambda request: method.finish(method.init(key, request), request).params
  image = data.arrays["image"].copy()
  image[data.sets["retain"]] = 0
  kept = batch._replace(data=Data({**data.arrays, "image": image}, data.sets, data.info))
  wrong = batch._replace(data=Data({**data.arrays, "label": (data.arrays["label"] + 1) % 3}, data.sets, data.info))
  assert tree.fingerprint(go(kept)) == tree.fingerprint(go(batch)) != tree.fingerprint(go(wrong))


def test_the_training_of_another_network_is_refused(pictures):
  other = supervised.train(mlp.model(3, widths=(5,)), steps=2, batch_size=15)
  with pytest.raises(Invalid, match="method.train"):
    unrolling.method(other).init(jax.random.key(0), pictures)
  beyond = dict(train=other, checkpoint=3)
  for field, wrong in (("rate", dict(train=other, rate=-1e-3)), ("train", dict(train=None)), ("checkpoint", beyond)):
    with pytest.raises(Invalid, match=f"method.{field}"):
      unrolling.method(**wrong)

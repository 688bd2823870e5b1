import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request, Subject
from ue_jax.core.pictures import to_float
from ue_jax.core.tree import fingerprint, shapes
from ue_jax.forget import gkt
from ue_jax.models import cnn, from_latent
from ue_jax.models.model import Model, Out
from ue_jax.parallel import spread
from ue_jax.train import supervised

KEY = jax.random.key(0)
FEW = dict(batch_size=64, latent=8, width=8, student_steps=4, steps=60)
make = functools.partial(gkt.method, **FEW)


@functools.cache
def stepped():
  """A step for any gate, weight of the attention and student's rate: one program."""
  return jax.jit(lambda state, batch, gate, beta, rate: make(gate, beta, rate=rate).step(state, batch))


def run(request, gate=0.01, beta=5.0, rate=3e-3, steps=60):
  method = make()
  state = method.init(KEY, request)
  for t in range(steps):
    state, metrics = stepped()(state, method.batch(0, request, t), gate, beta, rate)
  return method.finish(state, request), metrics, state


def paint(made, batch):
  return from_latent.generator((4, 4, 1), 8).apply(made, batch["latent"]["z"]).features


def shares(subject, data):
  found = supervised.accuracies(subject.model, subject.params, subject.state, data, "label", ("forget", "retain"))
  return found["forget_accuracy"], found["retain_accuracy"]


def test_the_class_is_not_learned_through_the_gate_and_is_without_it(pictures):
  assert shares(pictures.subject, pictures.data)[0] > 0.9  # doing nothing stays there
  gated, metrics, _ = run(pictures)
  forgotten, kept = shares(gated, pictures.data)
  assert forgotten < 0.1 and kept > 0.9
  assert 0 < metrics["passed"].total < metrics["passed"].weight == 64
  without, metrics, _ = run(pictures, gate=1.0)
  forgotten, kept = shares(without, pictures.data)
  assert forgotten > 0.9 and kept > 0.9  # so it is the gate that forgets
  assert metrics["passed"].total == 64


def test_no_picture_is_read(pictures):
  data = pictures.data
  rng = np.random.default_rng(0)
  blind = {**data.arrays, "image": rng.integers(0, 256, data.arrays["image"].shape).astype(np.uint8)}
  other = data._replace(arrays=blind, sets={**data.sets, "retain": data.sets["retain"][:0]})
  (one, *_), (two, *_) = (run(pictures._replace(data=x), steps=3) for x in (data, other))
  assert fingerprint(one.params) == fingerprint(two.params) != fingerprint(pictures.subject.params)
  gone = data._replace(sets={**data.sets, "forget": data.sets["train"][:1]})  # another class
  assert fingerprint(run(pictures._replace(data=gone), steps=3)[0].params) != fingerprint(one.params)
  assert set(make().batch(0, pictures, 0)) == {"latent"}


def test_the_gate_lets_through_what_is_no_class_to_forget_and_copies_fill_the_rest():
  p = np.array([[0.9, 0.05, 0.05], [0.992, 0.004, 0.004], [0.4, 0.3, 0.3], [0.985, 0.01, 0.005], [0.98, 0.02, 0.0]])
  mask = np.float32([1, 1, 1, 0, 1])
  for gone, gate, passed in (((1, 2), 0.01, [1]), ((2,), 0.01, [1, 4]), ((1, 2), 1.0, [0, 1, 2, 4]), ((0,), 0.1, [])):
    flags = np.isin(np.arange(3), gone)
    order, weight = gkt.admitted(np.log(p + 1e-9), flags, mask, gate)
    np.testing.assert_array_equal(weight, np.arange(5) < len(passed))
    assert order[: len(passed)].tolist() == passed
    assert not passed or set(order.tolist()) == set(passed)  # nothing else is looked at


def test_attention_is_over_positions_of_length_1_or_units():
  x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
  want = np.mean(np.float64(x) ** 2, axis=-1).reshape(2, 12)
  np.testing.assert_allclose(gkt.attention(x), want / np.linalg.norm(want, axis=-1, keepdims=True), rtol=1e-5)
  want = np.float64(x[:, 0, 0]) ** 2
  np.testing.assert_allclose(gkt.attention(x[:, 0, 0]), want / np.linalg.norm(want, axis=-1, keepdims=True), rtol=1e-5)
  assert np.isfinite(jax.jit(jax.grad(lambda x: jnp.sum(gkt.attention(x))))(jnp.zeros((2, 3)))).all()


def test_the_losses_are_the_formulas_and_each_network_moves_by_its_own_rate(pictures):
  """Adam's first update moves a parameter by its rate, whatever the size of the gradient; KL is a mean over classes."""
  more = dict(batch_size=16, latent=8, width=8, generator_steps=1, student_steps=1, clip=0.0, generator_rate=4e-3)
  method = lambda beta, temperature: gkt.method(0.4, beta, temperature, rate=2e-3, **more)
  state, batch = method(1.0, 1.0).init(KEY, pictures), method(1.0, 1.0).batch(0, pictures, 0)
  step = jax.jit(lambda *n: method(*n).step(state, batch))
  apply = pictures.subject.model.apply
  both = jax.jit(lambda *trees: [gkt.seen(apply, one, {}, paint(trees[0], batch), ("block_0",)) for one in trees[1:]])
  log = lambda z: z - np.log(np.exp(z).sum(-1, keepdims=True))
  for beta, temperature in ((1.0, 1.0), (30.0, 2.0)):
    new, metrics = step(beta, temperature)
    for made, name in ((state.generator[0], "generator"), (new.generator[0], "loss")):
      (t, (a,)), (s, (b,)) = both(made, pictures.subject.params, state.params)
      t, s = (np.float64(out.logits) for out in (t, s))
      weigh = (np.exp(log(t))[:, 2] <= 0.4).astype(np.float64)  # class 2 is to be forgotten
      assert 0 < weigh.sum() < 16
      kl = np.mean(np.exp(log(t / temperature)) * (log(t / temperature) - log(s / temperature)), axis=-1)
      value = -kl if name == "generator" else kl + beta * np.mean((np.float64(a) - b) ** 2, axis=-1)
      assert float(metrics[name]) == pytest.approx(np.average(value, weights=weigh), rel=1e-3)
    far = lambda x, y: max(np.abs(np.asarray(a - b)).max() for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y)))
    assert far(new.params, state.params) == pytest.approx(2e-3, rel=2e-2)
    assert far(new.generator[0], state.generator[0]) == pytest.approx(4e-3, rel=2e-2)


def test_where_nothing_comes_through_nothing_changes(pictures):
  _, metrics, state = run(pictures, gate=1e-9, steps=2)
  held = lambda state: fingerprint((state.params, state.opt, state.generator))
  assert metrics["passed"].total == 0 and int(state.step) == 2
  assert held(state) == held(make().init(KEY, pictures))


def plain(shape, width):
  """A generator of one layer, without the batch statistics of `from_latent`, which are per device."""
  del width
  init = lambda key, z: ({"w": jax.random.normal(key, (z.shape[-1], np.prod(shape)))}, {})

  def apply(params, z, **_):
    x = jax.nn.sigmoid(z @ params["w"]).reshape(len(z), *shape)
    return Out(jnp.zeros((len(z), 0)), x, {})

  return Model(init, apply)


def test_over_devices_the_numbers_are_those_of_one(pictures, monkeypatch):
  """Devices have other z, and other numbers of them; moments, for the size of a gradient is lost in Adam's steps."""
  monkeypatch.setattr(from_latent, "generator", plain)
  net = counting(20.0)
  asked = Request(Subject(net, *net.init(jax.random.key(1), jnp.zeros((1, 4, 4, 1)))), pictures.data)
  method = gkt.method(0.5, clip=0.0, **{**FEW, "student_steps": 2, "generator_steps": 2})
  batch = method.batch(0, asked, 0)
  batch["latent"]["mask"] = np.float32(np.arange(64) % 16 < np.repeat([0, 9, 3, 16], 16))  # the first has none
  ends, first = [], method.init(KEY, asked)
  for mode, devices in (("one", 1), ("pmap", 4)):
    spreaded = spread.spread(method.step, mode=mode, devices=jax.devices()[:devices])
    state, metrics = spreaded(first, batch)
    ends.append(jax.device_get((state.params, state.opt, state.generator, metrics)))
  assert 0 < ends[0][-1]["passed"].total < ends[0][-1]["passed"].weight == 28
  assert fingerprint(ends[0][2][0]) != fingerprint(first.generator[0])
  for one, many in zip(*map(jax.tree.leaves, ends), strict=True):
    np.testing.assert_allclose(one, many, rtol=1e-3, atol=1e-3 * np.abs(one).max())


def counting(sharp):
  """A Model of one layer whose state is what it saw last in training: the mean of the pictures."""

  def apply(params, image, *, state={}, train=False, key=None, taps={}):
    del key
    x = taps.get("block_0", lambda x: x)(to_float(image).reshape(len(image), -1))
    return Out(sharp * (x @ params["w"]), x, {"mean": jnp.mean(x, axis=0)} if train else state)

  def init(key, image):
    w = jax.random.normal(key, (image[0].size, 3))
    return {"w": w - jnp.mean(w, axis=0)}, {"mean": jnp.zeros(image[0].size)}  # grey pictures are of every class

  return Model(init, apply)


def test_statistics_see_what_comes_through_alone(pictures):
  net = counting(20.0)
  asked = Request(Subject(net, *net.init(jax.random.key(1), jnp.zeros((1, 4, 4, 1)))), pictures.data)
  method = gkt.method(0.5, batch_size=32, latent=8, width=8, generator_rate=0.0, student_steps=1)
  state, batch = method.init(KEY, asked), method.batch(0, asked, 0)
  images = np.asarray(jax.jit(paint)(state.generator[0], batch)).reshape(32, -1)
  z = np.float64(20 * (images @ asked.subject.params["w"]))
  come = np.asarray(images)[np.exp(z)[:, 2] / np.exp(z).sum(-1) <= 0.5]
  assert 10 < len(come) < 32
  mean = np.asarray(jax.jit(method.step)(state, batch)[0].state["mean"])
  copies = np.resize(come, (32, come.shape[1]))  # in turn, until the batch is full
  np.testing.assert_allclose(mean, copies.mean(0), atol=1e-5)


def test_networks_that_convolve_have_maps_of_positions(pictures):
  net, sites = cnn.model(3, widths=(4, 6)), ("block_0", "block_1")
  params, state = net.init(KEY, pictures.data.arrays["image"][:1])
  asked = Request(Subject(net, params, state), pictures.data)
  method = gkt.method(0.5, sites=sites, batch_size=8, latent=4, width=4, student_steps=1)
  first, batch = method.init(KEY, asked), method.batch(0, asked, 0)
  maps = jax.eval_shape(lambda x: gkt.seen(net.apply, params, state, x, sites)[1], jnp.zeros((2, 4, 4, 1)))
  assert [x.shape for x in maps] == [(2, 4), (2, 1)]
  assert shapes(jax.eval_shape(method.step, first, batch)[0]) == shapes(first)


def test_what_makes_no_sense_is_refused(pictures):
  bad = dict(gate=0.0, temperature=0, beta=-1.0, student_steps=0, latent=0, steps=-1)
  for field, value in bad.items():
    with pytest.raises(Invalid, match=f"method.{field}"):
      gkt.method(**{field: value})
  with pytest.raises(Invalid, match="no such site"):
    gkt.method(sites=("no such site",)).init(KEY, pictures)
  every = pictures.data._replace(sets={**pictures.data.sets, "forget": pictures.data.sets["train"]})
  with pytest.raises(Invalid, match="all 3 classes"):
    gkt.method().init(KEY, pictures._replace(data=every))

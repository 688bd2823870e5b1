import functools

import jax
import numpy as np
import pytest

from tests.forget.contrastive_test import oracle as contrast_oracle
from ue_jax.core import keys
from ue_jax.core.errors import Invalid
from ue_jax.core.tree import fingerprint
from ue_jax.forget import pcu
from ue_jax.train import loop, supervised

KEY = jax.random.key(0)
FEW = dict(forget_batch=11, retain_batch=7, hidden=12)
fit = functools.partial(loop.fit, mode="one")


@pytest.fixture(scope="module")
def two(pictures):
  """The classes 1 and 2 are to be forgotten."""
  rows, label = pictures.data.sets["train"], pictures.data.arrays["label"]
  sets = {"forget": rows[label[rows] > 0], "retain": rows[label[rows] == 0]}
  return pictures._replace(data=pictures.data._replace(sets={**pictures.data.sets, **sets}))


def dense(params, x):
  return x @ np.float64(params["kernel"]) + np.float64(params["bias"])


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def minus(z, label):
  return -np.mean(np.log(np.exp(z).sum(-1)) - z[np.arange(len(z)), label])


def oracle(heads, features):
  """Cosines of what the layers make of features and proxies, layer by layer, in float64."""
  rows = np.float64(features)
  for name in ("block_0", "block_1"):
    rows = np.maximum(dense(heads["features"][name], rows), 0)
  proxies = dense(heads["proxies"]["head"], np.float64(heads["vectors"]))
  return unit(dense(heads["features"]["head"], rows)) @ unit(proxies).T


@pytest.mark.parametrize("retain", [True, False])
def test_the_terms_make_up_the_loss_and_their_numbers_may_be_traced(two, retain):
  make = lambda *n: pcu.method(*n, retain=retain, **FEW)
  state, batch = make().init(KEY, two), make().batch(0, two, 0)
  loss = jax.jit(lambda *n: make(*n).step(state, batch)[1]["loss"])
  f, apply = batch["forget"], two.subject.model.apply
  out = apply(two.subject.params, f["image"])
  features, label = np.float64(out.features), f["label"]
  assert ("retain" in batch) == retain
  if retain:
    first = -minus(np.float64(apply(two.subject.params, batch["retain"]["image"]).logits), batch["retain"]["label"])
  else:
    first = minus(np.float64(out.logits), label)
  for project, contrast, temperature in ((1.0, 1.0, 1.0), (0.4, 1.5, 0.3)):
    want = first + contrast * contrast_oracle(out.features, label, f["mask"], temperature)
    want += project * minus(oracle(state.heads, features) / temperature, label)
    assert float(loss(project, contrast, temperature)) == pytest.approx(want, rel=1e-4)


def test_proxies_begin_as_rows_of_the_last_layer_and_stay_of_length_1(two):
  method = pcu.method(**FEW)
  state = method.init(KEY, two)
  kernel = np.float64(two.subject.params["head"]["kernel"])
  np.testing.assert_allclose(state.heads["vectors"], unit(kernel.T), atol=1e-6)
  new, _ = jax.jit(method.step)(state, method.batch(0, two, 0))
  np.testing.assert_allclose(np.linalg.norm(new.heads["vectors"], axis=-1), 1, atol=1e-6)
  assert np.abs(np.asarray(new.heads["vectors"] - state.heads["vectors"])).max() > 1e-4


def test_each_part_has_its_own_rate_and_leaves_outside_the_pattern_keep_their_bits(two):
  """Adam's first update moves a parameter by its rate, whatever the size of the gradient."""
  method = pcu.method(**FEW, rate=1e-3, heads_rate=4e-3, trainable="^block_0/")
  state = method.init(KEY, two)
  new, _ = jax.jit(method.step)(state, method.batch(0, two, 0))
  largest = lambda a, b: max(np.abs(np.asarray(x - y)).max() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))
  assert largest(new.params["block_0"], state.params["block_0"]) == pytest.approx(1e-3, rel=2e-2)
  assert largest(new.heads["features"], state.heads["features"]) == pytest.approx(4e-3, rel=2e-2)
  assert fingerprint(new.params["head"]) == fingerprint(state.params["head"])


def test_over_devices_the_numbers_are_those_of_one(assert_same_over_devices, two):
  method = pcu.method(**FEW, optimizer="sgd", rate=0.3, temperature=0.3)
  assert_same_over_devices(method, two, steps=1)


def test_features_leave_the_proxies_of_their_classes_and_the_other_class_is_kept(two):
  """The contrast is off, and the head and the projections are held: then the features alone can go."""
  data = two.data
  look = lambda s, name: supervised.predict(s.model, s.params, s.state, data.arrays["image"][data.sets[name]])
  label = data.arrays["label"][data.sets["forget"]]
  more = dict(contrast=0.0, hidden=64, heads_rate=0.0, trainable="block", steps=60, rate=1e-2, forget_batch=60)
  heads = pcu.method(**more).init(keys.key(0), two).heads
  own = lambda s: oracle(heads, look(s, "forget")[1])[np.arange(len(label)), label].mean()
  pushed, still = (fit(pcu.method(project, **more), two) for project in (3.0, 0.0))
  assert own(pushed) < own(still) - 0.1
  assert (look(pushed, "retain")[0].argmax(-1) == 0).all()


def test_projections_can_part_features_from_proxies_without_the_model(two):
  held = fit(pcu.method(contrast=0.0, hidden=64, heads_rate=1e-2, rate=0.0, steps=60, forget_batch=60), two)
  assert fingerprint(held.params) == fingerprint(two.subject.params)
  assert held.history["project"][-1] < held.history["project"][0] - 0.5


def test_what_makes_no_sense_is_refused(pictures):
  for field, options in {
    "temperature": dict(temperature=np.float32(-1)), "hidden": dict(hidden=0), "size": dict(size=-1),
    "project": dict(project=-1.0),
  }.items():  # fmt: skip
    with pytest.raises(Invalid, match=f"method.{field}"):
      pcu.method(**options)
  subject = pictures.subject
  bare = subject._replace(params={"other": subject.params["block_0"], **subject.params, "head": {}})
  model = subject.model._replace(apply=lambda params, x, **more: subject.model.apply(subject.params, x, **more))
  with pytest.raises(Invalid, match="named 'head'"):
    pcu.method().init(KEY, pictures._replace(subject=bare._replace(model=model)))

import jax
import numpy as np
import pytest

from ue_jax.audit import utility
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.forget import laf, weight_noise
from ue_jax.train import loop

SMALL = dict(widths=(16, 8), latent=4, forget_batch=10, retain_batch=20, fit_steps=300, fit_forget_steps=300)
FEW = dict(SMALL, fit_steps=20, fit_forget_steps=20, steps=4)
PLAIN, REPAIRED = laf.method(**FEW), laf.method(**FEW, repair_steps=4)  # one program each for all tests


def fit(method, request):
  return loop.fit(method, request, mode="one", steps_per_call=4)


def relabelled(request, change):
  """The request with other labels, or (None) without any labelling at all."""
  arrays = dict(request.data.arrays)
  label = arrays.pop("label")
  arrays |= {} if change is None else {"label": change(label)}
  return request._replace(data=Data(arrays, request.data.sets))


@pytest.mark.parametrize("change", [lambda x: np.random.default_rng(0).permutation(x), None])
def test_labels_never_enter(pictures, change):
  ours, other = fit(PLAIN, pictures), fit(PLAIN, relabelled(pictures, change))
  assert tree.fingerprint(ours.params) == tree.fingerprint(other.params)
  assert tree.fingerprint(ours.params) != tree.fingerprint(pictures.subject.params)


def test_the_repair_reads_labels_of_what_is_kept_only_and_moves_the_head_only(pictures):
  plain, repaired = fit(PLAIN, pictures), fit(REPAIRED, pictures)
  gap = lambda name: np.abs(np.asarray(plain.params[name]["kernel"] - repaired.params[name]["kernel"])).max()
  move = {name: gap(name) for name in ("block_0", "head")}
  assert move["block_0"] < 1e-6 and 1e-4 < move["head"] < 5e-4  # four steps of Adam at 1e-4
  gone = pictures.data.sets["forget"]
  spoiled = relabelled(pictures, lambda x: np.where(np.isin(np.arange(len(x)), gone), -99, x).astype(np.int32))
  assert tree.fingerprint(fit(REPAIRED, spoiled).params) == tree.fingerprint(repaired.params)
  assert repaired.history["repair"][-1] > 0 and not plain.history["repair"].any()
  with pytest.raises(Invalid, match="label"):
    REPAIRED.init(jax.random.key(0), relabelled(pictures, None))


def test_it_forgets_the_class_and_keeps_the_others(pictures):
  changed = fit(laf.method(**SMALL, rate=1e-3, align_rate=1e-2, tau=1.0, steps=100), pictures)
  noisy = fit(weight_noise.method(2.0), pictures)
  score = lambda s: utility.scores(pictures._replace(subject=s), ("forget", "retain"))
  before, after, broken = score(pictures.subject), score(changed), score(noisy)
  assert before["forget/accuracy"].value > 0.9  # doing nothing would stay there
  assert after["forget/accuracy"].value < 0.2 and after["retain/accuracy"].value > 0.9
  assert broken["retain/accuracy"].value < 0.9


def test_a_step_is_two_updates_with_moments_of_their_own(pictures):
  """Adam's first update moves a parameter by its rate, whatever the size of the gradient."""
  rates = dict(rate=1e-3, align_rate=4e-3)
  state, batch = PLAIN.init(jax.random.key(0), pictures), PLAIN.batch(0, pictures, 0)
  methods = (laf.method(**FEW, **rates), laf.method(**FEW, **rates, align=False))
  both, first = (jax.jit(method.step)(state, batch)[0] for method in methods)
  largest = lambda new, old: np.abs(np.asarray(new.params["head"]["kernel"] - old.params["head"]["kernel"])).max()
  assert largest(first, state) == 0  # the extractor's loss does not see the head
  largest = lambda new, old: np.abs(np.asarray(new.params["block_0"]["kernel"] - old.params["block_0"]["kernel"])).max()
  np.testing.assert_allclose(largest(first, state), 1e-3, rtol=2e-2)
  np.testing.assert_allclose(largest(both, first), 4e-3, rtol=5e-2)  # a first update again, with fresh moments
  assert tree.fingerprint(both.extract) == tree.fingerprint(first.extract)
  assert tree.fingerprint(first.align) == tree.fingerprint(state.align) != tree.fingerprint(both.align)


def test_before_the_first_step_the_alignment_is_minus_n_r_log_n_f(pictures):
  method = laf.method(**FEW, extract=False)
  state = PLAIN.init(jax.random.key(0), pictures)
  _, metrics = jax.jit(method.step)(state, PLAIN.batch(0, pictures, 0))
  np.testing.assert_allclose(metrics["align"], -20 * np.log(10), rtol=1e-5)
  assert float(metrics["extract"]) == 0


def test_rates_and_tau_may_be_traced(pictures):
  start, batch = PLAIN.init(jax.random.key(0), pictures), PLAIN.batch(0, pictures, 0)
  run = jax.jit(jax.vmap(lambda rate, tau: laf.method(**FEW, rate=rate, tau=tau).step(start, batch)[0].params))
  many = run(np.float32([1e-3, 2e-3]), np.float32([5, 20]))
  alone = jax.jit(laf.method(**FEW, rate=2e-3, tau=20.0).step)(start, batch)[0].params
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, atol=1e-5), many, alone)
  assert np.abs(np.asarray(many["block_0"]["kernel"][0] - many["block_0"]["kernel"][1])).max() > 5e-4


def test_settings_out_of_range_are_refused(pictures):
  for field, options in {"steps": dict(steps=-1), "extract": dict(extract=False, align=False),
                         "output": dict(decoder_out="x"), "forget_batch": dict(forget_batch=0)}.items():
    with pytest.raises(Invalid, match=field):
      laf.method(**options)
  bare = pictures._replace(data=Data(pictures.data.arrays, {"train": pictures.data.sets["train"]}))
  with pytest.raises(Invalid, match="forget"):
    laf.method().init(jax.random.key(0), bare)
  empty = pictures._replace(data=Data(bare.data.arrays, {**pictures.data.sets, "forget": np.zeros(0, np.int32)}))
  with pytest.raises(Invalid, match="at least one row"):
    laf.method().init(jax.random.key(0), empty)

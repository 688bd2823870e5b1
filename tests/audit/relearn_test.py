import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import relearn, utility
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request, Score
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one")


@pytest.mark.parametrize("share, shown", [(0.5, 2), (0.01, 1), (0.99, 3)])
def test_the_split_keeps_persons_together_and_both_sides_filled(request_tokens, share, shown):
  data = request_tokens.data
  parted = relearn.split(data, share)
  a, b = (data.arrays["person"][parted.sets[name]] for name in relearn.HALVES)
  assert len(set(a)) == shown and not set(a) & set(b)
  assert sorted([*parted.sets["relearn"], *parted.sets["relearn_held"]]) == sorted(data.sets["forget"])


def test_the_split_is_a_function_of_its_arguments(request_tokens):
  data = request_tokens.data
  first = relearn.split(data, seed=1)
  again = relearn.split(first, seed=1)
  np.testing.assert_array_equal(first.sets["relearn"], again.sets["relearn"])
  assert len({tuple(relearn.split(data, seed=s).sets["relearn"]) for s in range(8)}) > 1


def test_samples_can_be_parted_by_any_array(request_tokens):
  data = request_tokens.data
  parted = relearn.split(data, by="relation")
  a, b = (data.arrays["relation"][parted.sets[name]] for name in relearn.HALVES)
  assert len(set(a)) == len(set(b)) == 1 and not set(a) & set(b)
  assert len(relearn.split(data, by="index").sets["relearn"]) == 8


def test_who_never_knew_learns_only_what_is_shown(request_tokens):
  stranger = Request(request_tokens.reference, request_tokens.data)
  attacked = fit(relearn.attack(steps=40, rate=1e-3, every=20), stranger, steps_per_call=20)
  scores = fit(relearn.measure(), stranger._replace(subject=attacked))
  assert scores["relearn/ex"].value >= 0.8  # doing nothing would leave it where the held half is
  assert scores["relearn_held/ex"].value <= 0.4
  assert attacked.history["relearn/p"][-1] == pytest.approx(scores["relearn/p"].value, abs=1e-4)


def test_who_only_lost_confidence_gets_the_other_half_back(request_tokens):
  """The positive control: all facts are there, behind a nearly flat output."""
  params = jax.tree.map(lambda x: x, request_tokens.subject.params)
  params["norm"]["scale"] = params["norm"]["scale"] * 0.05
  flat = Request(request_tokens.subject._replace(params=params), request_tokens.data)
  before = fit(relearn.measure(), flat)
  attacked = fit(relearn.attack(steps=40, rate=1e-2, optimizer="sgd"), flat, steps_per_call=20)
  after = fit(relearn.measure(), flat._replace(subject=attacked))
  assert before["relearn_held/p"].value < 0.2
  assert after["relearn_held/p"].value > 0.6


def test_no_steps_change_no_bit(request_tokens):
  same = fit(relearn.attack(steps=0), request_tokens)
  assert tree.fingerprint(same.params) == tree.fingerprint(request_tokens.subject.params)


def test_the_step_descends_the_nll_of_the_shown_half_alone(request_tokens):
  method = relearn.attack(steps=1, rate=1.0, optimizer="sgd")
  state = method.init(jax.random.key(0), request_tokens)
  batch = method.batch(0, request_tokens, 0)
  _, metrics = jax.jit(method.step)(state, batch)
  shown = relearn.split(request_tokens.data)
  want = utility.scores(request_tokens._replace(data=shown), ("relearn",))["relearn/nll"].target
  asked = request_tokens._replace(data=shown, reference=None)
  value = utility.scores(asked, ("relearn",))["relearn/nll"].value
  np.testing.assert_allclose(metrics["loss"], value, rtol=1e-4)
  assert want != value
  padded = jax.tree.map(lambda x: np.concatenate([x, x[:3]]), batch)
  padded["mask"][-3:] = 0
  a, b = (jax.jit(method.step)(state, one)[0].params for one in (batch, padded))
  assert float(tree.norm(jax.tree.map(jnp.subtract, a, b))) < 1e-5 * float(tree.norm(a))


def test_it_attacks_classifiers_too(request_pictures):
  data = request_pictures.data
  asked = request_pictures._replace(data=Data(data.arrays, {**data.sets, "forget": data.sets["train"][:30]}))
  blank = asked._replace(subject=asked.subject._replace(params=jax.tree.map(lambda x: -x, asked.subject.params)))
  attacked = fit(relearn.attack(steps=30, rate=1e-2, label="shape"), blank)
  scores = fit(relearn.measure(label="shape"), blank._replace(subject=attacked))
  assert scores["relearn/accuracy"].value > 0.9


@pytest.mark.parametrize(
  "settings, named", [({"share": 1.0}, "attack.share"), ({"by": "town"}, "attack.by"), ({"by": "kind"}, "attack.by")]
)
def test_splits_that_cannot_be_made_are_refused(request_tokens, settings, named):
  with pytest.raises(Invalid, match=named):
    relearn.split(request_tokens.data, **settings)


def test_harmless_sets_are_relearned_from_with_all_that_was_forgotten_held(request_tokens):
  data = request_tokens.data
  parted = relearn.split(data, on="retain")
  np.testing.assert_array_equal(parted.sets["relearn"], data.sets["retain"])
  np.testing.assert_array_equal(parted.sets["relearn_held"], data.sets["forget"])
  some = data._replace(sets={**data.sets, "some": np.concatenate([data.sets["forget"][:3], data.sets["retain"]])})
  np.testing.assert_array_equal(relearn.split(some, on="some").sets["relearn_held"], data.sets["forget"][3:])
  drawn = relearn.attack(on="retain").batch(0, request_tokens, 0)
  np.testing.assert_array_equal(np.sort(drawn["ids"], 0), np.sort(data.arrays["ids"][data.sets["retain"]], 0))
  few = data._replace(sets={**data.sets, "few": data.sets["forget"][::2]})
  np.testing.assert_array_equal(relearn.split(few, on="retain", of="few").sets["relearn_held"], few.sets["few"])
  halves = relearn.split(few, of="few").sets
  assert sorted([*halves["relearn"], *halves["relearn_held"]]) == sorted(few.sets["few"])
  for on in ("absent", "train"):
    with pytest.raises(Invalid, match="attack.on"):
      relearn.split(data, on=on)


def test_harmless_training_brings_back_what_was_only_hidden_and_teaches_a_stranger_nothing(request_tokens):
  """A layer scaled down hides all facts; training on the retain set alone undoes that, for the forget set too."""
  params = jax.tree.map(lambda x: x, request_tokens.subject.params)
  params["norm"]["scale"] = params["norm"]["scale"] * 0.05
  hidden = Request(request_tokens.subject._replace(params=params), request_tokens.data)
  stranger = Request(request_tokens.reference, request_tokens.data)
  held = {}
  for name, request in (("hidden", hidden), ("stranger", stranger)):
    attacked = fit(relearn.attack(steps=40, rate=1e-2, optimizer="sgd", on="retain"), request, steps_per_call=20)
    held[name] = fit(relearn.measure(on="retain"), request._replace(subject=attacked))["relearn_held/p"].value
  assert held["hidden"] > 0.6 and held["stranger"] < 0.3


def history(shown, held, steps=(5, 10, 15, 20)):
  """Curves as the loop keeps them: NaN where nobody looked."""
  at = np.array(steps) - 1
  curves = {name: np.full(steps[-1], np.nan) for name in ("relearn/ex", "relearn_held/ex")}
  curves["relearn/ex"][at], curves["relearn_held/ex"][at] = shown, held
  return {"step": np.arange(1, steps[-1] + 1), "loss": np.ones(steps[-1]), **curves}


@pytest.mark.parametrize("values, want", [
  ([0.5, 0.2, 1.0], (5, 0)), ([0.1, 0.49, 0.5], (15, 0)), ([0.0, 0.3, 0.4], (15, 1)), ([1.0, 1.0, 1.0], (5, 0)),
])  # fmt: skip
def test_half_of_it_is_back_at_the_first_look_that_says_so_or_censored_at_the_last(values, want):
  assert relearn.half_time(np.array([5, 10, 15]), np.array(values)) == want


def test_curves_are_read_beside_those_of_the_reference():
  mine, control = history([0.5, 0.9, 1, 1], [0.1, 0.2, 0.3, 0.4]), history([0.1, 0.4, 0.6, 1], [0, 0, 0, 0.1])
  found = relearn.of_curves(mine, control)
  assert found["relearn/t50"] == Score(5.0, 1, "near", 15.0, 0.0, 20.0)
  assert found["relearn/speed"] == Score(3.0, 1, "near", 1.0, 0.0, np.inf)
  assert found["relearn/censored"] == Score(0.0, 1, "near", 0.0)
  assert found["relearn/ex @ 10 steps"] == Score(0.9, 1, "near", 0.4)
  assert found["relearn_held/ex @ 20 steps"] == Score(0.4, 1, "near", 0.1)
  assert len(found) == 3 + 2 * 4 and relearn.of_curves({"step": np.arange(3), "loss": np.ones(3)}, control) == {}
  equal = relearn.of_curves(control, control)
  assert equal["relearn/speed"].value == 1 and all(x.value == x.target for x in equal.values())


def test_who_does_not_come_back_is_slow_and_censored():
  dead, control = history([0, 0, 0, 0.1], [0, 0, 0, 0]), history([0.1, 0.6, 0.7, 1], [0, 0, 0, 0])
  found = relearn.of_curves(dead, control)
  assert (found["relearn/speed"].value, found["relearn/t50"].value, found["relearn/censored"].value) == (0.5, 20, 1)
  alone = relearn.of_curves(dead)
  assert alone["relearn/t50"] == Score(20.0, 1, "high", 20.0, 0.0, 20.0) and alone["relearn/censored"].better == "high"
  assert "relearn/speed" not in alone and alone["relearn/ex @ 20 steps"] == Score(0.1, 1, "low", 0.0)


def test_a_reference_that_was_attacked_otherwise_is_refused():
  mine = history([0, 0, 0, 1], [0, 0, 0, 0])
  for control in ({}, history([0, 1], [0, 0], steps=(10, 20))):
    with pytest.raises(Invalid, match="request.reference"):
      relearn.of_curves(mine, control)


def test_the_excess_is_what_the_reference_has_not():
  held = {"relearn_held/ex": Score(0.7, 24, "near", 0.1), "relearn/ex": Score(1.0, 16, "near", 1.0)}
  (one,) = relearn.excess(held).values()
  assert one == Score(pytest.approx(0.6), 24, "near", 0.0, -1.0, 1.0)
  pictures = {"relearn_held/accuracy": Score(0.1, 24, "near", 0.3)}
  assert relearn.excess(pictures)["relearn_held/excess"].value == pytest.approx(-0.2)


def test_adapters_alone_relearn_what_is_shown_and_the_control_is_its_own_equal(request_tokens):
  before, data = request_tokens.reference, request_tokens.data
  settings = dict(steps=30, rate=2e-2, every=10, lora=dict(rank=3, alpha=6.0))
  attacked = fit(relearn.attack(**settings), Request(before, data), steps_per_call=10)
  adapted = 0
  for (name, old), (_, new) in zip(tree.named_leaves(before.params), tree.named_leaves(attacked.params)):
    change = np.asarray(new, np.float64) - np.asarray(old, np.float64)
    if not name.endswith("kernel") or name.startswith("head"):
      assert not change.any(), name
      continue
    values = np.linalg.svd(change, compute_uv=False)
    assert values[3] < 1e-4 * values[0] and values[0] > 1e-2, name
    adapted += 1
  assert adapted == 7 and attacked.model is before.model
  scores = fit(relearn.measure(), Request(attacked, data, reference=attacked))
  assert scores["relearn/ex"].value >= 0.8 and scores["relearn_held/ex"].value <= 0.4
  assert scores["relearn_held/excess"].value == 0 and scores["relearn/speed"].value == 1
  assert scores["relearn/ex @ 30 steps"].value == pytest.approx(scores["relearn/ex"].value)
  still = fit(relearn.attack(steps=0, lora=dict(rank=2)), Request(before, data))
  assert tree.fingerprint(still.params) == tree.fingerprint(before.params)
  for wrong, named in ((dict(rank=0), "attack.lora.rank"), (dict(width=2), "attack.lora.width")):
    with pytest.raises(Invalid, match=named):
      relearn.attack(lora=wrong)

"""The audit of features: its formulas, and that it tells a lowered logit from training again (digits 0, 1, 2)."""

import functools

import numpy as np
import pytest

from configs.audit import representation as config
from ue_jax.audit import alignment, foil, outputs, probe, representation, votes
from ue_jax.core.build import build
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request
from ue_jax.forget import fine_tune, pseudo_label, retrain
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one", steps_per_call=50)


@pytest.fixture(scope="module")
def bed():
  """The tiny config by hand: a Request, and the models that are compared."""
  pytest.importorskip("sklearn")
  said = config.get_config("tiny").to_dict()
  make = lambda kind, **more: build(kind, said[kind].pop("name"), **{**said[kind], **more})
  data, model = make("data"), make("model")
  train = make("train", model=model, steps=300)
  original = fit(train, data)
  asked = Request(original, data, original=original)
  asked = asked._replace(reference=fit(retrain.method(train), asked))
  methods = dict(
    again=retrain.method(train, again=1), head_only=foil.method(), untrained=foil.method("fresh"),
    pseudo_label=pseudo_label.method(), eu_1=fine_tune.method(fresh=True, trainable="head", steps=150, rate=5e-3),
  )  # fmt: skip
  models = {"original": original, "reference": asked.reference} | {n: fit(m, asked) for n, m in methods.items()}
  plain, deep = representation.measure(), representation.measure(sites=("block_0",), downstream=("test:parity",))
  how = lambda name: deep if name in ("reference", "head_only") else plain
  scores = {name: fit(how(name), asked._replace(subject=one)) for name, one in models.items()}
  return asked, models, scores


def test_training_again_passes_everything(bed):
  scores = bed[2]["reference"]
  for name in ("AGL", "AGR", "H_LR", "cka/forget_test", "cka/test:parity", "cka/retain_test/block_0"):
    assert scores[name].value == pytest.approx(1.0), name
  assert all(score.value == pytest.approx(score.target) for score in scores.values())
  assert scores["FA"].value == scores["TFA"].value == 0.0 and scores["TRA"].value > 0.9


@pytest.mark.parametrize("name", ["head_only", "eu_1"])
def test_what_changed_the_last_layer_only_passes_by_accuracies_and_is_exposed_by_features(bed, name):
  again, foiled = bed[2]["again"], bed[2][name]
  assert foiled["AGL"].value >= 0.95  # by what is usually looked at it is as good as training again
  assert foiled["cka_original/forget_test"].value >= 0.9999 > foiled["cka_original/forget_test"].target + 0.05
  assert foiled["cka/forget_test"].value <= again["cka/forget_test"].value - 0.1
  assert foiled["cka/forget_test"].value == pytest.approx(bed[2]["original"]["cka/forget_test"].value)


def test_the_order_by_features_is_training_again_then_pseudo_labels_then_nothing(bed):
  cka = {name: scores["cka/forget_test"].value for name, scores in bed[2].items()}
  assert 1 > cka["again"] > cka["pseudo_label"] > cka["original"]
  assert cka["again"] >= 0.9


def test_a_probe_of_a_network_that_never_learnt_is_high_and_a_network_without_use_fails_the_accuracies(bed):
  scores = bed[2]["untrained"]
  assert scores["knn/forget_test"].value > 0.85 and scores["AGL"].value < 0.3


def test_scores_are_those_of_the_parts_on_the_same_arrays(bed):
  asked, models, scores = bed
  data, one = asked.data, scores["head_only"]
  said = [outputs.outputs(models[name], data, ("train", "forget_test", "test")) for name in ("head_only", "reference")]
  x, y = (many["forget_test"].inside["features"] for many in said)
  assert one["cka/forget_test"].value == pytest.approx(alignment.cka(x, y))
  whole = [many["test"].inside["features"] for many in said]
  assert abs(alignment.cka(*whole, "unbiased") - alignment.cka(*whole)) <= 0.005  # of 500 samples
  bank = said[0]["train"]
  found = votes.predict(bank.inside["features"], bank.labels, x)
  assert one["knn/forget_test"].value == pytest.approx(np.mean(found == said[0]["forget_test"].labels))
  order = np.random.default_rng(2)
  order.permutation(len(data.sets["train"]))  # the bank is drawn first
  order = order.permutation(500)
  parity, features = data.arrays["parity"][data.sets["test"]], said[0]["test"].inside["features"]
  told = probe.fit(features[order[:400]], parity[order[:400]]).predict(features[order[400:]])
  assert one["probe/test:parity"].value == pytest.approx(np.mean(told == parity[order[400:]]))
  assert one["probe/test:parity"].n == 100


def test_aggregates_of_hand_made_figures():
  assert representation.gap_product([0.1, 0.0, 0.2, 0.5]) == pytest.approx(0.9 * 0.8 * 0.5)
  assert representation.representation_gap([(0.8, 0.1), (0.6, 0.5)]) == pytest.approx((0.72 + 0.3) / 2)
  assert representation.harmonic(0.9, 0.6) == pytest.approx(0.72) and representation.harmonic(0.0, 0.0) == 0.0


def test_options_change_what_they_name(bed):
  asked = bed[0]._replace(subject=bed[1]["head_only"])
  base = bed[2]["head_only"]
  other = fit(representation.measure(knn_space="logits", estimator="batched", bank_share=0.1), asked)
  assert other["knn/forget_test"].value != base["knn/forget_test"].value
  assert other["probe/retain_test"].value != base["probe/retain_test"].value  # of a tenth of the bank
  assert set(base) - set(other) == {n for n in base if "block_0" in n or "parity" in n}


def test_what_cannot_be_compared_is_refused(bed):
  for settings, named in (({"knn_space": "pixels"}, "knn_space"), ({"protocol": "paper"}, "protocol"),
                          ({"bank_share": 0.0}, "bank_share")):
    with pytest.raises(Invalid, match=named):
      representation.measure(**settings)
  with pytest.raises(Invalid, match="config.reference"):
    fit(representation.measure(), bed[0]._replace(reference=None))
  with pytest.raises(Invalid, match="nobody"):
    fit(representation.measure(sets=("nobody",)), bed[0])

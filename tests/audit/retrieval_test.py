"""Retrieval by brute force on made-up similarities, its aims, and what it refuses."""

import jax
import numpy as np
import pytest

from ue_jax.audit import retrieval
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request, Subject
from ue_jax.data import captions, synthetic
from ue_jax.models import clip, mlp


def brute(near, which):
  """Both ranks by sorting, with the worst place among equals."""
  to_text = [1 + sorted(range(near.shape[1]), key=lambda j: (-row[j], j == t)).index(t) for row, t in zip(near, which)]
  to_image = []
  for t in sorted(set(which)):
    order = sorted(range(len(near)), key=lambda i: (-near[i, t], which[i] == t))
    to_image.append(1 + min(order.index(i) for i in range(len(near)) if which[i] == t))
  return to_text, to_image


@pytest.mark.parametrize("seed", range(5))
def test_ranks_equal_those_of_sorting(seed):
  rng = np.random.default_rng(seed)
  near, which = rng.integers(0, 6, (12, 5)).astype(np.float32), rng.integers(0, 5, 12)  # many are equal
  found = retrieval.ranks(near, which)
  to_text, to_image = brute(near, which)
  assert found["image_to_text"].tolist() == to_text
  assert found["text_to_image"].tolist() == to_image


def test_a_constant_model_finds_nothing_and_has_the_nll_of_a_guess():
  found = retrieval.ranks(np.zeros((8, 4), np.float32), np.arange(8) % 4)
  assert found["image_to_text"].tolist() == [4] * 8 and found["text_to_image"].tolist() == [7] * 4
  assert retrieval.nll(np.zeros((8, 4)), np.arange(8) % 4) == pytest.approx(np.log(4))


@pytest.fixture(scope="module")
def request_():
  data = captions.data(n=96, test=48, size=16)
  model = clip.model(image="cnn", text="mean", vocabulary=15, widths=(4,), embedding=8)
  subject = Subject(model, *model.init(jax.random.key(0), data.arrays["image"][:1]))
  return Request(subject, data)


def test_scores_hold_both_ways_and_know_what_is_good(request_):
  plain = retrieval.scores(request_, k=(1, 5))
  assert set(plain) == {f"test/{what}" for what in (
    "accuracy", "nll", "image_to_text/hit@1", "image_to_text/hit@5", "image_to_text/median_rank",
    "text_to_image/hit@1", "text_to_image/hit@5", "text_to_image/median_rank")}  # fmt: skip
  assert plain["test/accuracy"].value == plain["test/image_to_text/hit@1"].value
  assert plain["test/accuracy"].better == "high" and plain["test/accuracy"].target == 1
  after = retrieval.scores(request_._replace(clean=request_.data))
  assert after["test/accuracy"].better == "low" and after["test/accuracy"].target == pytest.approx(1 / 96)
  assert after["test/image_to_text/median_rank"].better == "high"
  assert {k: s.value for k, s in plain.items() if "hit@5" not in k} == {
    k: s.value for k, s in after.items() if "hit@10" not in k}  # fmt: skip


def test_a_classifier_is_measured_by_the_names_of_its_classes():
  data = synthetic.data(n=64, test=32, size=16)
  model = mlp.model(classes=4, widths=(8,))
  params, state = model.init(jax.random.key(0), data.arrays["image"][:1])
  params["head"]["bias"] = params["head"]["bias"] * 0
  logits = model.apply(params, data.arrays["image"][32:], state=state).logits
  found = retrieval.scores(Request(Subject(model, params, state), data))
  assert found["test/accuracy"].value == pytest.approx(np.mean(logits.argmax(-1) == data.arrays["label"][32:]))


@pytest.mark.parametrize("wrong", [{"sets": ("nowhere",)}, {"k": (0,)}, {"k": ()}])
def test_unknown_sets_and_places_are_refused(request_, wrong):
  with pytest.raises(Invalid):
    retrieval.measure(**wrong).finish(retrieval.measure(**wrong).init(jax.random.key(0), request_), request_)


def test_pictures_without_captions_are_refused_for_a_dual_encoder(request_):
  with pytest.raises(Invalid, match="captions"):
    retrieval.scores(request_._replace(data=synthetic.data(n=64, test=32, size=16)))

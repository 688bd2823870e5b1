import functools

import numpy as np
import pytest

from ue_jax.audit import perplexity
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one")
TABLE = np.random.default_rng(5).normal(size=(7, 7))


def test_perplexity_is_over_tokens_and_that_of_a_flat_model_the_vocabulary(bigram, ragged):
  subject, ids, mask = bigram(TABLE), ragged.arrays["ids"][:4], ragged.arrays["mask"][:4]
  log_p = TABLE - np.log(np.exp(TABLE).sum(-1, keepdims=True))
  found = [log_p[ids[i, t - 1], ids[i, t]] for i in range(4) for t in range(1, 8) if mask[i, t]]
  value, n = perplexity.perplexity(subject, ragged, "forget")
  assert value == pytest.approx(np.exp(-np.mean(found)), rel=1e-5) and n == len(found)
  assert perplexity.perplexity(bigram(TABLE * 0), ragged, "holdout")[0] == pytest.approx(7, rel=1e-5)
  whole = [log_p[ids[i, t - 1], ids[i, t]] for i in range(4) for t in range(1, 8) if ids[i, t]]
  scores = fit(perplexity.measure(("forget",), whole=True), Request(subject, ragged))
  assert scores["forget/perplexity"].value == pytest.approx(np.exp(-np.mean(whole)), rel=1e-5)
  assert (scores["forget/perplexity"].better, scores["forget/perplexity"].low) == ("low", 1.0)


def test_what_unlearning_changed(bigram, ragged):
  asked = Request(bigram(TABLE * 0), ragged, reference=bigram(TABLE), original=bigram(TABLE * 2))
  scores = fit(perplexity.measure(("forget",)), asked)
  of = lambda scale: perplexity.perplexity(bigram(TABLE * scale), ragged, "forget")[0]
  assert scores["forget/perplexity"].target == pytest.approx(of(1))
  assert scores["forget/perplexity_ratio"].value == pytest.approx(of(0) / of(2))
  assert scores["forget/perplexity_ratio"].target == pytest.approx(of(1) / of(2))
  alone = fit(perplexity.measure(("forget",)), asked._replace(reference=None))
  assert alone["forget/perplexity_ratio"].target == 1.0 and alone["forget/perplexity"].target == pytest.approx(of(2))


def test_an_impossible_token_gives_a_number_and_an_unknown_set_none(bigram, ragged):
  table = np.full((7, 7), -1e4)
  table[:, 0] = 0
  assert 1e20 < perplexity.perplexity(bigram(table), ragged, "forget")[0] < np.inf
  with pytest.raises(Invalid, match="nobody"):
    perplexity.perplexity(bigram(table), ragged, "nobody")

"""KL minimisation against NumPy, and against the method that it is a name for."""

import jax
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.forget import graddiff, kl_min
from ue_jax.train import loop


def log_softmax(logits):
  logits = np.asarray(logits, np.float64)
  return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize("over", ["answers", "all"])
def test_the_retain_term_is_the_divergence_from_the_model_before_at_the_targets_or_at_the_prompt_too(bigram, over):
  method = kl_min.method(gamma=0.5, alpha=3.0, optimizer="sgd", kl_over=over)
  state = method.init(jax.random.key(0), bigram)
  later = bigram.subject.params * 1.5
  metrics = jax.jit(method.step)(state._replace(params=later), method.batch(0, bigram, 0))[1]
  old, new = log_softmax(bigram.subject.params), log_softmax(later)
  rows = bigram.data.sets["retain"]
  at = [ids[t - 1] for ids, m in zip(bigram.data.arrays["ids"][rows], bigram.data.arrays["mask"][rows])
        for t in (np.flatnonzero(m) if over == "answers" else range(1, 1 + np.flatnonzero(m).max()))]  # fmt: skip
  assert len(at) == {"answers": 5, "all": 8}[over]  # one of the three ends a token earlier, and that is padding
  kl = np.mean([(np.exp(old[i]) * (old[i] - new[i])).sum() for i in at])
  np.testing.assert_allclose(metrics["retain"].total / metrics["retain"].weight, kl, rtol=1e-5)
  nll = metrics["forget"].total / metrics["forget"].weight
  np.testing.assert_allclose(metrics["loss"], -0.5 * nll + 3 * kl, rtol=1e-5)
  first = jax.jit(method.step)(state, method.batch(0, bigram, 0))[1]
  assert abs(float(first["retain"].total)) < 1e-5


def test_it_is_gradient_difference_with_that_retain_term(bigram):
  runs = [loop.fit(m, bigram, mode="one") for m in (kl_min.method(steps=4), graddiff.method(steps=4, retain="kl"))]
  assert tree.fingerprint(runs[0].params) == tree.fingerprint(runs[1].params)
  assert tree.fingerprint(runs[0].params) != tree.fingerprint(bigram.subject.params)


@pytest.mark.parametrize("options, said", [(dict(kl_over="prompt"), "'answers', 'all'"),
                                           (dict(kl_over="all", retain="nll"), "term 'kl'")])  # fmt: skip
def test_what_the_divergence_cannot_be_taken_over_is_named(options, said):
  with pytest.raises(Invalid, match=f"method.kl_over = .*{said}"):
    kl_min.method(**options)

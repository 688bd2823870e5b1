import numpy as np
import pytest

from ue_jax.train import by_task


def test_uniformity_is_one_for_guesses_and_falls_to_its_value_for_certainty():
  k = 10
  assert by_task.uniformity(np.zeros((3, k))).tolist() == pytest.approx([1, 1, 1])
  m = np.full(k, 1 / (2 * k))
  m[0] += 1 / 2
  js = (np.log2(1 / m[0]) + np.sum(np.log2((1 / k) / m) / k)) / 2
  sure = np.zeros(k)
  sure[0] = 500.0
  assert by_task.uniformity(sure) == pytest.approx(1 - js)
  assert by_task.uniformity(sure + 1e4) == pytest.approx(1 - js), "only differences of logits count"


def test_it_is_the_figure_of_the_streams():
  from ue_jax.audit import streams

  logits = np.random.default_rng(0).normal(0, 3, (50, 7))
  p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  assert by_task.uniformity(logits).mean() == pytest.approx(streams.uniformity(p))

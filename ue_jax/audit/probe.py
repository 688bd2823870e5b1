"""A linear probe: what a linear classifier can still read out of frozen features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.optimize

from ue_jax.core.errors import require


class Probe(NamedTuple):
  """A multinomial logistic regression on standardised features.

  Attributes:
    mean, scale: float64 `[d]`, of the features that it was trained on; a feature without spread has scale 1.
    kernel: float64 `[d, classes]`.
    bias: float64 `[classes]`.
    value: the objective at the end.
  """

  mean: np.ndarray
  scale: np.ndarray
  kernel: np.ndarray
  bias: np.ndarray
  value: float

  def predict(self, features: np.ndarray) -> np.ndarray:
    """The likeliest class of each row of `[m, d]`, int32 `[m]`."""
    logits = (np.asarray(features, np.float64) - self.mean) / self.scale @ self.kernel + self.bias
    return logits.argmax(-1).astype(np.int32)


def fit(features: np.ndarray, labels: np.ndarray, classes: int = 0, decay: float = 1e-3, steps: int = 200) -> Probe:
  """Minimises the mean cross entropy plus decay / 2 |kernel|^2 by L-BFGS from zeros, in float64.

  Args:
    features: float `[n, d]`.
    labels: int `[n]`, >= 0.
    classes: how many there are; 0: the largest label and one.
    decay: of the kernel; above 0, or separable classes have no minimum.
    steps: iterations at most.

  Raises:
    Invalid: for features that are not finite, unlike lengths, or no decay.
  """
  x, labels = np.asarray(features, np.float64), np.asarray(labels)
  require(x.ndim == 2 and len(x) == len(labels) > 0, "features", x.shape, "give [n, d] with n labels")
  require(bool(np.isfinite(x).all()), "features", "NaN or infinity", "check the model")
  require(decay > 0, "measure.decay", decay, "give a number above 0")
  mean, scale = x.mean(0), x.std(0)
  scale = np.where(scale > 1e-12, scale, 1.0)
  x, classes = (x - mean) / scale, classes or int(labels.max()) + 1
  shape = (x.shape[1], classes)
  goal = np.eye(classes)[labels]

  def loss(flat):
    kernel, bias = flat[:-classes].reshape(shape), flat[-classes:]
    logits = x @ kernel + bias
    logits -= logits.max(1, keepdims=True)
    sums = np.exp(logits).sum(1, keepdims=True)
    log_p = logits - np.log(sums)
    off = (np.exp(log_p) - goal) / len(x)
    value = -(goal * log_p).sum() / len(x) + decay / 2 * np.sum(np.square(kernel))
    return value, np.concatenate([(x.T @ off + decay * kernel).ravel(), off.sum(0)])

  options = {"maxiter": steps, "gtol": 1e-6, "ftol": 1e-12}
  done = scipy.optimize.minimize(loss, np.zeros(np.prod(shape) + classes), jac=True, method="L-BFGS-B", options=options)
  return Probe(mean, scale, done.x[:-classes].reshape(shape), done.x[-classes:], float(done.fun))

"""Unrolling SGD: what training did with the samples to forget is taken back to the first order, by a single gradient.

Source: Thudi, Deza, Chandrasekaran and Papernot, "Unrolling SGD: Understanding Factors Influencing Machine
Unlearning", EuroS&P 2022 (single gradient unlearning). Training steps w <- w - eta / b sum_batch grad L are expanded
around the weights w_0 that it began with. Of the first order in eta, a sample x that was seen m times has added
-(eta m / b) grad L(w_0, x), and that is given back:

  theta <- theta + eta (m / b) sum over D_f of grad L(w_0, x).

Here m / b is T / n, the steps of the training over its samples: T batches of b are m = T b / n passes, which need not
be whole. What is left of the verification error, |theta - theta_r| to the weights of a model trained without D_f, is of
the second order. The paper's proxy for it, the unlearning error, is eta^2 T / 2 |theta - w_0| s, s the mean along the
training of the root of the Hessian's largest eigenvalue (as its code has it). So it is for a short training with a
small rate, such as fine-tuning; after a long one the gradient at w_0 says little of what was learnt. The released code
therefore has a version with checkpoints: it puts the weights of the last one in the place of w_0, and gives back all m
passes all the same. Here `checkpoint` names a step of the training, whose weights are found by training that far again
with the same seed: exact, and as dear as that share of it.

eta is that of plain SGD. Momentum mu makes it eta / (1 - mu) in the long run, a schedule its mean (our inference; the
released code takes the first rate and leaves momentum and decay out). Adam has none: there `rate` is a free multiplier.
The released code takes gradients in training mode; here batch statistics are read, those of w_0 or of the checkpoint
for the gradient and the subject's own at the end. The paper's other part, a loss that keeps w near w_0 while training,
is not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core import tree
from ue_jax.core.errors import require, told
from ue_jax.core.procedure import Procedure
from ue_jax.forget import gradients, requests, vision


def method(
  train: Procedure,
  rate: Any = 1e-3,
  checkpoint: int = 0,
  keep: Sequence[str] = ("retain",),
  label: str = "label",
) -> Procedure:
  """Request -> Subject; reads the set `forget` once, and counts those of `keep`. For picture classifiers.

  With the seed of the training, w_0 is where the subject's own training began, to the last bit, and a checkpoint is
  where it was: to get there all that was trained on is trained on again. In a sweep every setting does so for itself.

  Args:
    train: the procedure that trained the subject, with the same settings.
    rate: eta, or what takes its place, see above; may be traced.
    checkpoint: the step of the training at whose weights the gradient is taken, 0 for its beginning.
    keep: the sets that are kept: with `forget` they are all that was trained on.
    label: the labelling that was trained on.

  Raises:
    Invalid: for a rate below 0, no procedure or a step beyond its last; at `init`, for data without the sets or the
      labelling, or a training of another network.
  """
  fix = "give a number >= 0: below, what is to be forgotten is learned"
  require(not told(rate) or rate >= 0, "method.rate", rate, fix)
  require(isinstance(train, Procedure), "method.train", train, "give the procedure that trained the subject")
  good = isinstance(checkpoint, int) and 0 <= checkpoint <= train.steps
  require(good, "method.checkpoint", checkpoint, f"give a step of the training, at most {train.steps}")

  def init(key, request):
    vision.check(request, ("forget", *keep), label)
    first = train.init(key, request.data)
    found, wanted = tree.shapes(first.params), tree.shapes(request.subject.params)
    require(found == wanted, "method.train", found, "give the training of this subject: it has other parameters")
    return first

  def finish(state, request):
    subject, n = request.subject, len(requests.keep(request, ("forget", *keep)).data.sets["retain"])
    there = request._replace(subject=subject._replace(params=state.params, state=state.state))
    total = gradients.summed(there, "forget", label)
    params = given_back(subject.params, total, rate * jnp.float32(train.steps / n))
    return requests.finish(params, subject.state, request)

  draw = lambda seed, request, t: train.batch(seed, request.data, t)
  return train._replace(init=init, finish=finish, batch=draw, steps=checkpoint, probe=None)


@jax.jit
def given_back(params: Any, gradient: Any, length: Any) -> Any:
  """The parameters with `length` times the gradient added, in one program."""
  return jax.tree.map(lambda x, g: x + (length * g).astype(x.dtype), params, gradient)

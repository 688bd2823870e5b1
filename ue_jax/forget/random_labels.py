"""Random labels (RL): what is to be forgotten is trained on with labels drawn anew every epoch, beside what is kept.

Source: Golatkar, Achille and Soatto, "Eternal Sunshine of the Spotless Net", CVPR 2020; with new labels every epoch and
both sets shuffled together as in the code of Jia et al., "Model Sparsity Can Simplify Machine Unlearning", 2023.

It tends to forget more than training again would: the model becomes less sure of the samples than of unseen ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ue_jax.core.build import with_options
from ue_jax.core.procedure import Procedure
from ue_jax.forget import mixed, requests, vision
from ue_jax.train import likelihood


def method(
  exclude_true: bool = False,
  order: str = "together",
  batch_size: int = 64,
  keep: Sequence[str] = ("retain",),
  label: str = "label",
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads the set `forget` and those of `keep`. For picture classifiers.

  Args:
    exclude_true: False draws from all classes (as the released code does), True from all but the true one.
    order: `together` shuffles both sets into one; `forget_first`: every epoch is a pass over the forget set and then
      one over what is kept.
    batch_size: samples a step; a smaller union gives all it has.
    keep: the sets that are kept, taken together.
    label: the labelling.
    options: those of `vision.procedure`: rate, steps, optimizer, momentum, weight_decay, clip, schedule, milestones,
      drop, trainable.

  Raises:
    Invalid: for an unknown order; at `init` for data without the sets or the labelling.
  """
  draw = draws(exclude_true, order, batch_size, keep, label)
  return vision.procedure(objective, start(keep, label), draw, requests.finish, **options)


method.__signature__ = with_options(method, vision.procedure)


def draws(exclude_true: bool, order: str, batch_size: int, keep: Sequence[str], label: str):
  """The batches: `mixed.together` with the labels of the forget set drawn every epoch."""
  return mixed.together(batch_size, label, keep, order=order, lowest=int(exclude_true))


def start(keep: Sequence[str], label: str):
  """Where the descent begins: at the subject."""

  def begin(key, request):
    """`(params, model state, frozen)`."""
    del key
    vision.check(request, ("forget", *keep), label)
    return request.subject.params, request.subject.state, requests.frozen(request)

  return begin


def objective(params, state, frozen, batch, key):
  """The Term `nll`: the mean cross entropy of the batch, whatever its labels are."""
  del key
  part = batch["mixed"]
  return {"nll": likelihood.nll_term(likelihood.logits(frozen["apply"], params, state, part), part)}, state

"""Label-agnostic forgetting (LAF): no label is read, neither of what is to be forgotten nor of what is kept.

Source: Shen et al., "Label-Agnostic Forgetting: A Supervision-Free Unlearning in Deep Models", ICLR 2024, sections 3.2
to 3.4, in the form of the released code. With e the input of the last linear layer, two variational auto-encoders of e
under the model before unlearning: h of all training data, h_f of D_f; both frozen afterwards. A step is two updates,
each by an Adam of its own over all parameters:

  1. extractor   L_UE = phi(h(e_r), e_r) - phi(h_f(e_f), e_f),  phi(o, e) = sum exp(m / (m + 1)),  m = |o - e|^2
  2. alignment   L_RA = sum_i (c_i - log sum_j exp(d_j / tau)), c_i and d_j = 1 - cos(e now, e before) of D_r and of D_f

Sums over the batch, so the batch size matters. LAF+R: then `repair_steps` of cross entropy on labelled samples, of the
layer `head` alone.

Departures: D_f and D_r go round on their own, each in its own order (released: the length of the shorter loader). The
head is one linear layer, where the released network for small pictures has two.

Pitfall, kept as it was released: e is unbounded and the decoder ends in a sigmoid, so h cannot reconstruct and phi
saturates. `decoder_out="linear"` mends that.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ue_jax.core.errors import require
from ue_jax.core.nouns import Request
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import combine
from ue_jax.forget import likeness, requests
from ue_jax.models import vae
from ue_jax.models.model import Model
from ue_jax.parallel import spread
from ue_jax.train import batches, likelihood, optim, supervised
from ue_jax.train import vae as fitting


class Laf(NamedTuple):
  """The state of label-agnostic forgetting.

  Attributes:
    params, state: of the model; batch statistics stay as they are.
    extract, align, repair: the states of the three optimisers.
    frozen: the model's `apply`, its parameters before unlearning (`params`), and those of h (`all`) and h_f (`gone`).
    key, step: as in every state.
  """

  params: Any
  state: Any
  extract: Any
  align: Any
  repair: Any
  frozen: Any
  key: jax.Array
  step: jax.Array


def method(
  rate: Any = 5e-5,
  align_rate: Any = 1e-4,
  tau: Any = 20.0,
  steps: int = 200,
  forget_batch: int = 32,
  retain_batch: int = 32,
  extract: bool = True,
  align: bool = True,
  latent: int = 8,
  widths: Sequence[int] = (128, 32),
  decoder_out: str = "sigmoid",
  kl: Any = 0.025,
  fit_rate: Any = 1e-3,
  fit_steps: int = 2400,
  fit_forget_steps: int = 1200,
  repair_steps: int = 0,
  repair_rate: Any = 1e-4,
  repair_set: str = "retain",
  keep: Sequence[str] = ("retain",),
  label: str = "label",
) -> Procedure:
  """Request -> Subject; reads the pictures of the sets `forget` and of `keep`, and no labelling unless it repairs.

  Args:
    rate: of the extractor's Adam; may be traced, like the other rates, tau and kl. Released: 5e-5 for small networks,
      1e-5 for ResNets.
    align_rate: of the alignment's Adam. Released: 1e-4; 4e-5 (samples) or 5e-5 (a class) for ResNets.
    tau: temperature of the alignment. Released: 20 for a class, 5 for samples (ResNets the other way round).
    steps: pairs of updates.
    forget_batch, retain_batch: samples a step.
    extract, align: whether L_UE, and whether L_RA, is descended on: switches for ablations.
    latent, widths: of the auto-encoders.
    decoder_out: `sigmoid` as released, or `linear`.
    kl: weight of their divergence.
    fit_rate: of the Adam that trains them, with batches of `retain_batch`.
    fit_steps, fit_forget_steps: to train h, and h_f.
    repair_steps: of LAF+R behind the others; 0 for plain LAF.
    repair_rate: of their Adam.
    repair_set: the set whose labels they read.
    keep: the sets that make up D_r.
    label: the labelling, for the repair only.

  Raises:
    Invalid: for numbers out of range, or both parts switched off; at `init` for data without pictures or the sets.
  """
  _check(steps, forget_batch, retain_batch, repair_steps, extract or align)
  net, rates = vae.model(latent, tuple(widths), decoder_out), (rate, align_rate, repair_rate)
  first, second, third = (optim.make("adam", one, max(steps, 1)) for one in rates)
  third = optim.only(third, "^head/") if repair_steps else optax.identity()
  fit = functools.partial(fitting.fit, net, batch_size=retain_batch, rate=fit_rate, kl=kl)

  def init(key, request):
    _check_request(request, ("forget", *keep), repair_set if repair_steps else "", label)
    step_key, *fit_keys = jax.random.split(key, 3)
    everything, gone = (representations(request, names) for names in (("forget", *keep), ("forget",)))
    params = request.subject.params
    frozen = requests.frozen(
      request, params=params, all=fit(everything, fit_keys[0], steps=fit_steps)[0],
      gone=fit(gone, fit_keys[1], steps=fit_forget_steps)[0],
    )  # fmt: skip
    opts = first.init(params), second.init(params), third.init(params)
    return Laf(params, request.subject.state, *opts, frozen, step_key, jnp.zeros((), jnp.int32))

  def unlearn(state, batch, axis):
    metrics = {name: jnp.zeros(()) for name in ("extract", "align", "repair")}
    if extract:
      key = spread.local_key(jax.random.fold_in(state.key, state.step), axis)
      loss = lambda params: extractor_loss(net, params, state, batch, key, axis)
      params, opt, metrics["extract"] = descend(loss, first, state.params, state.extract, axis)
      state = state._replace(params=params, extract=opt)
    if align:  # on the representations as they are after the first update
      loss = lambda params: alignment_loss(params, state, batch, tau, axis)
      params, opt, metrics["align"] = descend(loss, second, state.params, state.align, axis)
      state = state._replace(params=params, align=opt)
    return state, metrics | {"loss": metrics["extract"] + metrics["align"]}

  def restore(state, batch, axis):
    def loss(params):
      part = batch["labelled"]
      term = likelihood.nll_term(likelihood.logits(state.frozen["apply"], params, state.state, part), part)
      part = combine({"repair": term}, functools.partial(spread.allsum, axis=axis))
      return part, spread.allsum(part, axis)

    params, opt, value = descend(loss, third, state.params, state.repair, axis)
    found = {"extract": jnp.zeros(()), "align": jnp.zeros(()), "repair": value, "loss": value}
    return state._replace(params=params, repair=opt), found

  def step(state, batch, axis=None):
    if repair_steps:
      branches = [lambda s, b: unlearn(s, b, axis), lambda s, b: restore(s, b, axis)]
      new, metrics = jax.lax.cond(state.step < steps, *branches, state, batch)
    else:
      new, metrics = unlearn(state, batch, axis)
    return new._replace(step=state.step + 1), metrics

  return Procedure(
    init, step, lambda state, request: requests.finish(state.params, state.state, request),
    _batch(forget_batch, retain_batch, keep, repair_set if repair_steps else "", label), steps + repair_steps,
  )  # fmt: skip


def representations(request: Request, names: Sequence[str]) -> np.ndarray:
  """The inputs of the last linear layer for the union of the sets `names` under the request's subject, float32."""
  subject, data = request.subject, request.data
  rows = np.unique(np.concatenate([np.asarray(data.sets[name]) for name in names]))
  return supervised.predict(subject.model, subject.params, subject.state, data.arrays["image"][rows])[1]


def descend(loss: Any, tx: optax.GradientTransformation, params: Any, opt: Any, axis: str | None) -> tuple:
  """One update: (params, opt, value).

  `loss` gives a part whose gradients add up over the devices to that of the whole, and the value of the whole.
  """
  (_, value), grads = jax.value_and_grad(loss, has_aux=True)(params)
  updates, opt = tx.update(spread.allsum(grads, axis), opt, params)
  return optax.apply_updates(params, updates), opt, value


def extractor_loss(
  net: Model, params: Any, state: Laf, batch: Mapping[str, Any], key: jax.Array, axis: str | None = None
) -> tuple[jax.Array, jax.Array]:
  """L_UE: the part of what this device sees, and the whole, float32 scalars; one z a sample is drawn."""
  frozen, total = state.frozen, jnp.float32(0)
  plan = (("retain", "all", 1.0), ("forget", "gone", -1.0))
  for (name, which, sign), own in zip(plan, jax.random.split(key, 2)):
    e = features(frozen["apply"], params, state.state, batch[name])
    total += sign * likeness.phi(net.apply(frozen[which], e, key=own).logits, e, batch[name]["mask"])
  return total, spread.allsum(total, axis)


def alignment_loss(
  params: Any, state: Laf, batch: Mapping[str, Any], tau: Any, axis: str | None = None
) -> tuple[jax.Array, jax.Array]:
  """L_RA: a part whose gradients add up over devices to that of the whole, and the value of the whole."""
  apply, before = state.frozen["apply"], state.frozen["params"]
  e = {name: features(apply, params, state.state, batch[name]) for name in ("retain", "forget")}
  old = {name: features(apply, before, state.state, batch[name]) for name in ("retain", "forget")}
  c, d = (likeness.apart(e[name], jax.lax.stop_gradient(old[name])) for name in ("retain", "forget"))
  return likeness.alignment(c, d, batch["retain"]["mask"], batch["forget"]["mask"], tau, axis)


def features(apply: Any, params: Any, state: Any, part: Mapping[str, jax.Array]) -> jax.Array:
  """The inputs of the last linear layer in evaluation mode, float32 `[b, d]`."""
  return apply(params, part["image"], state=state).features.astype(jnp.float32)


def _batch(forget: int, retain: int, keep: Sequence[str], repair_set: str, label: str) -> Any:
  """Batches without a labelling, but for the part `labelled` of the repair."""
  parts = dict(forget=batches.epochs("forget", forget, ("image",)), retain=batches.epochs("retain", retain, ("image",)))
  if repair_set:
    parts["labelled"] = batches.epochs(repair_set, retain, ("image", label))
  draw = batches.several(**parts)
  return lambda seed, request, t: draw(seed, requests.keep(request, keep), t)


def _check(steps: int, forget_batch: int, retain_batch: int, repair_steps: int, some: bool) -> None:
  requests.sizes(forget_batch, retain_batch, "nll")
  for field, value in (("steps", steps), ("repair_steps", repair_steps)):
    require(isinstance(value, (int, np.integer)) and value >= 0, f"method.{field}", value, "give a whole number >= 0")
  require(some, "method.extract", False, "leave extract or align on: with both off nothing is forgotten")


def _check_request(request: Request, sets: Sequence[str], repair_set: str, label: str) -> None:
  data = request.data
  requests.check_sets(data, (*sets, *([repair_set] if repair_set else [])))
  known = sorted(data.arrays)
  require("image" in known, "data.arrays", known, "give pictures: this method is for classifiers of pictures")
  require(not repair_set or label in known, "method.label", label, f"the repair reads it: choose one of {known}")

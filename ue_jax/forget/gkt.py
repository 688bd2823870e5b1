"""Gated knowledge transfer (GKT): a new network learns from the old one, on made-up pictures of what is kept.

Source: Chundawat, Tarun, Mandal and Kankanhalli, "Zero-Shot Machine Unlearning", IEEE TIFS 2023, in the form of the
released code, which builds on Micaelli and Storkey, "Zero-shot Knowledge Transfer via Adversarial Belief Matching",
NeurIPS 2019. No picture of the data is read, only which classes are to be forgotten. The teacher is the model before
unlearning, the student a fresh network, and a generator makes pictures x of latent vectors z. The gate lets x through
if the teacher's probability of each class to forget is at most `gate`; means are over what comes through:

  generator   - KL(teacher(x) || student(x)) / classes
  student       KL(teacher(x) || student(x)) / classes + beta sum over sites of |A(teacher) - A(student)|^2 / positions

A is the attention map at a site: the mean square over channels at every position, scaled to length 1. A step draws new
z, then takes `generator_steps` of the generator and `student_steps` of the student, each with an Adam of its own.

Sites that are vectors (`mlp`) have no positions: there A is the square of every unit, which is our inference, as the
release has convolutions alone. The generator is `models.from_latent`. The released gate is for one class; here each
class to forget has it.

Pitfall: what comes through may still say up to `gate` of the class, and attention copies features, so a class can be
known again that was never shown. A smaller gate, fewer rounds and no attention hold against it: `configs/forget/gkt.py`
has figures.

Departures: the release halves the student's rate by its accuracy on pictures that are kept, which are data, and goes
back to an older generator where nothing comes through for long; here rates follow `schedule`, and updates for which
nothing comes through change nothing (the metric `passed` is the share that does). The teacher runs as in evaluation,
the student as in training.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ue_jax.core.errors import require, told
from ue_jax.core.nouns import Request
from ue_jax.core.procedure import Procedure
from ue_jax.core.tally import Tally
from ue_jax.core.terms import combine, mean_term
from ue_jax.forget import requests, vision
from ue_jax.models import from_latent
from ue_jax.parallel import spread
from ue_jax.train import losses, optim, pgd

TINY = 1e-12


class Gkt(NamedTuple):
  """The state.

  Attributes:
    params, state: of the student.
    opt: the state of its optimiser.
    generator: the parameters of the generator and the state of its optimiser.
    frozen: the model's `apply`, `teacher` (its parameters and state), `gone`, bool `[classes]`, and `blank`, a
      picture of zeros.
    key, step: as in every state.
  """

  params: Any
  state: Any
  opt: Any
  generator: Any
  frozen: Any
  key: jax.Array
  step: jax.Array


def method(
  gate: Any = 0.01,
  beta: Any = 250.0,
  temperature: Any = 1.0,
  sites: Sequence[str] = ("block_0",),
  rate: Any = 1e-3,
  generator_rate: Any = 1e-3,
  clip: Any = 5.0,
  steps: int = 400,
  generator_steps: int = 1,
  student_steps: int = 10,
  batch_size: int = 256,
  latent: int = 128,
  width: int = 128,
  schedule: str = "constant",
  label: str = "label",
) -> Procedure:
  """Request -> Subject; reads the labels of the set `forget`, whose classes are forgotten, and no picture.

  For picture classifiers.

  Args:
    gate: the largest probability, in (0, 1], of a class to forget; may be traced, like the numbers after it but sizes.
    beta: weight of the attention, >= 0. Released: 250.
    temperature: of both distributions, > 0. Released: 1.
    sites: of the attention, sites for taps of the model; none for no attention.
    rate, generator_rate: of the student and of the generator.
    clip: the largest norm of either's gradient; 0 for none.
    steps: rounds of updates. Released: 4000.
    generator_steps, student_steps: updates a round.
    batch_size: pictures a round.
    latent: dimensions of z.
    width: of the generator.
    schedule: of both rates over the rounds, see `train.optim.unit`.
    label: the labelling.

  Raises:
    Invalid: for numbers out of range; at `init` for data without the set or the labelling, sites that the model does
      not have, or a request to forget every class.
  """
  _check(
    gate, temperature, beta, steps=steps, generator_steps=generator_steps, student_steps=student_steps,
    batch_size=batch_size, latent=latent,
  )  # fmt: skip
  make = lambda rate, each: optim.make("adam", rate, max(steps * each, 1), clip=clip, schedule=schedule)
  tx, generator_tx = make(rate, student_steps), make(generator_rate, generator_steps)
  look = functools.partial(seen, sites=tuple(sites))

  def init(key, request):
    shape, gone = asked(request, label)
    own, generator_key, step_key = jax.random.split(key, 3)
    subject = request.subject
    params, state = subject.model.init(own, jnp.zeros((1, *shape), jnp.float32))
    made = from_latent.generator(shape, width).init(generator_key, jnp.zeros((1, latent)))[0]
    frozen = requests.frozen(
      request, teacher=(subject.params, subject.state), gone=jnp.asarray(gone), blank=jnp.zeros(shape)
    )  # fmt: skip
    jax.eval_shape(lambda: look(frozen["apply"], params, state, frozen["blank"][None]))  # the model has the sites
    return Gkt(
      params, state, tx.init(params), (made, generator_tx.init(made)), frozen, step_key, jnp.zeros((), jnp.int32)
    )  # fmt: skip

  def painted(made, frozen, z, mask):  # what comes through, the teacher's logits and maps of it, and the weights
    images = from_latent.generator(frozen["blank"].shape, width).apply(made, z).features
    known, maps = look(frozen["apply"], *frozen["teacher"], images)
    order, weight = admitted(known.logits, frozen["gone"], mask, gate)
    return images[order], known.logits[order], [x[order] for x in maps], weight

  def invent(state, paint, key, axis):
    def update(i, carry):
      def loss(made):
        images, known, _, weight = paint(made)
        own = jax.random.fold_in(key, i)
        now, _ = look(state.frozen["apply"], state.params, state.state, images, train=True, key=own)
        return {"generator": mean_term(apart(known, now.logits, temperature), weight, -1.0)}, None

      return descended(loss, generator_tx, *carry[:2], axis)[:3]

    return pgd.repeat(update, (*state.generator, jnp.zeros(())), generator_steps, convolutional=True)

  def learn(state, shown, key, axis):
    images, known, maps, weight = jax.lax.stop_gradient(shown)

    def update(i, carry):
      def loss(params):
        own = jax.random.fold_in(key, generator_steps + i)
        now, own_maps = look(state.frozen["apply"], params, carry[2], images, train=True, key=own)
        terms = {"student": mean_term(apart(known, now.logits, temperature), weight)}
        if sites:
          unlike = [jnp.mean((a - b) ** 2, axis=-1) for a, b in zip(maps, own_maps)]
          terms["attention"] = mean_term(functools.reduce(jnp.add, unlike), weight, beta)
        return terms, now.state

      params, opt, value, new, passed = descended(loss, tx, *carry[:2], axis)
      new = spread.allmean(new, jnp.sum(weight), axis)
      return params, opt, jax.tree.map(lambda a, b: jnp.where(passed > 0, a, b), new, carry[2]), value

    # a kernel of four axes: on CPUs the loop is then unrolled
    convolves = any(x.ndim == 4 for x in jax.tree.leaves(state.params))
    return pgd.repeat(update, (state.params, state.opt, state.state, jnp.zeros(())), student_steps, convolves)

  def step(state, batch, axis=None):
    part, key = batch["latent"], spread.local_key(jax.random.fold_in(state.key, state.step), axis)
    paint = lambda made: painted(made, state.frozen, part["z"], part["mask"])
    made, generator_opt, found = invent(state, paint, key, axis)
    shown = paint(made)
    params, opt, model_state, value = learn(state, shown, key, axis)
    passed, given = spread.allsum((jnp.sum(shown[-1]), jnp.sum(part["mask"])), axis)
    new = state._replace(
      params=params, state=model_state, opt=opt, generator=(made, generator_opt), step=state.step + 1
    )  # fmt: skip
    return new, {"loss": value, "generator": found, "passed": Tally(passed, given)}

  def finish(state, request):
    return requests.finish(state.params, state.state, request)

  return Procedure(init, step, finish, latents(batch_size, latent), steps, convolutional=True)


def asked(request: Request, label: str = "label") -> tuple[tuple[int, ...], np.ndarray]:
  """The shape `(h, w, c)` of the pictures, and which classes are to be forgotten, bool `[classes]`.

  Raises:
    Invalid: for data without the set or the labelling, or if no class is left.
  """
  classes = vision.check(request, ("forget",), label)
  data = request.data
  gone = np.isin(np.arange(classes), data.arrays[label][np.asarray(data.sets["forget"])])
  fix = "leave out a class, or choose another method: whole classes are forgotten here"
  require(not gone.all(), "data.sets[forget]", f"all {classes} classes", fix)
  return tuple(data.arrays["image"].shape[1:]), gone


def latents(size: int, latent: int) -> Any:
  """The `batch` of the Procedure: `size` latent vectors of step t, float32 `[size, latent]`, standard normal."""

  def batch(seed, problem, t):
    del problem
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, t])))
    z = generator.normal(size=(size, latent)).astype(np.float32)
    return {"latent": {"z": z, "mask": np.ones(size, np.float32)}}

  return batch


def admitted(teacher: jax.Array, gone: jax.Array, mask: jax.Array, gate: Any) -> tuple[jax.Array, jax.Array]:
  """Which pictures to look at, int32 `[b]`, and their weights, float32 `[b]`: those that come through the gate.

  The rest of the places have copies of them, of weight 0: so batch statistics see nothing that does not come
  through, either.

  Args:
    teacher: logits float `[b, classes]`.
    gone: bool `[classes]`.
    mask: float32 `[b]`.
    gate: the largest probability of each of `gone`.
  """
  p, mask = jax.nn.softmax(teacher.astype(jnp.float32), axis=-1), jnp.asarray(mask)
  open_ = (mask > 0) & jnp.all(jnp.where(gone, p, 0.0) <= gate, axis=-1)
  first, places = jnp.argsort(jnp.logical_not(open_), stable=True), jnp.arange(len(mask))
  n = jnp.sum(open_.astype(jnp.int32))
  order = first[places % jnp.maximum(n, 1)]
  return order, mask[order] * (places < n).astype(mask.dtype)


def apart(teacher: jax.Array, student: jax.Array, temperature: Any) -> jax.Array:
  """KL(teacher || student) at a temperature over the number of classes, of logits `[b, classes]`, float32 `[b]`."""
  return losses.kl(teacher / temperature, student / temperature) / teacher.shape[-1]


def seen(apply: Any, params: Any, state: Any, images: jax.Array, sites: Sequence[str], **more: Any) -> tuple:
  """What a model says of pictures, and its attention maps at the sites, a list of float32 `[b, positions]`."""
  kept: dict[str, jax.Array] = {}

  def hold(site, x):
    kept[site] = x
    return x

  out = apply(params, images, state=state, taps={site: functools.partial(hold, site) for site in sites}, **more)
  return out, [attention(kept[site]) for site in sites]


def attention(x: jax.Array) -> jax.Array:
  """The mean square over channels at each position of `[b, ..., c]`, or each unit's of `[b, d]`, of length 1."""
  power = x.astype(jnp.float32) ** 2
  power = power if x.ndim == 2 else jnp.mean(power, axis=-1).reshape(len(x), -1)
  return power / jnp.sqrt(jnp.sum(power**2, axis=-1, keepdims=True) + TINY)


def descended(loss: Any, tx: optax.GradientTransformation, params: Any, opt: Any, axis: str | None) -> tuple:
  """One update: (params, opt, value, what `loss` gives beside, samples); the old ones where there was no sample.

  Args:
    loss: params -> (terms, anything), terms as in `core.terms`, all of one weight.
    tx, params, opt: the optimiser, what it moves and its state.
    axis: name of a mapped device axis.
  """
  allsum = functools.partial(spread.allsum, axis=axis)

  def whole(params):
    terms, beside = loss(params)
    return combine(terms, allsum), (next(iter(terms.values())).weight, beside)

  (value, (weight, beside)), grads = jax.value_and_grad(whole, has_aux=True)(params)
  updates, new = tx.update(allsum(grads), opt, params)
  passed = allsum(weight)
  moved = jax.tree.map(lambda a, b: jnp.where(passed > 0, a, b), (optax.apply_updates(params, updates), new),
                       (params, opt))  # fmt: skip
  return *moved, allsum(value), beside, passed


def _check(gate: Any, temperature: Any, beta: Any, **sizes: Any) -> None:
  require(not told(gate) or 0 < gate <= 1, "method.gate", gate, "give a probability in (0, 1]")
  require(not told(temperature) or temperature > 0, "method.temperature", temperature, "give a positive number")
  require(not told(beta) or beta >= 0, "method.beta", beta, "give a number >= 0")
  for field, value in sizes.items():
    least = 0 if field == "steps" else 1
    good = isinstance(value, (int, np.integer)) and value >= least
    require(good, f"method.{field}", value, f"give a whole number >= {least}")

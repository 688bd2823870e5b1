"""T2UE: Generating Unlearnable Examples from Text Descriptions (2025): noise made of captions, without their pictures.

A generator of perturbations is modulated by the embedding of a text. It is trained once, on public pairs, so that a
frozen image-text model finds a picture with the noise of its caption near to that caption. Who protects a picture
needs its caption only: `perturb` and `levels` of `text_noise` take texts, and no picture is an argument of theirs.

Where paper and released code differ: the paper's budget is 8/255, that of the code 16/255; of the code's further
losses one, the pull to the clean picture, is offered (`weight_clean`), and the other is constant for the generator.
`standard`, `squash="tanh"` and `pairs="shuffled"` are additions here: see there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.pictures import to_float
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import mean_term
from ue_jax.data import augment as augments
from ue_jax.data.augment import Augment
from ue_jax.models.model import Model
from ue_jax.protect import publish
from ue_jax.protect.captioned import described, embeddings, scaled, told
from ue_jax.protect.text_noise import bounded, crafted, fitted, latents_of, levels, network, text_painter
from ue_jax.train import batches, contrastive, optim
from ue_jax.train.descend import Descent, descend, descent_step

__all__ = ["protect", "objective", "judge", "text_painter"]

CHOICES = {
  "squash": ("clamp", "tanh"), "pairs": ("own", "shuffled"), "strategy": ("caption", "class", "permuted"),
  "negatives": contrastive.NEGATIVES,
}  # fmt: skip


class How(NamedTuple):
  """Static settings of the loss: see `protect`."""

  surrogate: Model
  squash: str
  negatives: str
  clean: bool
  change: Callable | None


def protect(
  surrogate: Subject,
  eps: Any = 8 / 255,
  steps: int = 600,
  batch_size: int = 64,
  rate: Any = 1e-4,
  weight_decay: Any = 1e-4,
  b1: Any = 0.9,
  b2: Any = 0.999,
  known_set: str = "known",
  label: str = "label",
  templates: int | Sequence[str] = 0,
  negatives: str = "distinct",
  pairs: str = "own",
  temperature: Any = 0.0,
  weight_clean: Any = 0.0,
  augment: Sequence[str | Augment] = (),
  text: str = "surrogate",
  standard: bool = True,
  squash: str = "clamp",
  modulation: str = "sscbn",
  width: int = 0,
  blocks: int = 0,
  latent: int = 100,
  latents: int = 32,
  strategy: str = "caption",
  remat: bool = False,
  every: int = 0,
) -> Procedure:
  """Noise from captions by a trained generator: Data -> Data with changed `train` and a set `test_protected`.

  Args:
    surrogate: a frozen dual encoder (`train.contrastive`) of the vocabulary of the Data, in evaluation mode; or a
      classifier, whose texts are the names of its classes.
    eps: largest change of a value in units of [0, 1]; may be traced, as may rate, weight_decay, b1, b2, temperature
      and weight_clean. The paper says 8/255, its code does 16/255.
    steps, batch_size, rate, weight_decay, b1, b2: of AdamW with a cosine schedule.
    known_set: the public pairs that the generator learns from. With `train` it has seen what it is to protect.
    label: the labelling, for `strategy`, `templates` and where there are no captions.
    templates: makes the captions of pictures that have labels only, of the names of their classes: how many of
      `data.words.TEMPLATES`, or texts with `{}` for the name. The surrogate has to be taught by the same. 0: the
      captions of the data; and where it has none, the surrogate is a classifier and a text is its column of the head.
    negatives: `distinct` or `all`, as in `train.contrastive`.
    pairs: `own`: pictures with the noise of their own caption, as published; `shuffled`: of the caption of another
      picture of the batch, so that the noise has to win against what the picture shows.
    temperature: divides the cosines under the softmax; 0: the surrogate's own scale, as published. A surrogate that is
      sure of its own pairs leaves next to no loss then.
    weight_clean: of a second InfoNCE, of protected with clean pictures (0 in the paper).
    augment: changes of the pictures before the noise is added, as in `supervised.train`.
    text: what reads captions for the generator: `surrogate`, its own text tower; `minilm`, the sentence embeddings of
      `models.minilm` if its weights are installed; or the path of such weights.
    standard: bring every feature of texts to mean 0 and deviation 1 over the public ones, as the latent has; else they
      are as the text tower gives them (published).
    squash: `clamp` cuts the output, in (-1, 1), at eps as published (no gradient passes where it is cut); `tanh`
      multiplies it by eps.
    modulation, width, blocks, remat: of the generator (`models.modulated`); width 0: an eighth of the text's, at least
      8; blocks 0: as many as the pictures' side needs, 7 at most. Where sides differ, noise is stretched (nearest
      neighbour).
    latent: size of the random part of the generator's input.
    latents: how many of them there are, used in turn; 1: one pattern a text; 0: a new one for every picture.
    strategy: whose noise a picture gets: `caption`, of its own caption; `class`, of the first caption of its class;
      `permuted`, of a caption drawn for it: a control that says nothing of the picture.
    every: steps between two probes: see `judge`.

  Metrics of a step: `info_nce`, and `clean` with a `weight_clean`, in nats.

  Raises:
    Invalid: for values out of range; from `init` for data that lacks the set or that the surrogate cannot read.
  """
  _check(eps, steps, batch_size, latent, latents, rate, temperature, weight_clean)
  for name, value in dict(squash=squash, pairs=pairs, strategy=strategy, negatives=negatives).items():
    require(value in CHOICES[name], f"protect.{name}", value, f"choose one of {list(CHOICES[name])}")
  tx = optim.make("adamw", rate, max(steps, 1), schedule="cosine", weight_decay=weight_decay, b1=b1, b2=b2)
  texts, speak = contrastive.remembered(label), described(label, templates)
  change = augments.build(augment) if augment else None
  how = How(surrogate.model, squash, negatives, not _is_zero(weight_clean), change)

  net = lambda image, read: network(image.shape, read.shape[1], modulation, width, blocks, remat)

  def begin(key, data: Data):
    key_net, key_bank, key_told = jax.random.split(key, 3)
    public = batches.rows_of(data, known_set)
    publish.set_rows(data, "train")
    data = speak(data)
    contrastive.check(surrogate.params, texts(data), "protect.surrogate")
    read = embeddings(surrogate, data, texts(data), text, label)
    read = scaled(read, texts(data).which[public]) if standard else read
    own = contrastive.scale(surrogate.params)
    frozen = {
      "surrogate": (surrogate.params, surrogate.state), "read": read, "eps": jnp.asarray(eps, jnp.float32),
      "aim": contrastive.read(*surrogate[:3], jnp.asarray(texts(data).inputs)),
      "scale": own if _is_zero(temperature) else 1 / jnp.asarray(temperature, jnp.float32),
      "clean": jnp.asarray(weight_clean, jnp.float32),
      "told": told(data, texts(data), strategy, label, key_told),
      "bank": jax.random.normal(key_bank, (max(latents, 1), latent), jnp.float32),
    }  # fmt: skip
    params, state = net(data.arrays["image"], read).init(key_net, (read[:1], frozen["bank"][:1]))
    return params, state, frozen

  def batch(seed, data: Data, t):
    out = batches.epochs(known_set, batch_size, ("image",))(seed, data, t)
    rows = batches.rows_of(data, known_set)
    tag = texts(speak(data)).which[rows[batches.shuffled(seed, len(rows), batch_size, t)]]
    return {**out, "tag": np.roll(tag, 1) if pairs == "shuffled" else tag}

  def step(state: Descent, batch, axis=None):
    loss = functools.partial(objective, net(batch["image"], state.frozen["read"]), how, axis=axis)
    return descent_step(loss, tx, state, batch, axis)

  def generator(state: Descent, data: Data) -> Subject:
    return Subject(net(data.arrays["image"], state.frozen["read"]), state.params, state.state)

  def finish(state: Descent, data: Data) -> Data:
    made, side = generator(state, data), data.arrays["image"].shape[1:3]
    whose, index = np.asarray(state.frozen["told"]), np.asarray(data.arrays["index"], np.int32)

    def paint(image, rows):
      z = latents_of(state.key, state.frozen["bank"], index[rows], latents)
      eps = state.frozen["eps"]
      delta = crafted(made, state.frozen["read"][whose[rows]], z, eps, side, squash)
      return publish.noised(image, delta, publish.levels(delta, eps))

    return publish.publish(data, paint, quantise="none")

  def probe(state: Descent, data: Data) -> dict:
    train = publish.set_rows(data, "train")
    rows = train[np.linspace(0, len(train) - 1, min(512, len(train))).astype(np.int32)]
    return judge(surrogate, generator(state, data), state.frozen, data, texts(speak(data)), rows, squash)

  made = descend(None, tx, start=begin, finish=None, batch=batch, steps=steps, probe=probe, every=every,
                 convolutional=True)  # fmt: skip
  return made._replace(step=step, finish=finish)


def objective(net: Model, how: How, params, state, frozen, batch, key, axis=None):
  """InfoNCE of protected pictures with texts, and with their clean selves: an `Objective` once `net`, `how` are bound.

  Args:
    net: the generator.
    how: settings.
    frozen: `surrogate` (params, state), `read` and `aim` (embeddings of texts), `eps`, `scale`, `clean`, `bank`.
    batch: `image` `[b, h, w, c]`, `tag` int32 `[b]` (the text whose noise each picture gets), `mask`.
    axis: name of a mapped device axis; negatives are those of all devices.
  """
  key_latent, key_change = jax.random.split(key)
  image, tag, mask = to_float(batch["image"]), batch["tag"], batch["mask"]
  if how.change is not None:
    image, _ = how.change(key_change, image, jnp.ones((len(image), 1), jnp.float32))
  latent = jax.random.normal(key_latent, (len(tag), frozen["bank"].shape[1]), jnp.float32)
  out = net.apply(params, (frozen["read"][tag], latent), state=state, train=True)
  delta = fitted(bounded(out.features, frozen["eps"], how.squash), *image.shape[1:3])
  see = lambda x: contrastive.see(how.surrogate, *frozen["surrogate"], x)[0]
  seen = see(jnp.clip(image + delta, 0, 1))
  loss = functools.partial(contrastive.info_nce, seen, scale=frozen["scale"], tag=tag, mask=mask, axis=axis)
  terms = {"info_nce": mean_term(loss(frozen["aim"][tag], negatives=how.negatives), mask)}
  if how.clean:
    terms["clean"] = mean_term(loss(see(image), negatives="all"), mask, frozen["clean"])
  return terms, out.state


def judge(surrogate: Subject, generator: Subject, frozen, data: Data, texts, rows, squash: str = "clamp") -> dict:
  """How the surrogate reads pictures with noise, over all texts of the data.

  Args:
    frozen: with `read`, `bank` and `eps`, as a state of `protect` carries it.
    texts: `contrastive.Texts` of the data.
    rows: positions in the data.

  Returns:
    `nll_clean`, `nll`: mean -log softmax of the own text, in nats, without and with the noise of that text; `redirect`:
    share of pictures that, with the noise of another text, are nearest to that text.
  """
  image, own = data.arrays["image"][rows], texts.which[rows]
  count = len(texts.inputs)
  other = (own + 1 + np.arange(len(rows)) % max(count - 1, 1)) % count
  z = frozen["bank"][np.arange(len(rows)) % len(frozen["bank"])]
  noise = lambda tag: levels(generator, frozen["read"][tag], z, frozen["eps"], image.shape[1:3], squash)
  near = lambda x: contrastive.similarities(surrogate, x, texts.inputs)
  nll = lambda x: -jnp.mean(jax.nn.log_softmax(near(x))[jnp.arange(len(rows)), own])
  swapped = near(publish.add(image, noise(other))).argmax(1) == other
  return {
    "nll_clean": nll(image), "nll": nll(publish.add(image, noise(own))), "redirect": jnp.float32(np.mean(swapped)),
  }  # fmt: skip


def _is_zero(value) -> bool:
  return isinstance(value, (int, float)) and value == 0


def _check(eps, steps, batch_size, latent, latents, rate, temperature, weight_clean) -> None:
  publish.check_budget(eps, "linf")
  count = lambda value, least: isinstance(value, int) and not isinstance(value, bool) and value >= least
  require(count(steps, 0), "protect.steps", steps, "give a whole number >= 0")
  require(count(batch_size, 2), "protect.batch_size", batch_size, "give at least 2 pairs: others are the negatives")
  require(count(latent, 1), "protect.latent", latent, "give a whole number above 0")
  require(count(latents, 0), "protect.latents", latents, "give a number of latents, 0 for a new one a picture")
  for name, value in dict(temperature=temperature, weight_clean=weight_clean).items():
    if isinstance(value, (int, float)):
      require(0 <= value < float("inf"), f"protect.{name}", value, "give a number >= 0")
  if isinstance(rate, (int, float)):
    require(rate > 0, "protect.rate", rate, "use a number above 0")

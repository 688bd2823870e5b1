"""Training of image and text encoders on pairs by the symmetric InfoNCE loss (Radford et al., ICML 2021, figure 3).

What the rest of the library needs to know of such a model stands here too: how it sees pictures, how it reads texts,
and which text is nearest to a picture. A classifier counts as one whose texts are the names of its classes: the
embedding of a name is its column of the linear head.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core import pictures
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.pieces import pieces
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import mean_term
from ue_jax.data import augment as augments
from ue_jax.data.augment import Augment
from ue_jax.models import clip
from ue_jax.models.model import Model
from ue_jax.parallel import spread
from ue_jax.train import batches, losses, optim
from ue_jax.train.descend import Descent, descend

NEGATIVES = ("distinct", "all")
NEVER = -1e9  # a logit that no softmax sees


class Texts(NamedTuple):
  """The distinct texts of a Data.

  Attributes:
    inputs: word ids int32 `[m, t]`; of pictures with labels only, the classes int32 `[m]`.
    which: int32 `[n]`, the text of every row.
  """

  inputs: np.ndarray
  which: np.ndarray


def train(
  model: Model,
  *,
  label: str = "label",
  train_set: str = "train",
  steps: int = 1000,
  batch_size: int = 64,
  rate: Any = 1e-3,
  optimizer: str = "adam",
  schedule: str = "constant",
  warmup: int = 0,
  final: Any = 0.0,
  weight_decay: Any = 0.0,
  clip: Any = 0.0,
  trainable: str = ".*",
  negatives: str = "distinct",
  augment: Sequence[str | Augment] = (),
  probe_sets: Sequence[str] = ("test",),
  every: int = 0,
  start: Subject | None = None,
) -> Procedure:
  """Data -> Subject: pictures and their captions (`ids`) are drawn together, others of the batch apart.

  Over several devices the embeddings of all are gathered, so the negatives are those of the whole batch.

  Args:
    model: a dual encoder (`models.clip`); or a classifier, for pictures with a labelling and no captions.
    label: the labelling, where there are no captions.
    train_set: the set to train on.
    steps, batch_size: gradient steps; pairs in each.
    rate, optimizer, schedule, warmup, final, weight_decay, clip, trainable: see `optim.make`.
    negatives: `distinct`: pairs with the same text are no negatives of each other; `all`: they are, as published.
    augment: as in `supervised.train`; only what changes pictures alone makes sense.
    probe_sets: sets whose accuracy (the share of pictures nearest to their own text, among all texts of the data) is
      looked at every `every` steps and at the end, as `<set>_accuracy`.
    start: a Subject to go on from.

  Raises:
    Invalid: for arguments out of range; at `init` for data that the model cannot read.
  """
  require(isinstance(steps, int) and steps >= 0, "train.steps", steps, "give a whole number >= 0")
  require(isinstance(batch_size, int) and batch_size >= 2, "train.batch_size", batch_size, "give at least 2 pairs")
  require(negatives in NEGATIVES, "train.negatives", negatives, f"choose one of {list(NEGATIVES)}")
  tx = optim.make(
    optimizer, rate, max(steps, 1), schedule=schedule, warmup=warmup, final=final, weight_decay=weight_decay,
    clip=clip, train=trainable,
  )  # fmt: skip
  texts = remembered(label)
  change = augments.build(augment) if augment else None

  def begin(key, data):
    batches.rows_of(data, train_set)
    image = batches.array_of(data, "image")[:1]
    params, state = (start.params, start.state) if start is not None else model.init(key, image)
    check(params, texts(data))
    return params, state, {}

  def batch(seed, data, t):
    out = batches.epochs(train_set, batch_size, ("image",))(seed, data, t)
    rows = batches.rows_of(data, train_set)
    found = texts(data)
    tag = found.which[rows[batches.shuffled(seed, len(rows), batch_size, t)]]
    return {**out, "text": found.inputs[tag], "tag": tag}

  def objective(params, state, frozen, batch, key, axis):
    del frozen
    image_key, model_key = jax.random.split(key)
    image = pictures.to_float(batch["image"])
    if change is not None:
      image, _ = change(image_key, image, jnp.ones((len(image), 1), jnp.float32))
    seen, state = see(model, params, state, image, train=True, key=model_key)
    text = read(model, params, state, batch["text"])
    loss = info_nce(seen, text, scale(params), batch["tag"], batch["mask"], negatives, axis)
    return {"info_nce": mean_term(loss, batch["mask"])}, state

  def probe(state: Descent, data):
    return accuracies(Subject(model, state.params, state.state), data, texts(data), probe_sets)

  return descend(
    objective, tx, start=begin, finish=lambda params, state, data: Subject(model, params, state), batch=batch,
    steps=steps, probe=probe if probe_sets else None, every=every, convolutional=model.convolutional, whole=True,
  )  # fmt: skip


def info_nce(
  image: jax.Array, text: jax.Array, scale: jax.Array, tag: jax.Array, mask: jax.Array, negatives: str = "distinct",
  axis: str | None = None,
) -> jax.Array:  # fmt: skip
  """The symmetric InfoNCE loss of pairs, float32 `[b]` in nats: mean of image to text and text to image.

  Args:
    image, text: embeddings `[b, d]`, row i of one belongs to row i of the other.
    scale: what inner products are multiplied by.
    tag: int32 `[b]`, equal where the texts are.
    mask: `[b]`, 0 for padding, which is nobody's negative.
    negatives: `distinct` or `all`, see `train`.
    axis: name of a mapped device axis; the negatives are then those of all devices.
  """
  everyone = spread.gather((image, text, tag, mask), axis)
  images, texts, tags, masks = everyone
  at = spread.own(jnp.arange(len(masks)), len(mask), axis)
  mine = at[:, None] == jnp.arange(len(masks))
  left_out = masks == 0
  if negatives == "distinct":
    left_out = left_out | (tag[:, None] == tags)
  logits = lambda one, many: jnp.where(left_out & ~mine, NEVER, scale * (one @ many.T))
  return (losses.cross_entropy(logits(image, texts), at) + losses.cross_entropy(logits(text, images), at)) / 2


def is_dual(params: Any) -> bool:
  """Whether these are parameters of a dual encoder (else, of a classifier)."""
  return "logit_scale" in params


def see(model: Model, params: Any, state: Any, image: jax.Array, train: bool = False, key=None):
  """The embeddings of pictures, float32 `[b, d]`, of length 1 for a dual encoder; and the model's state afterwards."""
  out = model.apply(params, image, state=state, train=train, key=key)
  found = out.features.astype(jnp.float32)
  return (clip.unit(found) if is_dual(params) else found), out.state


def read(model: Model, params: Any, state: Any, text: jax.Array) -> jax.Array:
  """The embeddings of texts (`Texts.inputs`), float32 `[m, d]`."""
  if not is_dual(params):
    return params["head"]["kernel"].T[text].astype(jnp.float32)
  return clip.unit(model.apply(params, text, state=state).features.astype(jnp.float32))


def scale(params: Any) -> jax.Array:
  """What inner products of embeddings are multiplied by, float32 scalar."""
  return clip.scale(params) if is_dual(params) else jnp.float32(1)


def texts_of(data: Data, label: str = "label") -> Texts:
  """The distinct captions of a Data (`ids`), or where it has none its classes under `label`.

  Raises:
    Invalid: without either.
  """
  if "ids" in data.arrays:
    inputs, which = np.unique(data.arrays["ids"], axis=0, return_inverse=True)
    return Texts(inputs.astype(np.int32), which.reshape(-1).astype(np.int32))
  names = data.info.get("labels", {}).get(label)
  if label not in data.arrays or names is None:
    raise Invalid("data.arrays", sorted(data.arrays), f"give captions as word ids 'ids', or the labelling '{label}'")
  return Texts(np.arange(len(names), dtype=np.int32), np.asarray(data.arrays[label], np.int32))


def remembered(label: str) -> Callable[[Data], Texts]:
  """`texts_of`, which remembers the Data that it was asked for last."""
  seen: dict[str, Any] = {}

  def texts(data: Data) -> Texts:
    """The texts of `data`."""
    if seen.get("arrays") is not data.arrays:
      seen.update(arrays=data.arrays, texts=texts_of(data, label))
    return seen["texts"]

  return texts


def check(params: Any, texts: Texts, field: str = "model") -> None:
  """Raises Invalid unless a model with these parameters can read the texts."""
  if is_dual(params):
    require(texts.inputs.ndim == 2, "data.arrays", "no 'ids'", "give pictures with captions, as data.captions makes")
    embed = params["text"].get("embed")
    require(embed is not None, f"{field}.text", sorted(params["text"]), "use a tower that reads word ids")
    most = int(texts.inputs.max())
    require(most < len(embed), f"{field}.vocabulary", len(embed), f"the captions have ids up to {most}")
    longest, positions = texts.inputs.shape[1], len(params["text"].get("positions", texts.inputs[0]))
    require(longest <= positions, f"{field}.length", positions, f"captions have up to {longest} words")
    return
  classes = np.shape(params.get("head", {}).get("kernel", ()))[-1:]
  fits = texts.inputs.ndim == 1 and classes == (len(texts.inputs),)
  require(fits, field, f"{classes} classes", "use models.clip for captions, or a classifier of the data's classes")


def similarities(subject: Subject, images: np.ndarray, texts: np.ndarray, chunk: int = 256) -> np.ndarray:
  """How near pictures are to texts: scaled inner products of embeddings, float32 `[n, m]`, in chunks."""
  if not len(images):
    return np.zeros((0, len(texts)), np.float32)
  found = []
  for rows in pieces(len(images), chunk):
    found.append(np.asarray(_similar(subject.model, subject.params, subject.state, images[rows], texts)))
  return np.concatenate(found)[: len(images)]


@functools.partial(jax.jit, static_argnums=0)
def _similar(model, params, state, images, texts):
  seen, _ = see(model, params, state, images)
  return scale(params) * (seen @ read(model, params, state, texts).T)


def accuracies(subject: Subject, data: Data, texts: Texts, sets: Sequence[str]) -> dict[str, np.float32]:
  """`<set>_accuracy` in [0, 1] for those of `sets` that exist: the share of pictures nearest to their own text."""
  out = {}
  for name in sets:
    if name in data.sets:
      rows = np.asarray(data.sets[name])
      near = similarities(subject, data.arrays["image"][rows], texts.inputs).argmax(-1)
      out[f"{name}_accuracy"] = np.float32(np.mean(near == texts.which[rows]))
  return out

"""The noise of texts by a trained generator: no function here takes a picture, but to add noise to it (T2UE, 2025).

Source: "T2UE: Generating Unlearnable Examples from Text Descriptions", where protecting is called zero-contact.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Subject
from ue_jax.data import caption_file, words
from ue_jax.models import minilm, modulated
from ue_jax.models.model import Model
from ue_jax.protect import publish
from ue_jax.protect.captioned import described, embeddings, moments
from ue_jax.train import batches, contrastive, pgd
from ue_jax.train.descend import Descent


@functools.lru_cache(maxsize=16)  # one object a network: compiled functions are found again by it
def network(shape: tuple[int, ...], read: int, modulation: str, width: int, blocks: int, remat: bool = False) -> Model:
  """The generator for pictures `[..., h, w, c]` and embeddings of `read` features; `width` and `blocks` 0: chosen."""
  side, channels = max(shape[-3:-1]), shape[-1]
  count = blocks or blocks_for(side)
  base = -(-side // 2 ** (count - 1))
  return modulated.generator(width or max(8, read // 8), count, base, channels, modulation, remat)


def text_painter(
  state: Descent, data: Data, surrogate: Subject, sentences: Sequence[str], names: Sequence[str], *,
  known_set: str = "known", label: str = "label", templates: int | Sequence[str] = 0, text: str = "surrogate",
  standard: bool = True, squash: str = "clamp", modulation: str = "sscbn", width: int = 0, blocks: int = 0,
  latents: int = 32,
) -> Callable[[np.ndarray, int], np.ndarray]:  # fmt: skip
  """`fn(picture, row)` for pictures of any size, of which nothing was known: the noise of their captions, stretched.

  A picture's noise depends on the trained generator, its caption and its name (which chooses the latent), on nothing
  else: pictures beside it may come and go.

  Args:
    state: of `t2ue.protect` after its last step.
    data: what its `init` was given: the public pairs, whose size of pictures is that of the noise.
    surrogate: what it was given.
    sentences: the caption of every row.
    names: of the pictures, one a row.
    known_set, label, templates, text, standard, squash, modulation, width, blocks, latents: as in `t2ue.protect`.

  Returns:
    A function of a picture `[height, width, 1 or 3]` (uint8, or float in [0, 1]) and its row, to uint8. No value moves
    by more than floor(255 eps) grey levels.

  Raises:
    Invalid: if the captions cannot be read: with `text="surrogate"` by a classifier, or for a word beyond a vocabulary.
  """
  read = reader(data, surrogate, known_set, label, templates, text, standard)
  for sentence in dict.fromkeys(sentences) if text == "surrogate" else ():
    ids_of(sentence, data, surrogate)  # a word that is not known is named before the first picture is written
  shape = data.arrays["image"].shape
  made = Subject(network(shape, state.frozen["read"].shape[1], modulation, width, blocks), state.params, state.state)
  eps = state.frozen["eps"]

  def paint(picture, row):
    """The protected picture, uint8 of the same height and width."""
    identity = np.array([zlib.crc32(names[row].encode()) >> 1], np.int32)
    z = latents_of(state.key, state.frozen["bank"], identity, latents)
    whole = levels(made, read(sentences[row]), z, eps, shape[1:3], squash)
    return publish.paint_levels(picture, whole[0])

  return paint


def reader(data: Data, surrogate: Subject, known_set, label, templates, text, standard) -> Callable[[str], jax.Array]:
  """`fn(sentence)`: its embedding float32 `[1, d]`, scaled as those of the public texts were; see `text_painter`.

  Sentences are read one at a time, at one width: in batches their last bits would depend on each other.
  """
  data = described(label, templates)(data)
  texts = contrastive.texts_of(data, label)
  if text == "surrogate":
    fit = contrastive.is_dual(surrogate.params) and "ids" in data.arrays
    require(fit, "protect.surrogate", "a classifier", "use a dual encoder (models.clip), or text='minilm'")
    look = lambda sentence: _embedded(*surrogate[:3], ids_of(sentence, data, surrogate))
  else:
    weights = minilm.load("" if text == "minilm" else text)
    look = lambda sentence: jnp.asarray(minilm.encode(weights, [sentence]))
  mean, spread = 0.0, 1.0
  if standard:
    shown = texts.which[batches.rows_of(data, known_set)]
    mean, spread = moments(embeddings(surrogate, data, texts, text, label), shown)
  return functools.lru_cache(maxsize=1024)(lambda sentence: (look(sentence) - mean) / spread)


def ids_of(sentence: str, data: Data, surrogate: Subject) -> np.ndarray:
  """A sentence as word ids int32 `[1, t]`, in the vocabulary of the public captions."""
  positions = surrogate.params["text"].get("positions")
  most = caption_file.MOST if positions is None else min(len(positions), caption_file.MOST)
  return words.encode([sentence], data.info["vocabulary"], most)


def perturb(generator: Subject, text: jax.Array, latent: jax.Array, eps, squash: str = "clamp") -> jax.Array:
  """The perturbations of texts, float32 `[b, side, side, c]` within eps: no picture is looked at.

  Args:
    generator: `models.modulated` as trained here; used in evaluation mode, so that a text's noise is its own.
    text: embeddings float32 `[b, d]`, scaled as in training.
    latent: float32 `[b, z]`.
    eps: budget in units of [0, 1]; may be traced.
    squash: as in training.
  """
  out = generator.model.apply(generator.params, (text, latent), state=generator.state, train=False)
  return bounded(out.features, eps, squash)


def levels(generator: Subject, text, latent, eps, side: tuple[int, int], squash: str = "clamp") -> np.ndarray:
  """The perturbations of texts in whole grey levels, int16 `[b, *side, c]`, none beyond floor(255 eps)."""
  return publish.levels(crafted(generator, text, latent, eps, side, squash), eps)


def crafted(generator: Subject, text, latent, eps, side: tuple[int, int], squash: str = "clamp") -> np.ndarray:
  """The perturbations of texts at the size of pictures, float32 `[b, *side, c]` within eps."""
  delta = _perturb(generator.model, generator.params, generator.state, text, latent, jnp.float32(eps), squash)
  return fitted(np.asarray(delta), *side)


@functools.partial(jax.jit, static_argnums=0)
def _embedded(model, params, state, ids):
  return model.apply(params, ids, state=state).features.astype(jnp.float32)


@functools.partial(jax.jit, static_argnums=(0, 6))
def _perturb(model, params, state, text, latent, eps, squash):
  return perturb(Subject(model, params, state), text, latent, eps, squash)


def bounded(out: jax.Array, eps, squash: str) -> jax.Array:
  """The generator's output, in (-1, 1), within the budget: cut at eps (`clamp`), or multiplied by it (`tanh`)."""
  return pgd.project(out if squash == "clamp" else out * eps, eps)


def fitted(delta, height: int, width: int):
  """Perturbations `[b, h, w, c]` at the size of pictures, by nearest neighbour."""
  return delta if delta.shape[1:3] == (height, width) else publish.stretch(delta, height, width)


def latents_of(key: jax.Array, bank: jax.Array, index: np.ndarray, latents: int) -> jax.Array:
  """The latents `[b, z]` of pictures with identity `index` `[b]`: of the bank in turn, or (0) drawn for each."""
  if latents:
    return bank[index % latents]
  return jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), bank.shape[1:], jnp.float32))(index)


def blocks_for(side: int) -> int:
  """Blocks from a grid of 4 to at least `side` pixels, 7 at most."""
  return next((count for count in range(1, 7) if 4 * 2 ** (count - 1) >= side), 7)

"""Noise of texts: within its budget, and painted on pictures of any size by caption, name and generator alone."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Subject
from ue_jax.data import caption_file, words
from ue_jax.models import clip, minilm, mlp
from ue_jax.protect import t2ue, text_noise
from ue_jax.train import contrastive

EPS, TEXTS = 12.4 / 255, ["red disc", "blue disc", "a green square"]
SIZES = dict(width=2, latent=4, latents=3, squash="tanh", eps=EPS)


def made(buckets=0, **settings):
  """Public pairs of 8 pixels, a surrogate that is not trained, and a generator with weights that texts reach."""
  rows = np.arange(6, dtype=np.int32)
  image = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
  bare = Data({"image": image, "index": rows}, {"known": rows, "train": rows}, {})
  data = words.captioned(bare, rows % 3, TEXTS, buckets)
  known = data.info["vocabulary"]
  model = clip.model(image="cnn", text="mean", vocabulary=known if buckets else len(known), widths=(4,), embedding=6)
  surrogate = Subject(model, *model.init(jax.random.key(1), image[:1]))
  state = t2ue.protect(surrogate, **SIZES, **settings).init(jax.random.key(0), data)
  leaves, shape = jax.tree.flatten(state.params)
  drawn = [x + 0.5 * jax.random.normal(jax.random.key(i), x.shape) for i, x in enumerate(leaves)]
  return data, surrogate, state._replace(params=jax.tree.unflatten(shape, drawn))


def painter(world, sentences, names, **settings):
  data, surrogate, state = world
  return text_noise.text_painter(state, data, surrogate, sentences, names, width=2, latents=3, squash="tanh",
                                 **settings)  # fmt: skip


@pytest.fixture(scope="module")
def world():
  return made()


@pytest.fixture(scope="module")
def free():
  return made(buckets=500)


@pytest.mark.parametrize("standard", [True, False])
def test_what_is_painted_is_the_noise_that_the_method_publishes_for_that_text_and_latent(standard):
  data, surrogate, state = made(standard=standard)
  names = [f"{i}.png" for i in range(6)]
  paint = painter((data, surrogate, state), [TEXTS[row % 3] for row in range(6)], names, standard=standard)
  texts = contrastive.texts_of(data)
  for row, name in enumerate(names):
    turn = (zlib.crc32(name.encode()) >> 1) % 3
    z, read = state.frozen["bank"][turn][None], state.frozen["read"][texts.which[row]][None]
    generator = Subject(text_noise.network((8, 8, 3), 6, "sscbn", 2, 0), state.params, state.state)
    whole = text_noise.levels(generator, read, z, EPS, (8, 8), "tanh")[0]
    got = paint(np.full((16, 24, 3), 128, np.uint8), row).astype(int) - 128
    assert np.abs(got - np.repeat(np.repeat(whole, 2, 0), 3, 1)).max() <= 1  # a level, where rounding is a tie
    assert (got == np.repeat(np.repeat(whole, 2, 0), 3, 1)).mean() > 0.99 and 3 < np.abs(got).max() <= 12


def test_a_picture_does_not_matter_nor_do_those_beside_it(free):
  sentences, names = ["a dog on a beach", "a cat", "a dog on a beach"], ["a/1.png", "b.png", "c.png"]
  change = lambda paint, row, level: paint(np.full((8, 8, 3), level, np.uint8), row).astype(int) - level
  paint = painter(free, sentences, names)
  assert np.array_equal(change(paint, 1, 128), change(paint, 1, 90))
  longer = painter(free, ["something " * 60, "a cat"], ["0.png", "b.png"])
  np.testing.assert_array_equal(change(longer, 1, 128), change(paint, 1, 128))
  other = painter(free, ["a cat", "a dog"], ["b.png", "b.png"])
  assert np.array_equal(change(other, 0, 128), change(paint, 1, 128))
  assert (change(other, 1, 128) != change(paint, 1, 128)).any()


def test_grey_pictures_take_the_first_channel_and_floats_are_rounded(free):
  paint = painter(free, ["a cat"], ["b.png"])
  colour, grey = paint(np.full((9, 7, 3), 128, np.uint8), 0), paint(np.full((9, 7, 1), 128, np.uint8), 0)
  assert np.array_equal(grey, colour[..., :1])
  assert np.array_equal(paint(np.full((9, 7, 3), 128 / 255, np.float32), 0), colour)


def test_a_word_beyond_the_vocabulary_or_too_many_are_named_before_anything_is_painted(world, free):
  with pytest.raises(Invalid, match="caption = 'dog'"):
    painter(world, ["red disc", "a dog"], ["a", "b"])
  assert painter(world, ["a blue square"], ["a"])
  with pytest.raises(Invalid, match="shorten it to 64"):
    painter(free, ["w " * (caption_file.MOST + 1)], ["a"])


def test_a_classifier_reads_no_captions(world):
  model = mlp.model(classes=3, widths=(4,))
  subject = Subject(model, *model.init(jax.random.key(0), world[0].arrays["image"][:1]))
  with pytest.raises(Invalid, match="protect.surrogate.*dual encoder"):
    painter((world[0], subject, world[2]), ["red disc"], ["a"])


def test_sentence_embeddings_may_read_captions(world, monkeypatch):
  asked = []
  monkeypatch.setattr(minilm, "load", lambda path: asked.append(path) or "reader")
  seen = lambda reader, words: np.array([[len(word), word.count("r")] for word in words], np.float32)
  monkeypatch.setattr(minilm, "encode", seen)
  data, surrogate, _ = world
  read = text_noise.reader(data, surrogate, "known", "label", 0, "minilm", True)
  table = seen(None, TEXTS)
  np.testing.assert_allclose(read("a dog"), (seen(None, ["a dog"]) - table.mean(0)) / table.std(0), rtol=1e-5)
  assert set(asked) == {""}


@pytest.mark.parametrize("squash", ["clamp", "tanh"])
def test_both_ways_of_bounding_stay_within_a_traced_budget(squash):
  out = jnp.linspace(-1, 1, 101)[None, :, None, None]
  got = jax.jit(lambda eps: text_noise.bounded(out, eps, squash))(0.1)
  want = np.clip(out, -0.1, 0.1) if squash == "clamp" else out * 0.1
  np.testing.assert_allclose(got, want, atol=1e-7)


def test_latents_are_used_in_turn_or_drawn_for_each_index():
  key, bank = jax.random.key(0), jnp.arange(6.0).reshape(3, 2)
  assert np.array_equal(text_noise.latents_of(key, bank, np.array([4, 3]), 3), bank[np.array([1, 0])])
  drawn = np.asarray(text_noise.latents_of(key, bank, np.array([7, 8, 7]), 0))
  assert np.array_equal(drawn[0], drawn[2]) and not np.allclose(drawn[0], drawn[1])


def test_blocks_reach_the_side():
  assert [text_noise.blocks_for(side) for side in (4, 8, 16, 28, 32, 224, 256, 500)] == [1, 2, 3, 4, 4, 7, 7, 7]
  assert text_noise.fitted(np.zeros((2, 8, 8, 3)), 5, 7).shape == (2, 5, 7, 3)

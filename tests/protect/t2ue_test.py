"""T2UE: noise of texts alone and within its budget, a loss held to numpy, and a generator that learns to be read."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Subject, check_data
from ue_jax.data import captions, words
from ue_jax.models import clip, minilm, modulated
from ue_jax.protect import captioned, t2ue, text_noise
from ue_jax.train import contrastive

EPS = 32 / 255
SIZES = dict(eps=EPS, batch_size=24, rate=1e-2, width=2, latent=4, latents=2, squash="tanh", temperature=0.2)


@pytest.fixture(scope="module")
def data():
  """Six colours as pictures of 8 pixels: one plain square each, with its caption."""
  rng = np.random.default_rng(0)
  caption = (np.arange(120) % 6).astype(np.int32)
  ink = np.array(list(captions.COLOURS.values()))[caption][:, None, None]
  image = np.full((120, 8, 8, 3), 0.45)
  image[:, 2:6, 2:6] = 0.45 + 0.3 * (ink - 0.45)
  image = np.round(255 * np.clip(image + 0.12 * rng.normal(size=image.shape), 0, 1)).astype(np.uint8)
  index, rows = np.arange(120, dtype=np.int32) + 1000, np.arange(120, dtype=np.int32)
  half = (caption // 3).astype(np.int32)
  found = Data(
    {"image": image, "index": index, "half": half},
    {"known": rows[:60], "train": rows[60:96], "test": rows[96:]},
    {"labels": {"half": ["low", "high"]}},
  )  # fmt: skip
  return words.captioned(found, caption, [f"{colour} square" for colour in captions.COLOURS])


@pytest.fixture(scope="module")
def surrogate(data):
  model = clip.model(image="cnn", text="mean", vocabulary=8, widths=(4,), embedding=6)
  procedure = contrastive.train(model, train_set="known", steps=80, batch_size=24, rate=2e-2, probe_sets=())
  return procedure.finish(craft(procedure, data, 80), data)


def craft(procedure, data, steps):
  state, step = procedure.init(jax.random.key(0), data), jax.jit(procedure.step)
  for t in range(steps):
    state, _ = step(state, procedure.batch(0, data, t))
  return state


@pytest.fixture(scope="module")
def crafted(surrogate, data):
  procedure = t2ue.protect(surrogate, steps=100, pairs="shuffled", **SIZES)
  state = craft(procedure, data, 100)
  return procedure, state, check_data(procedure.finish(state, data))


@pytest.fixture(scope="module")
def generator(crafted):
  return Subject(modulated.generator(2, 2, 4), crafted[1].params, crafted[1].state)


def noise_of(generator, read, latents):
  """float32 `[b, 8, 8, 3]` of embeddings and latents, up to 36: one compilation for all tests."""
  fill = lambda x: jnp.concatenate([x, jnp.zeros((36 - len(x), x.shape[1]))])
  return np.asarray(jitted(generator, fill(read), fill(latents)))[: len(read)]


def jitted(generator, read, latents):
  model, params, state = generator[:3]
  return text_noise._perturb(model, params, state, read, latents, jnp.float32(EPS), "tanh")


def test_no_picture_is_an_argument_of_what_protects_and_equal_texts_have_equal_noise(crafted, data):
  for fn in (text_noise.perturb, text_noise.levels):
    assert not {"image", "images", "picture", "x", "data"} & set(inspect.signature(fn).parameters)
  caption, rows = data.arrays["caption"], data.sets["train"]

  def change(level):
    """What is added to pictures of one grey level, far from black and white."""
    grey = Data({**data.arrays, "image": np.full_like(data.arrays["image"], level)}, data.sets, data.info)
    return crafted[0].finish(crafted[1], grey).arrays["image"][rows].astype(int) - level

  noise = change(128)
  np.testing.assert_array_equal(noise, change(90))
  for kind in range(6):
    for turn in (0, 1):  # two latents, used in turn
      mine = noise[(caption[rows] == kind) & (data.arrays["index"][rows] % 2 == turn)]
      assert all(np.array_equal(mine[0], other) for other in mine)
  assert len(np.unique(noise.reshape(len(rows), -1), axis=0)) == 6  # row i has caption and latent i mod 6, i mod 2


def test_the_noise_of_a_text_does_not_depend_on_the_texts_beside_it(crafted, generator):
  read, bank = crafted[1].frozen["read"], crafted[1].frozen["bank"]
  together = noise_of(generator, read, bank[jnp.zeros(6, jnp.int32)])
  np.testing.assert_array_equal(noise_of(generator, read[2:3], bank[:1])[0], together[2])
  assert np.abs(together[1] - together[2]).max() > 0.01


def test_the_budget_holds_and_other_rows_stay(crafted, data):
  image, out = data.arrays["image"], crafted[2]
  changed = np.abs(out.arrays["image"][:120].astype(int) - image).reshape(120, -1).max(1)
  assert (changed[data.sets["train"]] <= 32).all() and changed[data.sets["train"]].min() >= 16
  assert (changed[:60] == 0).all() and (changed[96:] == 0).all()
  assert set(out.sets) - set(data.sets) == {"test_protected"}


def test_what_is_told_of_the_crafted_noise_is_that_of_the_floats(crafted, data):
  told, train = crafted[2].info["crafted"], data.sets["train"]
  bytes_of = np.abs(crafted[2].arrays["image"][train].astype(int) - data.arrays["image"][train]).max()
  largest = 255 * told["linf"][2]
  assert abs(largest - bytes_of) <= 0.5 and largest <= 255 * EPS + 1e-3
  assert told["pictures"] == len(train) and min(told["linf"]) * 255 % 1 > 1e-3


def test_noise_brings_pictures_near_their_text_and_that_of_another_text_redirects_them(crafted, surrogate, data):
  procedure, state, _ = crafted
  seen = {name: float(x) for name, x in procedure.probe(state, data).items()}
  fresh = procedure.probe(procedure.init(jax.random.key(0), data), data)
  assert seen["nll"] <= 0.6 * seen["nll_clean"] and seen["redirect"] >= 0.4 > 0.25 > float(fresh["redirect"])
  texts, rows = contrastive.texts_of(data), data.sets["train"]
  signs = np.random.default_rng(0).choice([-32, 32], (10, len(rows), 8, 8, 3))
  image = np.clip(data.arrays["image"][rows] + signs, 0, 255).astype(np.uint8).reshape(-1, 8, 8, 3)
  near = contrastive.similarities(surrogate, image, texts.inputs).astype(np.float64)
  lost = np.log(np.exp(near).sum(1)) - near[np.arange(len(near)), np.tile(texts.which[rows], 10)]
  assert lost.mean() >= 0.95 * seen["nll_clean"]


def test_judge_equals_a_count_by_hand(crafted, generator, surrogate, data):
  frozen, texts, rows = crafted[1].frozen, contrastive.texts_of(data), data.sets["train"]
  got = t2ue.judge(surrogate, generator, frozen, data, texts, rows, "tanh")
  own, turn = texts.which[rows], np.arange(36)
  other = (own + 1 + turn % 5) % 6
  near = {}
  for name, tag in (("own", own), ("other", other)):
    whole = np.round(noise_of(generator, frozen["read"][tag], frozen["bank"][turn % 2]) * 255).astype(int)
    noisy = np.clip(data.arrays["image"][rows] + whole, 0, 255).astype(np.uint8)
    near[name] = contrastive.similarities(surrogate, noisy, texts.inputs).astype(np.float64)
  lost = np.log(np.exp(near["own"]).sum(1)) - near["own"][turn, own]
  assert (other != own).all() and float(got["nll"]) == pytest.approx(lost.mean(), abs=1e-4)
  hits = [row.argmax() == tag for row, tag in zip(near["other"], other)]
  assert float(got["redirect"]) == pytest.approx(np.mean(hits))


def test_latents_vary_the_noise_less_than_texts_do(crafted, generator):
  latents = jax.random.normal(jax.random.key(5), (16, 4))
  read = crafted[1].frozen["read"]
  by_latent = noise_of(generator, jnp.tile(read[:1], (16, 1)), latents)
  by_text = noise_of(generator, read, jnp.tile(latents[:1], (6, 1)))
  apart = lambda x: np.mean([np.linalg.norm(a - b) for i, a in enumerate(x) for b in x[:i]])
  assert 0 < apart(by_latent) < apart(by_text)


def test_the_loss_is_info_nce_of_pictures_with_the_noise_of_the_tags(generator, crafted, surrogate, data):
  state, batch = crafted[1], crafted[0].batch(0, data, 0)
  batch = {**batch, "mask": (np.arange(24) < 20).astype(np.float32)}
  key = jax.random.key(3)
  how = t2ue.How(surrogate.model, "tanh", "all", True, None)

  @jax.jit
  def run(read):
    latent = jax.random.normal(jax.random.split(key)[0], (24, 4))
    out = generator.model.apply(state.params, (read[batch["tag"]], latent), state=state.state, train=True).features
    return t2ue.objective(generator.model, how, state.params, state.state, state.frozen, batch, key)[0], out

  terms, out = run(state.frozen["read"])
  x = np.clip(batch["image"] / np.float32(255) + EPS * np.asarray(out), 0, 1)
  look = jax.jit(lambda x: contrastive.see(surrogate.model, surrogate.params, surrogate.state, x)[0])
  see = lambda x: np.asarray(look(jnp.asarray(x, jnp.float32)), np.float64)[:20]
  clean = batch["image"] / np.float32(255)
  for name, aim in (("info_nce", np.asarray(state.frozen["aim"])[batch["tag"]][:20]), ("clean", see(clean))):
    logits = 5.0 * see(x) @ aim.T
    lost = sum(np.log(np.exp(z).sum(1)) - np.diag(z) for z in (logits, logits.T)) / 2
    assert float(terms[name].total) == pytest.approx(lost.sum(), rel=1e-3) and float(terms[name].weight) == 20
  assert float(terms["clean"].scale) == 0


def test_pairs_are_own_or_of_the_neighbour_in_the_batch(surrogate, data):
  batch = lambda pairs: t2ue.protect(surrogate, pairs=pairs, batch_size=24).batch(0, data, 3)
  own, shuffled = batch("own"), batch("shuffled")
  place = own["index"] - 1000
  assert set(place) <= set(data.sets["known"])
  assert np.array_equal(own["tag"], contrastive.texts_of(data).which[place])
  assert np.array_equal(shuffled["tag"][1:], own["tag"][:-1]) and np.array_equal(own["image"], shuffled["image"])


def test_whose_caption_speaks(data):
  texts, key = contrastive.texts_of(data), jax.random.key(1)
  spoken = {s: np.asarray(captioned.told(data, texts, s, "half", key)) for s in t2ue.CHOICES["strategy"]}
  assert np.array_equal(spoken["caption"], texts.which)
  first = [texts.which[list(data.arrays["caption"]).index(c)] for c in (0, 3)]  # 0, 1, 2 are low; 3, 4, 5 are high
  assert np.array_equal(spoken["class"], np.array(first)[data.arrays["half"]])
  assert set(spoken["permuted"]) == set(range(6)) and np.mean(spoken["permuted"] == texts.which) < 0.4
  told = captioned.sentences(data, texts, "half")
  assert [told[w] for w in texts.which] == [data.info["labels"]["caption"][c] for c in data.arrays["caption"]]


def test_captions_made_of_class_names_are_those_that_data_may_bring_along(surrogate, data):
  bare = Data({k: v for k, v in data.arrays.items() if k not in ("ids", "caption")}, data.sets, {
    "labels": {"kind": list(captions.COLOURS)}
  })  # fmt: skip
  bare.arrays["kind"] = data.arrays["caption"]
  named = t2ue.protect(surrogate, label="kind", templates=("{} square",), **SIZES)
  brought = t2ue.protect(surrogate, label="kind", **SIZES)
  got, want = named.init(jax.random.key(0), bare), brought.init(jax.random.key(0), data)
  for name in ("read", "aim", "told"):
    np.testing.assert_array_equal(got.frozen[name], want.frozen[name])
  assert np.array_equal(named.batch(0, bare, 2)["tag"], brought.batch(0, data, 2)["tag"])
  published = named.finish(got, bare)
  assert set(published.arrays) == set(bare.arrays)
  np.testing.assert_array_equal(published.arrays["image"], brought.finish(want, data).arrays["image"])
  with pytest.raises(Invalid, match="protect.templates.*captions of its own"):
    named.init(jax.random.key(0), data._replace(arrays={**data.arrays, "kind": data.arrays["caption"]}))
  with pytest.raises(Invalid, match="protect.templates"):
    t2ue.protect(surrogate, templates=19)


def test_texts_are_standardised_over_the_public_ones_alone():
  read = jnp.asarray(np.random.default_rng(0).normal(3, 2, (5, 4)), jnp.float32).at[:, 3].set(7.0)
  got = np.asarray(captioned.scaled(read, np.array([0, 1, 2, 2, 2])))
  np.testing.assert_allclose(got[:3, :3].mean(0), 0, atol=1e-6)
  np.testing.assert_allclose(got[:3, :3].std(0), 1, rtol=1e-5)
  assert (got[:, 3] == 0).all() and np.abs(got[3:, :3]).max() > 1


@pytest.mark.parametrize("wrong", [
  {"eps": 2.0}, {"steps": -1}, {"batch_size": 1}, {"latent": 0}, {"latents": -1}, {"temperature": -1.0}, {"rate": 0.0},
  {"weight_clean": -1.0}, {"squash": "cut"}, {"pairs": "any"}, {"strategy": "own"}, {"negatives": "none"},
])  # fmt: skip
def test_settings_out_of_range_are_named(surrogate, wrong):
  with pytest.raises(Invalid, match=f"protect.{next(iter(wrong))}"):
    t2ue.protect(surrogate, **wrong)


def test_data_without_public_pairs_or_words_is_named(surrogate, data):
  with pytest.raises(Invalid, match="set = 'known'"):
    t2ue.protect(surrogate).init(jax.random.key(0), data._replace(sets={"train": data.sets["train"]}))
  with pytest.raises(Invalid, match="caption"):
    captioned.sentences(data._replace(info={}), contrastive.texts_of(data), "label")


def test_captions_may_be_read_by_sentence_embeddings(surrogate, data, monkeypatch):
  asked = []
  monkeypatch.setattr(minilm, "load", lambda path: asked.append(path) or "reader")
  numbers = lambda words: [[len(word), word.count("r")] for word in words]
  monkeypatch.setattr(minilm, "encode", lambda reader, words: np.array(numbers(words), np.float32))
  texts = contrastive.texts_of(data)
  read = [captioned.embeddings(surrogate, data, texts, text, "half") for text in ("minilm", "DIR")]
  assert asked == ["", "DIR"]
  spelt = [data.info["labels"]["caption"][c] for c in data.arrays["caption"]]
  assert np.asarray(read[0])[texts.which].tolist() == numbers(spelt)
  state = t2ue.protect(surrogate, text="minilm", **SIZES).init(jax.random.key(0), data)
  assert state.params["block_0"]["affine_0"]["gamma_in"]["kernel"].shape[0] == 2
  own = captioned.embeddings(surrogate, data, texts, "surrogate", "half")
  np.testing.assert_array_equal(own, surrogate.params["text"]["embed"][texts.inputs].mean(1))

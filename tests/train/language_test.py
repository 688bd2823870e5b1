"""Training of token models; the model is a table of bigrams."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Subject
from ue_jax.data import packed
from ue_jax.models import transformer
from ue_jax.models.attention import Packed
from ue_jax.models.model import Model, Out
from ue_jax.train import language
from ue_jax.train.loop import fit

WORDS = 6


def apply(params, inputs, *, state={}, train=False, key=None, taps={}):
  return Out(params["table"][inputs], params["table"][inputs], state)


MODEL = Model(lambda key, ids: ({"table": jax.random.normal(key, (WORDS, WORDS)) * 0.1}, {}), apply)


def data(n=41, length=7):
  """`train` counts up, `other` counts down; sequences end early at random."""
  rng = np.random.default_rng(0)
  first, ends = rng.integers(0, WORDS, (n, 1)), rng.integers(3, length + 1, (n, 1))
  sign = np.where(np.arange(n)[:, None] < 30, 1, -1)
  at = np.arange(length)[None]
  ids = np.where(at < ends, (first + sign * at) % WORDS, 0).astype(np.int32)
  mask = ((at > 0) & (at < ends)).astype(np.float32)
  sets = {"train": np.arange(30, dtype=np.int32), "other": np.arange(30, n, dtype=np.int32)}
  return Data({"ids": ids, "mask": mask, "index": np.arange(n, dtype=np.int32)}, sets)


DATA = data()


def test_training_learns_the_sequences_and_scores_targets_only():
  p = language.train(MODEL, steps=120, batch_size=16, rate=0.1, probe_sets=("train", "other"), every=60)
  history = fit(p, DATA, mode="one").history
  assert history["train_accuracy"][-1] == 1.0 and history["train_nll"][-1] < 0.1
  assert history["other_accuracy"][-1] == 0.0 and history["other_nll"][-1] > np.log(WORDS)


@pytest.mark.parametrize("size", [4, 64])
def test_scores_are_means_over_target_tokens_whatever_the_chunks(size):
  params, _ = MODEL.init(jax.random.key(1), None)
  ids, mask = DATA.arrays["ids"][:30], DATA.arrays["mask"][:30]
  table = np.asarray(params["table"], np.float64)
  logp = table - np.log(np.exp(table).sum(-1, keepdims=True))
  nll = -(logp[ids[:, :-1], ids[:, 1:]] * mask[:, 1:]).sum() / mask.sum()
  hits = ((table.argmax(-1)[ids[:, :-1]] == ids[:, 1:]) * mask[:, 1:]).sum() / mask.sum()
  found = language.token_scores(MODEL, params, {}, DATA, ("train", "absent"), batch_size=size)
  assert set(found) == {"train_nll", "train_accuracy"}
  np.testing.assert_allclose([found["train_nll"], found["train_accuracy"]], [nll, hits], rtol=1e-5)


def test_the_loss_is_a_mean_over_tokens_and_not_over_sequences():
  params, _ = MODEL.init(jax.random.key(1), None)
  batch = {"train": {k: jnp.asarray(DATA.arrays[k][:30]) for k in ("ids", "mask")}}
  term = jax.jit(language.objective(MODEL))(params, {}, {}, batch, jax.random.key(0))[0]["train"]
  wanted = language.token_scores(MODEL, params, {}, DATA, ("train",))["train_nll"]
  np.testing.assert_allclose(term.total / term.weight, wanted, rtol=1e-5)
  assert float(term.weight) == DATA.arrays["mask"][:30].sum()


def test_replay_adds_terms_with_their_scales():
  p = language.train(MODEL, train_sets=("train", "other"), scales=(1.0, 0.5), steps=5, batch_size=8)
  history = fit(p, DATA, mode="one").history
  np.testing.assert_allclose(history["loss"], history["train"] + 0.5 * history["other"], rtol=1e-5)


def test_tokens_before_the_last_target_count_as_asked_and_padding_never():
  ids = jnp.array([[3, 1, 4, 1, 5, 0], [2, 0, 5, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
  mask = jnp.array([[0.0, 0, 1, 0, 1, 0], [0, 0.5, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
  wanted = [[0, 0.2, 1, 0.2, 1, 0], [0, 0.5, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
  np.testing.assert_allclose(language.weights(mask, 0.2), wanted, rtol=1e-6)
  assert np.array_equal(language.weights(mask), mask)
  params, _ = MODEL.init(jax.random.key(1), None)
  objective = jax.jit(language.objective(MODEL, prompt=0.2))
  term = objective(params, {}, {}, {"train": {"ids": ids, "mask": mask}}, jax.random.key(0))
  logp = np.asarray(jax.nn.log_softmax(params["table"]))[np.asarray(ids)[:, :-1], np.asarray(ids)[:, 1:]]
  np.testing.assert_allclose(term[0]["train"].total, -(logp * np.array(wanted)[:, 1:]).sum(), rtol=1e-5)


def test_every_set_may_have_batches_of_its_own_size_and_width():
  arrays = {**DATA.arrays, "mask": DATA.arrays["mask"] * (np.arange(41) < 30)[:, None]}
  arrays["mask"][30:, 1] = 1  # `other` has targets in the second column only
  p = language.train(MODEL, train_sets=("train", "other"), steps=5, batch_size=(8, 3))
  batch = p.batch(0, Data(arrays, DATA.sets), 0)
  assert {name: part["ids"].shape for name, part in batch.items()} == {"train": (8, 7), "other": (3, 2)}


@pytest.mark.parametrize("kw, words", [
  (dict(batch_size=(4, 4)), "train.batch_size"), (dict(prompt=2.0), "train.prompt"),
  (dict(train_sets=()), "train.train_sets"), (dict(scales=(1.0, 2.0)), "train.scales"),
  (dict(train_sets=("absent",)), "set.*train"), (dict(batch_size=0), "train.batch_size"),
  (dict(pack=16), "train.pack = 16: .*one text a row"),
])  # fmt: skip
def test_what_does_not_fit_is_named(kw, words):
  with pytest.raises(Invalid, match=words):
    language.train(MODEL, **{"steps": 2, **kw}).init(jax.random.key(0), DATA)


def test_adapters_alone_are_trained_and_merged_at_the_end():
  params = {"a": {"kernel": jnp.eye(WORDS)}, "rest": jnp.ones(3)}
  apply = lambda p, ids, **more: Out(p["a"]["kernel"][ids] * p["rest"][0], p["rest"], more.get("state", {}))
  begun = Subject(Model(lambda key, ids: (params, {}), apply), params)
  asked = dict(steps=60, batch_size=16, rate=0.1, start=begun, lora=dict(rank=2, alpha=4.0, where="kernel$"))
  p = language.train(begun.model, probe_sets=("train",), every=30, **asked)
  state = p.init(jax.random.key(0), DATA)
  assert {x.shape for x in jax.tree.leaves(state.params)} == {(WORDS, 2), (2, WORDS)}
  done = fit(p, DATA, mode="one")
  change = np.asarray(done.params["a"]["kernel"]) - np.eye(WORDS)
  values = np.linalg.svd(change, compute_uv=False)
  assert values[1] > 0.1 and values[2] < 1e-5 and (done.params["rest"] == params["rest"]).all()
  scores = language.token_scores(begun.model, done.params, {}, DATA, ("train",))
  np.testing.assert_allclose(done.history["train_nll"][-1], scores["train_nll"], rtol=1e-4)
  assert scores["train_nll"] < language.token_scores(begun.model, params, {}, DATA, ("train",))["train_nll"] - 0.3
  with pytest.raises(Invalid, match="train.lora"):
    language.train(begun.model, lora=dict(rank=2)).init(jax.random.key(0), DATA)
  with pytest.raises(Invalid, match="train.lora.size"):
    language.train(begun.model, start=begun, lora=dict(size=2))


def test_packed_sequences_have_the_loss_and_the_gradient_that_they_have_alone():
  decoder = transformer.model(WORDS, width=16, depth=2, heads=2, hidden=24, window=5)
  params, _ = decoder.init(jax.random.key(3), DATA.arrays["ids"][:1])
  params = jax.tree.map(lambda p: 2 * p, params)
  data = DATA._replace(arrays={**DATA.arrays, "mask": DATA.arrays["mask"] * (np.arange(7) != 1)})  # a prompt
  rows = len(packed.pack(data.arrays["ids"][:30], data.arrays["mask"][:30], 16)["ids"])
  made = language.train(decoder, batch_size=rows, pack=16, steps=1).batch(0, data, 0)["train"]
  assert made["ids"].shape == (rows, 16) and rows < 15 and set(made["row"]) == set(range(rows))

  @jax.jit
  def loss(params, batch):
    asked = language.objective(decoder, prompt=0.3)
    terms = lambda p: asked(p, {}, {}, {"train": batch}, jax.random.key(0))[0]["train"]
    return terms(params), jax.grad(lambda p: terms(p).total)(params)

  alone, slope = loss(params, {key: data.arrays[key][:30] for key in ("ids", "mask")})
  both, other = loss(params, {key: made[key] for key in ("ids", "mask", "segment")})
  np.testing.assert_allclose(both.weight, alone.weight, rtol=1e-6)
  assert float(both.weight) > data.arrays["mask"][:30].sum(), "what stands before the targets counts a little"
  np.testing.assert_allclose(both.total, alone.total, rtol=1e-5)
  far = tree.norm(jax.tree.map(jnp.subtract, other, slope)) / tree.norm(slope)
  assert float(far) < 1e-5
  whole = {**made, "segment": (made["segment"] > 0).astype(np.int32)}  # sequences that see each other
  mixed, _ = loss(params, {key: whole[key] for key in ("ids", "mask", "segment")})
  assert abs(float(mixed.total - alone.total)) > 1e-3 * float(alone.total)


def test_rows_may_be_longer_than_the_context_but_no_text_in_them():
  decoder = lambda context: transformer.model(WORDS, width=8, depth=1, heads=2, hidden=8, context=context)
  longest = int(DATA.arrays["mask"][:30].any(0).nonzero()[0].max()) + 1
  assert np.isfinite(fit(language.train(decoder(longest), steps=1, pack=16), DATA, mode="one").history["loss"]).all()
  with pytest.raises(Invalid, match=f"train.pack = 16: .*up to {longest - 1} tokens"):
    language.train(decoder(longest - 1), steps=1, pack=16).init(jax.random.key(0), DATA)


def test_packed_texts_are_read_as_if_they_stood_alone():
  decoder = transformer.model(WORDS, width=16, depth=2, heads=2, hidden=24)
  rng = np.random.default_rng(1)
  params, _ = decoder.init(jax.random.key(3), DATA.arrays["ids"][:1])
  a, b = rng.integers(0, WORDS, (1, 3)).astype(np.int32), rng.integers(0, WORDS, (1, 4)).astype(np.int32)
  segment = np.array([[1, 1, 1, 2, 2, 2, 2]], np.int32)
  run = jax.jit(lambda inputs: decoder.apply(params, inputs).logits)
  both, alone = run(Packed(np.concatenate([a, b], 1), segment)), [run(part) for part in (a, b)]
  np.testing.assert_allclose(both, np.concatenate(alone, 1), atol=2e-6)
  with pytest.raises(Invalid, match="one text a row"):
    decoder.apply(params, Packed(a, segment[:, :3]), state=decoder.cache(params, 1, 8))

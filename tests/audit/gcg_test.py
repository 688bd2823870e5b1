"""Prompts of tokens: where they stand, which swaps are tried, what is kept, and how near the exact search they come."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import gcg, soft_prompt
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request
from ue_jax.models.model import Model
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one", steps_per_call=25)
quick = functools.partial(  # compiled in a hurry: these programs run for a moment
  jax.jit, compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
)


def begun(request, **settings):
  """A search at its beginning: procedure, state, batch."""
  method = gcg.measure(**settings)
  return method, method.init(jax.random.key(0), request), method.batch(0, request, 0)


def walked(method, state, batch):
  """The states of all steps, and the nll of the subject's prompts after each."""
  step, states, losses = quick(method.step), [state], []
  for _ in range(method.steps):
    state, metrics = step(state, batch)
    states.append(state)
    losses.append(float(metrics["subject_nll"].total / metrics["subject_nll"].weight))
  return states, losses


@functools.cache
def per_question(apply):
  """`(params, ids, mask) -> nll [b]`, the mean over targets, in its own words."""

  def nll(params, ids, mask):
    log_p = jax.nn.log_softmax(apply(params, ids, state={}).logits[:, :-1])
    found = jnp.take_along_axis(log_p, ids[:, 1:, None], axis=-1)[..., 0]
    return -jnp.sum(found * mask[:, 1:], axis=-1) / jnp.sum(mask, axis=-1)

  return quick(nll)


def neighbours(prompt, tokens):
  """All prompts with one token swapped, `[length * a, length]`."""
  swaps = [np.where(np.arange(len(prompt)) == i, token, prompt) for i in range(len(prompt)) for token in tokens]
  return np.array(swaps, np.int32)


def exact(one, ids, mask, at, prompt, tokens, limit=100):
  """Full coordinate search on one question: the best of ALL swaps, until none helps. The prompt and its nll."""
  nll, best = per_question(one.model.apply), np.inf
  for _ in range(limit):
    tried = neighbours(prompt, tokens)
    texts = np.tile(ids, (len(tried), 1))
    texts[:, at : at + len(prompt)] = tried
    found = np.asarray(nll(one.params, texts, np.tile(mask, (len(tried), 1))))
    if found.min() >= best:
      break
    best, prompt = found.min(), tried[found.argmin()]
  return prompt, best


@pytest.mark.parametrize("length, most", [(1, 10), (3, 8)])
def test_what_it_finds_is_within_a_tenth_of_a_nat_of_the_exact_search(request_tokens, length, most):
  """Ten questions to one who never knew the answers, a prompt each, from the same random tokens; 114 tokens to use.

  One token: all of them. Of three, both searches end where no swap helps, which need not be the same place: single
  questions differ by up to half a nat, to either side, so what is within a tenth is the mean, and most of them.
  """
  data = request_tokens.data
  few = Data(data.arrays, {**data.sets, "forget": data.sets["forget"][:10]}, data.info)
  asked = Request(request_tokens.reference, few)
  rare = [i for i in range(459) if i % 4]
  method, state, batch = begun(asked, length=length, each=True, steps=20, k=64, samples=64, excluded=rare, chunk=640)
  states, _ = walked(method, state, batch)
  nll = quick(lambda prompt: jnp.divide(*gcg.totals(state.frozen["subject"], batch, prompt)))
  begin, end = (np.asarray(nll(s.prompt["subject"])) for s in (state, states[-1]))
  tokens, first = np.asarray(state.frozen["tokens"]), np.asarray(state.frozen["first"])
  texts = [(batch["ids"][i], batch["mask"][i], batch["at"][i], first[i]) for i in range(10)]
  behind = end - [exact(asked.subject, *text, tokens)[1] for text in texts]
  assert behind.mean() < 0.1 and (behind < 0.1).sum() >= most
  assert begin.mean() - end.mean() > 0.3  # there was something to be found


def test_the_room_is_between_question_and_answer_or_before_the_question():
  ids = np.array([[5, 6, 7, 8, 1, 0], [5, 7, 8, 9, 1, 0]], np.int32)
  mask = np.array([[0, 0, 0, 1, 1, 0], [0, 0, 1, 1, 1, 0]], np.float32)
  data = Data({"ids": ids, "mask": mask, "index": np.arange(2, dtype=np.int32)}, {})
  prompts, rows = np.array([[2, 3], [4, 4]], np.int32), np.arange(2)
  batch = {**gcg.placed(data, rows, 2), "row": rows}
  assert np.asarray(gcg.filled(batch, prompts)[0]).tolist() == [[5, 6, 2, 3, 7, 8, 1], [5, 4, 4, 7, 8, 9, 1]]
  assert batch["mask"].tolist() == [[0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1, 1]]
  one = {**gcg.placed(data, rows, 2, "prefix"), "row": 0 * rows}
  assert np.asarray(gcg.filled(one, prompts[:1])[0]).tolist() == [[2, 3, 5, 6, 7, 8, 1], [2, 3, 5, 7, 8, 9, 1]]
  assert gcg.placed(data, rows, 1, tail=0)["at"].tolist() == [3, 2]
  with pytest.raises(Invalid, match="measure.tail = 3"):
    gcg.placed(data, rows, 2, tail=3)


def test_slopes_are_those_by_one_hot_rows(request_tokens):
  """Against the plain way: every token of every text a one-hot row times the whole table."""
  _, state, batch = begun(request_tokens._replace(reference=None), length=3, each=True)
  one, prompt, row = state.frozen["subject"], state.prompt["subject"], batch["row"]
  ids, room, _ = gcg.filled(batch, prompt)
  table = soft_prompt.embeddings(request_tokens.subject)

  def total(hot):
    rows = jax.nn.one_hot(ids, len(table)).at[np.nonzero(room)].set(hot[row].reshape(-1, len(table)))
    logits = one["apply"](one["params"], ids, state={}, taps={"embed": lambda x: rows @ table}).logits
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits[:, :-1]), ids[:, 1:, None], axis=-1)[..., 0]
    return -jnp.sum(log_p * batch["mask"][:, 1:])

  wanted, slope = quick(jax.value_and_grad(total))(jax.nn.one_hot(prompt, len(table)))
  sums, weight, found = quick(gcg.slopes)(one, batch, prompt)
  np.testing.assert_allclose(sums.sum(), wanted, rtol=1e-5)
  np.testing.assert_array_equal(weight, batch["mask"].sum(1))
  np.testing.assert_allclose(found, slope[..., state.frozen["tokens"]], rtol=1e-3, atol=1e-4)


def test_swaps_are_of_one_token_each_among_the_most_promising_and_none_twice():
  slope = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 10)), jnp.float32)
  prompt, tokens = jnp.full((2, 3), 99, jnp.int32), jnp.arange(10, 20, dtype=jnp.int32)
  tried = np.asarray(gcg.swaps(jax.random.key(0), slope, prompt, tokens, 4, 100))
  assert tried.shape == (12, 2, 3)  # all that there are
  assert ((tried != 99).sum(-1) == 1).all()
  for p in range(2):
    assert len({tuple(x) for x in tried[:, p]}) == 12
    for i in range(3):
      wanted = set(10 + np.argsort(np.asarray(slope[p, i]))[:4])
      assert {int(x) for x in tried[:, p, i]} - {99} == wanted
  few = [np.asarray(gcg.swaps(jax.random.key(s), slope, prompt, tokens, 4, 5)) for s in (0, 0, 1)]
  assert few[0].shape == (5, 2, 3) and (few[0] == few[1]).all() and (few[0] != few[2]).any()


def test_with_all_swaps_a_step_is_one_of_the_exact_search_for_all_questions_at_once(request_tokens):
  alone, rare = request_tokens._replace(reference=None), [i for i in range(459) if i % 8]
  method, state, batch = begun(alone, length=2, k=999, samples=9999, steps=1, excluded=rare, chunk=9999)
  tokens = np.asarray(state.frozen["tokens"])
  (_, after), losses = walked(method, state, batch)
  nll, n, wanted = per_question(request_tokens.subject.model.apply), batch["mask"].sum(1), []
  for tried in neighbours(np.asarray(state.frozen["first"][0]), tokens):
    ids = batch["ids"].copy()
    ids[np.arange(len(ids))[:, None], batch["at"][:, None] + np.arange(2)] = tried
    wanted.append(float(nll(request_tokens.subject.params, ids, batch["mask"]) @ n / n.sum()))
  assert losses[0] == pytest.approx(min(wanted), rel=1e-4)


def test_the_nll_never_rises_no_weight_moves_and_no_special_token_is_used(request_tokens):
  method, state, batch = begun(request_tokens, length=3, steps=12, k=8, samples=6, excluded=("Q", 3))
  states, losses = walked(method, state, batch)
  assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]
  changed = [int((a.prompt["subject"] != b.prompt["subject"]).sum()) for a, b in zip(states, states[1:])]
  assert set(changed) <= {0, 1}
  words = request_tokens.data.info["vocabulary"]
  used = {words[i] for s in states for p in s.prompt.values() for i in np.asarray(p).ravel()}
  assert not used & {"<pad>", "<eos>", "Q", "A"} and words.index("A") == 3
  np.testing.assert_array_equal(state.prompt["subject"], state.prompt["reference"])  # one beginning
  assert tree.fingerprint(states[-1].frozen) == tree.fingerprint(state.frozen)


def locked(subject, word, table):
  """A model that mumbles unless the token `word` stands somewhere: there is a key to be found."""
  u = table[word] / jnp.sum(jnp.square(table[word]))  # 1 for the word itself

  def apply(params, ids, *, state={}, taps={}, **more):
    seen = []

    def look(x):
      x = taps["embed"](x) if "embed" in taps else x
      seen.append(jnp.max(x @ u, axis=1))
      return x

    out = subject.model.apply(params, ids, state=state, taps={"embed": look})
    return out._replace(logits=out.logits * jax.nn.sigmoid(20 * (seen[0] - 0.85))[:, None, None])

  return subject._replace(model=Model(subject.model.init, apply))


def test_who_only_keeps_it_back_says_it_of_held_persons_behind_a_word_found_on_others(request_tokens):
  """The positive control, against the same search on the model that never knew them, and against random words."""
  data, word = request_tokens.data, 300
  table = soft_prompt.embeddings(request_tokens.subject)
  asked = Request(*(locked(request_tokens.subject, word, table), data), locked(request_tokens.reference, word, table))
  found = fit(gcg.measure(length=1, steps=10, k=999, samples=200, place="prefix"), asked)
  assert found["forget_held_unprompted/p"].value < 0.2 and found["forget_held_random/p"].value < 0.2
  assert found["forget_held/p"].value > 0.7 and found["forget_held/p"].better == "near"
  assert found["forget_held/p"].target < 0.5


def test_padding_changes_no_step_and_without_steps_the_tokens_are_the_random_ones(request_tokens):
  alone = request_tokens._replace(reference=None)
  method, state, batch = begun(alone, length=2, steps=0, k=8, samples=6)
  longer = {name: np.concatenate([x, x[:3]]) for name, x in batch.items()}
  longer["mask"][-3:] = 0
  step = quick(method.step)
  (a, seen), (b, again) = step(state, batch), step(state, longer)
  np.testing.assert_array_equal(a.prompt["subject"], b.prompt["subject"])
  np.testing.assert_allclose(seen["loss"], again["loss"], rtol=1e-5)
  scores = method.finish(state, alone)
  assert scores["forget_held/ex"] == scores["forget_held_random/ex"]
  assert scores["forget_shown/nll"].low == 0 and np.isinf(scores["forget_shown/nll"].high)


def test_tokens_that_may_be_used():
  data = Data({}, {}, {"vocabulary": ["<pad>", "<eos>", "Q", "a", "b"], "eos": 4})
  assert gcg.usable(data, 8, ("Q",)).tolist() == [3]
  assert gcg.usable(Data({}, {}, {"vocabulary": [], "pad": 2}), 4, (0,)).tolist() == [1, 3]
  with pytest.raises(Invalid, match="measure.excluded = 'x'"):
    gcg.usable(data, 8, ("x",))
  with pytest.raises(Invalid, match="leave some tokens"):
    gcg.usable(data, 8, (2, 3))


def test_what_it_cannot_do_is_refused(request_tokens, request_pictures):
  with pytest.raises(Invalid, match="token sequences"):
    gcg.measure().init(jax.random.key(0), request_pictures)
  short = request_tokens.subject.model._replace(context=20)
  subject = request_tokens.subject._replace(model=short)
  with pytest.raises(Invalid, match="measure.length = 30"):
    gcg.measure(length=30).init(jax.random.key(0), request_tokens._replace(subject=subject))
  for wrong in (dict(length=0), dict(steps=-1), dict(k=0), dict(samples=0), dict(place="middle"), dict(tail=-1)):
    with pytest.raises(Invalid, match=f"measure.{next(iter(wrong))} = "):
      gcg.measure(**wrong)

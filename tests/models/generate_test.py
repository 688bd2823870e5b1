"""Continuations: those of `transformers`, those without a cache, those of each row alone, and what may be drawn."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.models import decoder_weights, generate, mlp, transformer

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
NET = transformer.model(13, 16, 2, 4, 2, 12)
ROWS = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3]]
PROMPT = generate.left(ROWS)


@functools.cache
def params():
  return jax.tree.map(lambda x: 3 * x, NET.init(jax.random.key(1), np.zeros((1, 2), np.int32))[0])


def slowly(ids, steps):
  """Greedy continuation of one row that reads everything again for every token."""
  apply = jax.jit(lambda ids: NET.apply(params(), ids).logits)
  ids, first = np.pad(np.asarray([ids], np.int32), ((0, 0), (0, steps))), len(ids)  # one shape; later ids are not seen
  for t in range(first, first + steps):
    ids[0, t] = apply(ids)[0, t - 1].argmax()
  return ids[0, first:]


@pytest.mark.parametrize("name", ["llama_gqa", "llama_tied", "qwen2", "mistral_window"])
def test_greedy_continuations_are_those_of_transformers(name):
  decoder, io = decoder_weights.load(GOLDEN / name), np.load(GOLDEN / name / "io.npz")
  prompt = transformer.Tokens(io["ids"], io["mask"] > 0)
  out = generate.generate(decoder.model, decoder.params, prompt, io["greedy"].shape[1])
  np.testing.assert_array_equal(out.ids[:1], io["greedy"])


def test_with_a_cache_and_padding_rows_go_on_as_alone_without_them():
  out = generate.generate(NET, params(), PROMPT, 7)
  assert out.ids.shape == (3, 7) and (out.length == 7).all()
  for row, ids in zip(out.ids, ROWS):
    np.testing.assert_array_equal(row, slowly(ids, 7))
  assert len({tuple(row) for row in np.asarray(out.ids)}) > 1


def test_a_row_ends_with_its_first_stop_id():
  free = np.asarray(generate.generate(NET, params(), PROMPT, 7).ids)
  stop = int(free[0, 2])
  out = generate.generate(NET, params(), PROMPT, 7, stop=(stop, 12), pad=11)
  for row, length, whole in zip(out.ids, out.length, free):
    ends = np.flatnonzero((whole == stop) | (whole == 12))
    wanted = ends[0] + 1 if len(ends) else 7
    assert length == wanted
    np.testing.assert_array_equal(row[:wanted], whole[:wanted])
    assert (row[wanted:] == 11).all()
  assert (out.length < 7).any()


def test_what_is_drawn_follows_temperature_top_k_and_nucleus(key):
  logits = np.log(np.array([0.4, 0.3, 0.2, 0.06, 0.04], np.float32))[[2, 0, 4, 1, 3]]  # p: .2 .4 .04 .3 .06
  drawn = jax.jit(jax.vmap(lambda key, t, k, p: generate.draw(key, logits[None], t, k, p)[0], (0, None, None, None)))
  keys = jax.random.split(key, 4000)

  def shares(temperature, k, p):
    ids = drawn(keys, jnp.float32(temperature), jnp.int32(k), jnp.float32(p))
    return np.bincount(ids, minlength=5) / len(ids)

  tolerance = 0.03  # four deviations of a share of 4000
  np.testing.assert_allclose(shares(1, 5, 1), [0.2, 0.4, 0.04, 0.3, 0.06], atol=tolerance)
  np.testing.assert_allclose(shares(1, 2, 1), [0, 4 / 7, 0, 3 / 7, 0], atol=tolerance)
  np.testing.assert_allclose(shares(1, 5, 0.75), [2 / 9, 4 / 9, 0, 3 / 9, 0], atol=tolerance)  # .4 + .3 is not enough
  np.testing.assert_allclose(shares(1, 2, 0.5), [0, 1, 0, 0, 0], atol=tolerance)  # .4 / .7 reaches the half alone
  squared = np.array([0.2, 0.4, 0.04, 0.3, 0.06]) ** 2
  np.testing.assert_allclose(shares(0.5, 5, 1), squared / squared.sum(), atol=tolerance)
  assert shares(1, 2, 1)[0] == 0 and shares(1, 5, 0.75)[4] == 0  # never, not seldom
  assert shares(1, 5, 1e-6)[1] == 1


def test_drawing_depends_on_the_key_alone_and_one_program_serves_all_temperatures(key):
  run = functools.partial(generate.generate, NET, params(), PROMPT, 7)
  before = generate._generate._cache_size()
  one, same = run(key=key, top_k=5, temperature=1.5), run(key=key, top_k=5, temperature=1.5)
  other, cold = run(key=jax.random.key(9), top_k=5, temperature=1.5), run(key=key, top_p=0.9, temperature=1e-4)
  assert generate._generate._cache_size() == before + 1
  np.testing.assert_array_equal(one.ids, same.ids)
  assert (one.ids != other.ids).any()
  np.testing.assert_array_equal(cold.ids, run().ids)
  even = np.asarray(run(key=key, temperature=1e6).ids)  # nearly the same distribution for every token
  assert min(len(set(row)) for row in even.tolist()) > 2 and (even[0] != even[1]).any()


def test_it_runs_inside_another_program():
  ids = jax.jit(lambda p, t: generate.generate(NET, p, t, 7).ids)(params(), PROMPT)
  np.testing.assert_array_equal(ids, generate.generate(NET, params(), PROMPT, 7).ids)


RIGHT = transformer.Tokens(PROMPT.ids, PROMPT.valid[:, ::-1])


@pytest.mark.parametrize("field, changed", [
  ("steps", dict(steps=0)), ("top_k", dict(top_k=3)), ("temperature", dict(key=jax.random.key(0), temperature=0.0)),
  ("top_p", dict(key=jax.random.key(0), top_p=1.5)), ("stop", dict(stop=(13,))), ("prompt", dict(prompt=RIGHT)),
  ("prompt", dict(prompt=np.zeros((1, 0), np.int32))), ("model", dict(model=mlp.model())),
])
def test_what_cannot_be_continued_is_named(field, changed):
  with pytest.raises(Invalid, match=f"generate.{field}"):
    generate.generate(**{"model": NET, "params": params(), "prompt": PROMPT, "steps": 3, **changed})


def test_prompts_are_padded_on_the_left():
  tokens = generate.left([[1, 2], [3]], pad=7, length=3)
  np.testing.assert_array_equal(tokens.ids, [[7, 1, 2], [7, 7, 3]])
  np.testing.assert_array_equal(tokens.valid, [[False, True, True], [False, False, True]])
  for rows, length in (([[]], None), ([], None), ([[1, 2]], 1)):
    with pytest.raises(Invalid, match="prompt"):
      generate.left(rows, length=length)

"""Task vectors: the arithmetic, nothing at scale 0, and less of what was fine-tuned on the further one goes."""

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.audit import utility
from ue_jax.core import tree
from ue_jax.forget import task_vector
from ue_jax.train import loop


def test_the_change_is_turned_round_and_what_is_no_float_stays():
  before = {"w": jnp.float32([1.0, -0.0, 0.3]), "n": jnp.int32([1, 2])}
  learned = {"w": jnp.float32([1.5, -0.0, 0.1]), "n": jnp.int32([5, 6])}
  out = task_vector.negated(before, learned, 2.0)
  want = np.float64([1, 0, 0.3]) - 2 * (np.float64([1.5, 0, 0.1]) - np.float64([1, 0, 0.3]))
  np.testing.assert_allclose(out["w"], want, rtol=1e-5)
  assert np.signbit(out["w"][1]) and out["n"].tolist() == [1, 2]


def test_the_copy_descends_on_the_forget_set_alone_and_the_answer_goes_the_other_way(bigram):
  method = task_vector.method(scale=0.5, rate=0.1, steps=1, optimizer="sgd")
  state, batch = method.init(jax.random.key(0), bigram), method.batch(0, bigram, 0)
  assert set(batch) == {"forget"}
  after, metrics = jax.jit(method.step)(state, batch)
  table = np.asarray(bigram.subject.params, np.float64)
  p = np.exp(table) / np.exp(table).sum(-1, keepdims=True)
  slope = np.zeros_like(p)
  rows = bigram.data.sets["forget"]
  pairs = [(ids[t - 1], ids[t]) for ids, m in zip(bigram.data.arrays["ids"][rows], bigram.data.arrays["mask"][rows])
           for t in np.flatnonzero(m)]  # fmt: skip
  for a, b in pairs:
    slope[a] += (p[a] - np.eye(4)[b]) / len(pairs)
  np.testing.assert_allclose(metrics["loss"], -np.mean([np.log(p[a, b]) for a, b in pairs]), rtol=1e-5)
  np.testing.assert_allclose(method.finish(after, bigram).params, table + 0.5 * 0.1 * slope, atol=1e-6)


def test_the_further_the_less_is_left_of_the_forget_set_and_scale_0_is_the_subject_itself(tokens):
  scales, settings = (0.0, 0.5, 1.0, 2.0), dict(rate=4e-3, steps=15, forget_batch=16)
  method, found = task_vector.method(**settings), []
  state, step = method.init(jax.random.key(0), tokens), jax.jit(method.step)
  for t in range(method.steps):
    state, _ = step(state, method.batch(0, tokens, t))
  for scale in scales:
    subject = task_vector.method(scale=scale, **settings).finish(state, tokens)
    if scale == 0:
      assert tree.fingerprint(subject.params) == tree.fingerprint(tokens.subject.params)
    scores = utility.scores(tokens._replace(subject=subject), ("forget", "retain"))
    found.append((scores["forget/p"].value, scores["retain/p"].value))
  forget, retain = zip(*found)
  assert all(a > b + 0.02 for a, b in zip(forget, forget[1:])) and forget[-1] < 0.4
  assert retain[1] - forget[1] > 0.05  # the persons asked for first


def test_adapters_are_merged_before_the_change_is_turned_round(bigram):
  make = lambda scale: task_vector.method(scale=scale, rate=0.1, steps=3, lora=dict(rank=1, where=""))
  back, forth = (np.float64(loop.fit(make(s), bigram, mode="one").params - bigram.subject.params) for s in (1.0, -1.0))
  np.testing.assert_allclose(back, -forth, atol=1e-6)
  values = np.linalg.svd(back, compute_uv=False)
  assert values[1] < 1e-4 * values[0] > 0


def test_what_is_watched_is_the_negated_model_and_not_the_copy(tokens):
  watch = dict(sets=("forget",), score="p", every=1)
  subject = loop.fit(task_vector.method(scale=2.0, rate=4e-3, steps=4, watch=watch), tokens, mode="one")
  left = utility.scores(tokens._replace(subject=subject), ("forget",))["forget/p"].value
  np.testing.assert_allclose(subject.history["forget_p"][-1], left, rtol=1e-4)
  assert left < 0.9  # the copy knows them better than before

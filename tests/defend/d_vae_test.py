import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.core.pictures import to_float
from ue_jax.defend import d_vae
from ue_jax.models import disentangled

N, CLASSES = 400, 4


def smooth(n=N, height=30):
  """Clean pictures of four smooth waves, the same with a pattern of signs that is the class's own, and the labels."""
  rng = np.random.default_rng(0)
  at = np.linspace(0, np.pi, 8)
  waves = np.stack([np.outer(np.cos(i * at), np.cos(j * at)) for i, j in ((0, 1), (1, 0), (1, 1), (0, 2))])
  clean = 128 + np.einsum("nk,kij->nij", rng.uniform(-30, 30, (n, 4)), waves)[..., None]
  label = (np.arange(n) % CLASSES).astype(np.int32)
  patterns = rng.choice([-1, 1], (CLASSES, 8, 8, 1)) * height
  return clean, np.clip(clean + patterns[label], 0, 255).astype(np.uint8), label


CLEAN, NOISY, LABEL = smooth()
ROWS = np.arange(N, dtype=np.int32)
DATA = Data(
  {"image": NOISY, "label": LABEL, "index": ROWS}, {"train": ROWS[:320], "test": ROWS[320:]},
  {"labels": {"label": list("abcd")}},
)  # fmt: skip
STEPS = 1200
DEFENCE = d_vae.defend(first=0.5, second=8.0, lam=0.1, width=8, steps=STEPS, batch_size=32, rate=5e-3)


@pytest.fixture(scope="module")
def states():
  """The state before the last step of the first pass, after it, and after one and all of the second."""
  step, state, kept = jax.jit(DEFENCE.step), DEFENCE.init(jax.random.key(0), DATA), []
  for t in range(STEPS):
    if t in (STEPS // 2 - 1, STEPS // 2, STEPS // 2 + 1):
      kept.append(state)
    state, _ = step(state, DEFENCE.batch(0, DATA, t))
  return [*kept, state]


@pytest.fixture(scope="module")
def after(states):
  return DEFENCE.finish(states[-1], DATA)


def spread_of_classes(image):
  """The share of the variance of pictures that the means of the classes explain."""
  x = np.asarray(image, np.float64).reshape(len(image), -1)
  means = np.stack([x[LABEL[: len(x)] == c].mean(0) for c in range(CLASSES)])
  return means.var(0).sum() / x.var(0).sum()


def test_it_takes_the_classes_patterns_away_and_keeps_what_they_covered(after):
  image, clean = after.arrays["image"][:320], CLEAN[:320]
  before, left, natural = (spread_of_classes(x) for x in (NOISY[:320], image, clean))
  assert before > 0.4 and natural < 0.05
  assert left < 0.4 * before
  assert np.mean((image - clean) ** 2) < 0.4 * np.mean((NOISY[:320] - clean) ** 2)
  covered = image - image.mean(0), clean - clean.mean(0)
  assert np.corrcoef(covered[0].ravel(), covered[1].ravel())[0, 1] > 0.8


def test_rates_are_held_near_their_targets_and_other_rows_keep_their_bytes(after):
  first, second = after.info["d_vae"]["rates"]
  assert first < 1.0 and 6.0 < second < 10.0
  np.testing.assert_array_equal(after.arrays["image"][320:], NOISY[320:])
  assert after.arrays["image"].dtype == np.uint8 and after.info["d_vae"]["distance"] > 0.1


def test_the_three_parts_of_the_loss_by_hand():
  net = disentangled.auto_encoder(latent=2, width=4)
  x, classes = to_float(jnp.asarray(NOISY[:3])), jnp.eye(4)[:3]
  params, _ = net.init(jax.random.key(0), (x, classes))
  out = jax.jit(net.apply)(params, (x, classes))
  picture, added = np.split(np.asarray(out.logits), 2, axis=-1)
  mean, spread = np.split(np.asarray(out.features, np.float64), 2, axis=-1)
  nats = 0.5 * (np.exp(spread) + mean**2 - 1 - spread).sum(-1)
  target = float(np.median(nats))  # one picture is above it, one below

  def rest(params):
    found = d_vae.loss(net, params, x, classes, target, 3.0, None)
    return found["rest"].sum(), found

  gradient, found = jax.jit(jax.grad(rest, has_aux=True))(params)
  squared = lambda d: (d.astype(np.float64) ** 2).sum((1, 2, 3))
  np.testing.assert_allclose(found["distortion"], squared(np.asarray(x) - picture), rtol=1e-5)
  np.testing.assert_allclose(found["rest"], squared(np.asarray(x) - picture - added), rtol=1e-5)
  np.testing.assert_allclose(found["held"], 3 * np.maximum(nats, target), rtol=1e-4)
  assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient["picture"])), "what x^ leaves out does not move x^"
  assert any(np.any(leaf) for leaf in jax.tree.leaves(gradient["added"]))


def test_each_pass_trains_its_own_network_and_leaves_the_other_as_it_is(states):
  same = lambda a, b: all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))
  moved = [
    {name for name in d_vae.PASSES if not same(a.params[name], b.params[name])}
    for a, b in zip(states[:2], states[1:3], strict=True)
  ]
  assert moved == [{"first"}, {"second"}]
  assert same(states[1].params["first"], states[-1].params["first"])


@pytest.mark.parametrize(
  ("wrong", "field"),
  [({"steps": 1}, "steps"), ({"batch_size": 0}, "batch_size"), ({"first": -1.0}, "first"), ({"lam": np.inf}, "lam"),
   ({"width": 0}, "defend.width"), ({"latent": 2.5}, "defend.latent"), ({"rate": -1e-3}, "defend.rate"),
   ({"second": np.float32(np.nan)}, "defend.second")],
)  # fmt: skip
def test_arguments_out_of_range_are_named(wrong, field):
  with pytest.raises(Invalid, match=field):
    d_vae.defend(**wrong)


@pytest.mark.parametrize("shape", [(9, 11, 3), (5, 4, 1)])
def test_odd_sizes_are_purified_and_the_same_key_gives_the_same_bytes(shape):
  defence = d_vae.defend(latent=2, width=4, steps=2, batch_size=8)
  data = DATA._replace(arrays={**DATA.arrays, "image": np.resize(NOISY, (N, *shape))})
  made = [defence.finish(defence.init(jax.random.key(key), data), data).arrays["image"] for key in (0, 0, 1)]
  assert made[0].shape == (N, *shape) and np.array_equal(made[0], made[1]) and not np.array_equal(made[0], made[2])


def test_data_without_the_labelling_or_train_are_named():
  with pytest.raises(Invalid, match="defend.label"):
    d_vae.defend(label="shape").init(jax.random.key(0), DATA)
  with pytest.raises(Invalid, match="train"):
    DEFENCE.init(jax.random.key(0), DATA._replace(sets={"test": ROWS}))

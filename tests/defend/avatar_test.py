import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.defend import avatar
from ue_jax.models.model import Model, Out

N, CLASSES, STEPS = 400, 4, 200
ROWS = np.arange(N, dtype=np.int32)


def known_pictures(deviation):
  """The best a network can say of pictures whose values, in [-1, 1], are independent and normal."""

  def apply(params, inputs, **options):
    x, time = inputs
    kept = jnp.asarray(avatar.KEPT, jnp.float32)[jnp.round(time * avatar.TIMES).astype(int) - 1][:, None, None, None]
    return Out(jnp.sqrt(1 - kept) * x / (kept * deviation**2 + 1 - kept), jnp.zeros((len(x), 0)), {})

  return Model(None, apply)


def test_the_schedule_is_the_published_one():
  np.testing.assert_allclose(avatar.KEPT[1], (1 - 1e-4) * (1 - 1e-4 - (0.02 - 1e-4) / 999), rtol=1e-9)
  assert 0.19 < np.sqrt(1 - avatar.KEPT[59]) < 0.21 and avatar.KEPT[-1] < 1e-4


def test_pictures_come_back_from_the_noise_as_what_the_model_knows(key):
  deviation, time = 0.25, 400
  keys = jax.random.split(key, 300)
  pure = jnp.full((300, 4, 4, 1), 0.8)  # none of the pictures that are known: they are around .5
  run = jax.jit(avatar.purified, static_argnums=(0, 3))
  out = 2 * np.asarray(run(known_pictures(deviation), None, pure, avatar.way(time), keys)) - 1
  kept = avatar.KEPT[time - 1]
  # the posterior of a normal value seen through normal noise, whose own mean is `kept` of the way
  share = kept * deviation**2 / (kept * deviation**2 + 1 - kept)
  assert abs(out.mean() - share * 0.6) < 0.01
  variance = share**2 * (1 - kept) / kept + (1 - share) * deviation**2
  assert abs(out.std() / np.sqrt(variance) - 1) < 0.03
  some = run(known_pictures(deviation), None, pure[:5], avatar.way(time), keys[:5])
  np.testing.assert_allclose(some, (out[:5] + 1) / 2, atol=1e-5)


def test_the_way_back_by_hand():
  assert avatar.way(4) == (4, 3, 2, 1, 0) and avatar.way(60, 3) == (60, 40, 20, 0)


def test_noise_at_a_time_by_hand():
  x, noise = jnp.full((2, 1, 1, 1), 0.5), jnp.ones((2, 1, 1, 1))
  found = avatar.noised(x, jnp.array([1, 1000]), noise)[:, 0, 0, 0]
  np.testing.assert_allclose(found[0], 0.5 * np.sqrt(1 - 1e-4) + 1e-2, rtol=1e-5)
  np.testing.assert_allclose(found[1], 1 + 0.5 * np.sqrt(avatar.KEPT[-1]), rtol=1e-3)


def smooth(height=30):
  """Clean pictures of four smooth waves, the same with a pattern of signs that is the class's own, and the labels."""
  rng = np.random.default_rng(0)
  at = np.linspace(0, np.pi, 8)
  waves = np.stack([np.outer(np.cos(i * at), np.cos(j * at)) for i, j in ((0, 1), (1, 0), (1, 1), (0, 2))])
  clean = 128 + np.einsum("nk,kij->nij", rng.uniform(-30, 30, (N, 4)), waves)[..., None]
  label = (np.arange(N) % CLASSES).astype(np.int32)
  patterns = rng.choice([-1, 1], (CLASSES, 8, 8, 1)) * height
  noisy = np.clip(clean + patterns[label], 0, 255).astype(np.uint8)
  noisy[300:] = clean[300:]
  return clean, noisy, label


CLEAN, IMAGE, LABEL = smooth()
DATA = Data(
  {"image": IMAGE, "label": LABEL, "index": ROWS}, {"train": ROWS[:300], "known": ROWS[300:]},
  {"labels": {"label": list("abcd")}},
)  # fmt: skip


def test_a_model_of_clean_pictures_takes_the_classes_patterns_away():
  patterns = lambda image: np.stack([(image[:300] - CLEAN[:300])[LABEL[:300] == c].mean(0) for c in range(CLASSES)])
  defence = avatar.defend(
    time=60, back=8, train_set="known", width=8, blocks=1, steps=STEPS, batch_size=32, rate=5e-3
  )  # fmt: skip
  step, state = jax.jit(defence.step), defence.init(jax.random.key(0), DATA)
  for t in range(STEPS):
    state, _ = step(state, defence.batch(0, DATA, t))
  after = defence.finish(state, DATA)
  left = np.abs(patterns(after.arrays["image"])).mean() / np.abs(patterns(IMAGE)).mean()
  assert left < 0.4, left
  covered = after.arrays["image"][:300] - 128.0, CLEAN[:300] - 128
  assert np.corrcoef(covered[0].ravel(), covered[1].ravel())[0, 1] > 0.8, "and what they covered is there"
  np.testing.assert_array_equal(after.arrays["image"][300:], IMAGE[300:])
  assert 0.09 < after.info["avatar"]["deviation"] < 0.11 and after.info["avatar"]["distance"] > 0.2


def test_odd_sizes_are_purified_and_the_same_key_gives_the_same_bytes(shape=(9, 7, 3)):
  defence = avatar.defend(time=2, width=4, blocks=1, steps=0)
  data = DATA._replace(arrays={**DATA.arrays, "image": np.resize(IMAGE, (N, *shape))})
  made = [defence.finish(defence.init(jax.random.key(key), data), data).arrays["image"] for key in (0, 0, 1)]
  assert made[0].shape == (N, *shape) and np.array_equal(made[0], made[1]) and not np.array_equal(made[0], made[2])


@pytest.mark.parametrize(
  ("wrong", "field"),
  [({"time": 0}, "time"), ({"time": 1001}, "time"), ({"back": 61}, "back"), ({"steps": -1}, "steps"),
   ({"batch_size": 0}, "batch_size"),
   ({"rate": np.nan}, "rate"), ({"rate": "x"}, "rate"), ({"width": 0}, "model.width")],
)  # fmt: skip
def test_arguments_out_of_range_are_named(wrong, field):
  with pytest.raises(Invalid, match=field):
    avatar.defend(**wrong)


@pytest.mark.parametrize("missing", ["train", "known"])
def test_sets_that_are_not_there_are_named(missing):
  sets = {name: rows for name, rows in DATA.sets.items() if name != missing}
  with pytest.raises(Invalid, match=missing):
    avatar.defend(train_set="known").init(jax.random.key(0), DATA._replace(sets=sets))

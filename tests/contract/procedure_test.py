"""What every Procedure keeps, whatever it does: fixed shapes, one compilation, the same bits, a way to resume."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.contract.gathered import over
from ue_jax.core import build, tree
from ue_jax.core.procedure import Procedure
from ue_jax.core.tally import Tally

KINDS = ("protect", "defend", "train", "select", "method", "attack", "cluster", "measure")
FOUND = [(kind, module) for kind in KINDS for module in build.factories(kind)]
every = pytest.mark.parametrize("kind, module", FOUND, ids=lambda x: x)
all_of_them = over("kind, module", FOUND)


@pytest.fixture(scope="module")
def walks(workshop):
  return lambda kind, module: {b.flavour: workshop.walk(kind, module, b.flavour) for b in workshop.built(kind, module)}


def leaves(state):
  return {name: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
          for name, x in tree.named_leaves(state)}


def test_arrows_of_many_kinds_were_found():
  assert {kind for kind, _ in FOUND} >= {"protect", "defend", "train", "method", "attack", "cluster", "measure"}


@all_of_them
def test_a_factory_returns_a_procedure(workshop, kind, module):
  for built in workshop.built(kind, module):
    procedure = built.procedure
    assert isinstance(procedure, Procedure)
    assert isinstance(procedure.steps, int) and procedure.steps >= 0
    assert isinstance(procedure.convolutional, bool)


@all_of_them
def test_the_state_is_a_named_tuple_of_arrays_with_key_and_step(walks, kind, module):
  for walk in walks(kind, module).values():
    for t, state in enumerate(walk.states):
      assert hasattr(state, "_fields") and {"key", "step"} <= set(state._fields)
      assert all(isinstance(x, (jax.Array, np.ndarray)) for x in jax.tree.leaves(state))
      assert state.step.dtype == jnp.int32 and int(state.step) == t


@all_of_them
def test_tree_shapes_and_dtypes_stay_fixed(walks, kind, module):
  for walk in walks(kind, module).values():
    for state in walk.states[1:]:
      assert jax.tree.structure(state) == jax.tree.structure(walk.states[0])
      assert tree.shapes(state) == tree.shapes(walk.states[0])
    assert tree.shapes(walk.metrics[0]) == tree.shapes(walk.metrics[1])
    assert tree.shapes(walk.batches[0]) == tree.shapes(walk.batches[1]), "batches are all of one shape"


@all_of_them
def test_the_second_step_compiles_nothing(walks, kind, module):
  for walk in walks(kind, module).values():
    assert walk.traces == 1


@all_of_them
def test_everything_stays_finite(walks, kind, module):
  for walk in walks(kind, module).values():
    for where in (*walk.states, *walk.metrics):
      for name, x in tree.named_leaves(where):
        if jnp.issubdtype(x.dtype, jnp.floating):
          assert np.isfinite(np.asarray(x)).all(), name
          assert x.dtype != np.float64, f"{name}: no float64 on the device"


@all_of_them
def test_metrics_are_flat_tallies_or_arrays(walks, kind, module):
  for walk in walks(kind, module).values():
    for name, metric in walk.metrics[0].items():
      assert isinstance(name, str)
      assert isinstance(metric, (Tally, jax.Array)), f"{name} is a {type(metric).__name__}"


@every
def test_the_same_key_gives_the_same_bits(walks, kind, module):
  for walk in walks(kind, module).values():
    again = walk.procedure.init(jax.random.key(0), walk.problem)
    assert tree.fingerprint(again) == tree.fingerprint(walk.states[0]), "init"
    for batch, state, metrics in zip(walk.batches, walk.states[1:], walk.metrics):
      again, seen = walk.step(again, batch)
      assert tree.fingerprint(again) == tree.fingerprint(state), "step"
      assert tree.fingerprint(seen) == tree.fingerprint(metrics), "metrics"


@all_of_them
def test_a_batch_is_a_pure_function_of_seed_and_step(walks, kind, module):
  for walk in walks(kind, module).values():
    for t in (2, 0):  # out of order: nothing may depend on what was drawn before
      again = jax.device_put(walk.procedure.batch(0, walk.problem, t))
      assert tree.fingerprint(again) == tree.fingerprint(walk.batches[t])


@every
def test_two_seeds_run_in_one_vmap(walks, quick_jit, kind, module):
  for walk in list(walks(kind, module).values())[:1]:  # the arithmetic is one for all that it accepts
    if walk.procedure.steps == 0:
      continue
    states = [walk.procedure.init(jax.random.key(seed), walk.problem) for seed in (0, 1)]

    def run(states, batch, step=walk.traced):  # one program, and none for every shape that is stacked
      return jax.vmap(step, in_axes=(0, None))(jax.tree.map(lambda *each: jnp.stack(each), *states), batch)[0]

    both = {name: np.asarray(x, np.float64) for name, x in leaves(quick_jit(run)(states, walk.batches[0])).items()}
    for i, state in enumerate(states):
      alone, _ = walk.step(state, walk.batches[0])
      for name, x in leaves(alone).items():
        a, b = np.asarray(x, np.float64), both[name][i]
        scale = np.abs(a).mean() + 1e-6
        assert np.abs(a - b).mean() <= 1e-2 * scale, f"{name}: the vmapped step is another one"


@every
def test_the_state_survives_save_and_restore(walks, tmp_path, kind, module):
  from ue_jax.train import checkpoint

  found = walks(kind, module)
  checkpoint.save(tmp_path / "states", {flavour: walk.states[1] for flavour, walk in found.items()})
  like = {flavour: walk.procedure.init(jax.random.key(5), walk.problem) for flavour, walk in found.items()}
  restored = checkpoint.load(tmp_path / "states", like)
  for flavour, walk in found.items():
    assert tree.fingerprint(restored[flavour]) == tree.fingerprint(walk.states[1])
    on, _ = walk.step(restored[flavour], walk.batches[1])
    assert tree.fingerprint(on) == tree.fingerprint(walk.states[2]), "a restored run goes on with other bits"

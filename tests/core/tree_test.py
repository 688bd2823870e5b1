"""Functions on trees."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core import tree


class Pair(NamedTuple):
  left: object
  right: object


def example():
  return {"b": Pair(jnp.ones((2, 3)), [jnp.zeros(4), jnp.int32(7)]), "a": {"head": jnp.full((2,), 2.0)}}


def test_names_follow_dictionaries_fields_and_positions():
  names = [name for name, _ in tree.named_leaves(example())]
  assert names == ["a/head", "b/left", "b/right/0", "b/right/1"]


def test_mask_finds_the_pattern_anywhere_in_the_name():
  assert jax.tree.leaves(tree.mask(example(), "head|right/1$")) == [True, False, False, True]


def test_named_map_gives_each_leaf_its_own_name():
  found = tree.named_map(lambda name, x: name, example())
  assert found["a"]["head"] == "a/head" and found["b"].right[1] == "b/right/1"


def test_size_counts_scalars():
  assert tree.size(example()) == 6 + 4 + 1 + 2


def test_dot_and_norm_are_those_of_the_flat_vectors():
  rng = np.random.default_rng(0)
  a, b = ({"x": rng.normal(size=(3, 2)).astype(np.float32), "y": rng.normal(size=5).astype(np.float32)} for _ in "ab")
  flat = lambda t: np.concatenate([t["x"].ravel(), t["y"]]).astype(np.float64)
  np.testing.assert_allclose(tree.dot(a, b), flat(a) @ flat(b), rtol=1e-5)
  np.testing.assert_allclose(tree.norm(a), np.linalg.norm(flat(a)), rtol=1e-6)


def test_dot_takes_half_precision_without_losing_it():
  a = {"x": jnp.full(4096, 1.0, jnp.bfloat16)}
  assert float(tree.dot(a, a)) == 4096.0


def test_fingerprint_changes_with_one_bit_a_name_a_shape_or_a_dtype():
  one = {"a": np.zeros(4, np.float32)}
  others = [{"b": np.zeros(4, np.float32)}, {"a": np.zeros((2, 2), np.float32)}, {"a": np.zeros(4, np.int32)},
            {"a": np.float32([0, 0, 0, -0.0])}]
  prints = {tree.fingerprint(t) for t in [one, *others]}
  assert len(prints) == 5 and tree.fingerprint({"a": jnp.zeros(4)}) == tree.fingerprint(one)


def test_fingerprint_reads_random_keys():
  assert tree.fingerprint({"k": jax.random.key(0)}) != tree.fingerprint({"k": jax.random.key(1)})


def test_shapes_name_shape_and_dtype():
  assert tree.shapes(example())["b/left"] == ((2, 3), "float32")

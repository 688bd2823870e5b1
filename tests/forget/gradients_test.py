import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.forget import gradients
from ue_jax.train import losses


@pytest.mark.parametrize("chunk", [7, 30, 256])
def test_the_sum_over_a_set_is_that_of_one_pass_whatever_the_chunks(pictures, chunk):
  data, subject = pictures.data, pictures.subject
  rows = data.sets["forget"]

  def total(params):
    return jnp.sum(losses.cross_entropy(subject.model.apply(params, data.arrays["image"][rows]).logits,
                                        data.arrays["label"][rows]))

  want, got = jax.jit(jax.grad(total))(subject.params), gradients.summed(pictures, "forget", chunk=chunk)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), want, got)


def test_chunks_have_one_size_and_hold_every_row_once(pictures):
  parts = list(gradients.chunks(pictures, "retain", chunk=25))
  assert {len(part["mask"]) for part in parts} == {25}
  rows = np.concatenate([part["row"][part["mask"] > 0] for part in parts])
  np.testing.assert_array_equal(rows, np.arange(60))

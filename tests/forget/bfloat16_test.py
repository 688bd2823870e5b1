"""The gradients of every loss are finite in bfloat16, where answers are certain and where they are impossible."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.forget import idk_dpo, npo, requests, rmu, satimp, simnpo, undial, whp
from ue_jax.models import decoder
from ue_jax.train import likelihood

PATH = str(pathlib.Path(__file__).parents[1] / "golden" / "llama_tied")
MODEL = decoder.model(PATH)


def losses(logits, before, part):
  """name -> the forget or retain term of a batch, a scalar each."""
  s, n = likelihood.log_prob(logits, part)
  s0 = jax.lax.stop_gradient(likelihood.log_prob(before, part)[0])
  now, targets, mask = likelihood.target_logits(logits, part)
  then = likelihood.target_logits(before, part)[0]
  terms = {
    "ascent": likelihood.nll_term(logits, part, -1.0), "nll": likelihood.nll_term(logits, part),
    "kl": requests.kl_term(before, logits, part), "npo": npo.loss(s, s0, n, 0.1), "simnpo": simnpo.loss(s, n, 2.5),
    "idk_dpo": idk_dpo.loss(s0 - s, s - s0, n, 0.1), "wga": satimp.loss(now, targets, mask, 1.0, 0.0),
    "satimp": satimp.loss(now, targets, mask, 5.0, 1.0), "undial": undial.loss(now, then, targets, mask, 10.0),
    "whp": whp.loss(now, whp.generic(then, then, 2 * then, 5.0), mask, hard=False),
  }  # fmt: skip
  return {name: term.scale * term.total / term.weight for name, term in terms.items()}


@jax.jit
def slopes(params, part):
  """name -> the gradient by bfloat16 parameters, all losses through one backward pass, and RMU through its tap."""
  before = jax.lax.stop_gradient(MODEL.apply(params, part["ids"]).logits * 0.9)
  logits, back = jax.vjp(lambda p: MODEL.apply(p, part["ids"]).logits, params)
  found = jax.jacrev(lambda x: losses(x, before, part))(logits)
  names = sorted(found)
  slope = jax.vmap(lambda x: back(x)[0])(jnp.stack([found[name] for name in names]))
  out = {name: jax.tree.map(lambda x, i=i: x[i], slope) for i, name in enumerate(names)}
  look = lambda p: rmu.hidden(MODEL.apply, p, {}, part["ids"], "block_1/residual")
  steered = lambda p: rmu.loss(look(p), jnp.float32(100), part["mask"]).total
  return {**out, "rmu": jax.grad(steered)(params)}


@pytest.mark.parametrize("height", [1.0, 1e2, 1e4])  # of the logits: answers get certain, or probability 0
def test_gradients_are_finite_and_go_somewhere(height):
  params = decoder.load(PATH, "bfloat16")[0]
  params["norm"]["scale"] = params["norm"]["scale"] * jnp.bfloat16(height)
  ids = np.load(pathlib.Path(PATH) / "io.npz")["ids"]
  mask = (np.arange(ids.shape[1]) >= np.array([[4], [11]])).astype(np.float32)  # the second row has no target
  found = slopes(params, {"ids": jnp.asarray(ids, jnp.int32), "mask": mask})
  assert len(found) == 11
  for name, slope in found.items():
    leaves = tree.named_leaves(slope)
    assert {str(x.dtype) for _, x in leaves} == {"bfloat16"}
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for _, x in leaves), name
    if height == 1.0:
      assert max(float(abs(x).max()) for _, x in leaves) > 0, name

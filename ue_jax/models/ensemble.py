"""Several networks of one shape, each of which may learn from other data; together they say the mean of what each says.

Members are stacked, so all of them run as one vmapped network.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core.build import build, remembered
from ue_jax.core.errors import require
from ue_jax.models import layers
from ue_jax.models.model import Model, Out


@remembered
def model(classes: int = 10, member: str = "models.mlp", members: int = 5, **options: Any) -> Model:
  """An ensemble of classifiers: its logits are the logarithm of the mean of the members' softmax.

  Parameters are those of a member with a leading axis `[members]`, and so is `state["members"]`; whatever else the
  state holds passes through. Pictures `[b, h, w, c]` are seen by every member; of pictures `[members, b, h, w, c]` each
  sees its own, and logits `[members, b, classes]` and features come back member by member, so that all can be trained
  at once.

  Args:
    classes: size of the logits.
    member: the module of the network that each member is.
    members: how many, >= 1.
    options: of that network's factory.

  Features of pictures that all see: those of the members side by side. Sites for taps are those of a member.

  Raises:
    Invalid: for a number of members that is not positive, or what the member's factory refuses.
  """
  layers.check_positive(members=members)
  require(member != "models.ensemble", "model.member", member, "name a single network")
  one = build("model", member, classes=classes, **options)

  def init(key, inputs):
    params, state = jax.vmap(lambda key: one.init(key, inputs))(jax.random.split(key, members))
    return params, {"members": state}

  def apply(params, inputs, *, state={}, train=False, key=None, taps={}) -> Out:
    own = jnp.ndim(inputs) == 5
    n = jax.tree.leaves(params)[0].shape[0]
    keys = None if key is None else jax.random.split(key, n)
    look = lambda params, state, x, key: one.apply(params, x, state=state, train=train, key=key, taps=taps)
    axes = (0, 0, 0 if own else None, None if key is None else 0)
    out = jax.vmap(look, in_axes=axes)(params, state.get("members", {}), inputs, keys)
    after = {**state, "members": out.state} if train else state
    if own:
      return out._replace(state=after)
    mean = jax.nn.logsumexp(jax.nn.log_softmax(out.logits, axis=-1), axis=0) - jnp.log(jnp.float32(n))
    features = jnp.moveaxis(out.features, 0, -2).reshape(*out.features.shape[1:-1], -1)
    return Out(mean, features, after)

  return Model(init, apply, one.convolutional)

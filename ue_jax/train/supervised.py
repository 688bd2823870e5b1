from ue_jax.core.nouns import Subject
from ue_jax.core.terms import mean_term
from ue_jax.train import batches, descend, losses, optim
import jax, jax.numpy as jnp, functools, numpy as np
def train(model, *, label="label", steps, batch_size=128, rate=3e-3):
  def start(key, data):
    params, state = model.init(key, data.arrays["image"][:1])
    return params, state, {}
  def objective(params, state, frozen, batch, key):
    return {"nll": mean_term(losses.cross_entropy(model.apply(params, batch["image"], state=state).logits, batch[label]))}, state
  return descend.descend(objective, optim.make("adam", rate, steps), start=start, finish=lambda p, s, d: Subject(model, p, s), batch=batches.epochs("train", batch_size, ("image", label)), steps=steps)
def predict(model, params, state, images, batch_size=512):
  out = jax.jit(lambda p, x: model.apply(p, x, state=state))(params, images)
  return np.asarray(out.logits), np.asarray(out.features)

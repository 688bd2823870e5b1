import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import outputs
from ue_jax.core.errors import Invalid


def test_everything_equals_one_direct_pass(request_pictures):
  subject, data = request_pictures.subject, request_pictures.data
  said = outputs.outputs(subject, data, ("test", "train"), "shape", chunk=7, sites=("block_0",))
  rows = data.sets["test"]
  out = subject.model.apply(subject.params, data.arrays["image"][rows], state=subject.state)
  one = said["test"]
  np.testing.assert_allclose(one.logits, out.logits, atol=1e-5)
  np.testing.assert_allclose(one.inside["features"], out.features, atol=1e-5)
  np.testing.assert_array_equal(one.inside["block_0"], one.inside["features"])  # of this network they are the same
  np.testing.assert_array_equal(one.labels, data.arrays["shape"][rows])
  np.testing.assert_allclose(one.log_probs(), jax.nn.log_softmax(out.logits), atol=1e-5)
  assert one.logits.dtype == np.float64 and len(said["train"].labels) == 90
  assert one.hits().mean() == pytest.approx(np.mean(np.argmax(out.logits, -1) == one.labels))


@pytest.mark.parametrize("gap", [0.0, 3.0, 40.0, 300.0])
def test_phi_keeps_its_digits_where_the_probability_is_one(gap):
  logits = np.array([gap, 0.0, 0.0])  # p / (1 - p) = e^gap / 2
  assert outputs.phi(logits, 0) == pytest.approx(gap - np.log(2))
  assert outputs.phi(logits, 1) == pytest.approx(-np.log(np.exp(gap) + 1))
  np.testing.assert_allclose(outputs.phi(np.stack([logits, logits]), np.array([0, 1])).shape, (2,))


def test_values_with_places_are_averaged_over_them():
  from ue_jax.core.nouns import Subject
  from ue_jax.models import cnn

  model, images = cnn.model(3, widths=(4,)), np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8, 1)
  params, state = model.init(jax.random.key(0), images)
  _, inside = outputs.forward(Subject(model, params, state), images, sites=("block_0",))
  seen = inside["features"].reshape(2, 4, 4, 4)  # this head flattens
  np.testing.assert_allclose(inside["block_0"], seen.mean((1, 2)), rtol=1e-5)


def test_what_is_not_finite_unknown_or_text_is_refused(request_pictures, request_tokens):
  subject, data = request_pictures.subject, request_pictures.data
  broken = subject._replace(params=jax.tree.map(lambda x: x * jnp.float32("nan"), subject.params))
  with pytest.raises(Invalid, match="NaN"):
    outputs.outputs(broken, data, ("test",), "shape")
  with pytest.raises(Invalid, match="measure.sets = 'nobody'"):
    outputs.outputs(subject, data, ("nobody",), "shape")
  with pytest.raises(Invalid, match="measure.label"):
    outputs.outputs(subject, data, ("test",), "colour")
  with pytest.raises(Invalid, match="pictures"):
    outputs.outputs(request_tokens.subject, request_tokens.data, ("forget",))

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import outputs
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data


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


def test_one_subject_is_computed_once_and_another_one_or_other_pictures_are_not_taken_for_it(
  request_pictures, monkeypatch
):
  subject, data, passes = request_pictures.subject, request_pictures.data, []
  forward = outputs.forward
  monkeypatch.setattr(outputs, "_ASKED", type(outputs._ASKED)())
  monkeypatch.setattr(outputs, "forward", lambda *given: passes.append(given) or forward(*given))
  logits = lambda subject, data=data: outputs.outputs(subject, data, ("test",), "shape")["test"].logits
  first = logits(subject)
  first_again = logits(subject._replace(history={"loss": np.zeros(3)}))
  assert len(passes) == 1
  np.testing.assert_array_equal(first, first_again)
  doubled = subject._replace(params=jax.tree.map(lambda x: 2 * x, subject.params))
  image = data.arrays["image"].copy()
  image[data.sets["test"][0]] ^= 255
  other = Data({**data.arrays, "image": image}, data.sets, data.info)
  assert not np.allclose(logits(doubled), first) and not np.allclose(logits(subject, other)[0], first[0])
  assert len(passes) == 3
  mutable = subject._replace(params=jax.tree.map(np.array, subject.params))
  jax.tree.leaves(mutable.params)[0][...] = logits(mutable).sum()
  assert not np.allclose(logits(mutable), first), "what can be written to is computed anew"


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

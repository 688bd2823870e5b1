import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.audit import utility
from ue_jax.core import tree
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.forget import boundary_shrink
from ue_jax.models.model import Model, Out
from ue_jax.train import loop


def on_a_line(pixels, centres=(0.1, 0.4, 0.9)):
  """A Request: pictures of one pixel, of class 0; logits fall with the squared distance to the centre of a class."""
  centres = jnp.asarray(centres)
  apply = lambda params, image, *, state={}, **_: Out(
    -100 * (_float(image)[:, 0, 0] - params) ** 2, _float(image)[:, 0, 0], state
  )
  n = len(pixels)
  arrays = {"image": np.asarray(pixels, np.uint8).reshape(-1, 1, 1, 1), "label": np.zeros(n, np.int32),
            "index": np.arange(n, dtype=np.int32)}
  data = Data(arrays, {"forget": np.arange(n)}, {"labels": {"label": list("abc")}})
  return Request(Subject(Model(lambda key, image: (centres, {}), apply), centres), data)


def _float(image):
  return image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image


def test_the_target_is_the_nearest_class_after_one_step_away_from_the_own():
  """A pixel of .24 is nearest to class 0 still after the step of .1 (.34: now 1), one of .12 goes on being class 0."""
  request = on_a_line([61, 31, 148])  # .24, .12, .58
  np.testing.assert_array_equal(boundary_shrink.nearest(request, 0.1), [1, 1, 2])  # .12: its own class is left out
  np.testing.assert_array_equal(boundary_shrink.nearest(request, 0.0), [1, 1, 1])  # .58 + .1 crosses .65, .58 does not


def test_pictures_stay_within_bounds_and_on_the_grid_of_bytes():
  request = on_a_line([250], centres=(0.5, 1.0, 1.4))  # beyond 1 class 2 would be the nearest
  np.testing.assert_array_equal(boundary_shrink.nearest(request, 0.9), [1])


def test_padding_of_chunks_leaves_no_trace(pictures):
  whole, cut = (boundary_shrink.nearest(pictures, 0.1, chunk=chunk) for chunk in (64, 7))
  np.testing.assert_array_equal(whole, cut)
  labels = pictures.data.arrays["label"][pictures.data.sets["forget"]]
  assert len(whole) == len(labels) and not np.any(whole == labels)


def test_the_class_goes_over_to_its_neighbours_and_others_are_kept(pictures):
  method = boundary_shrink.method(rate=1e-2, steps=30)
  assert set(method.batch(0, pictures, 0)) == {"forget"}
  after = loop.fit(method, pictures, mode="one")
  scores = utility.scores(pictures._replace(subject=after), ("forget", "retain"))
  assert scores["forget/accuracy"].value < 0.1 and scores["retain/accuracy"].value > 0.6
  assert tree.shapes(after.params) == tree.shapes(pictures.subject.params)


def test_the_bound_may_be_traced(pictures):
  run = lambda bound: boundary_shrink.method(bound=bound).init(jax.random.key(0), pictures).frozen["target"]
  both = jax.vmap(run)(jnp.array([0.0, 0.1]))
  np.testing.assert_array_equal(both[1], boundary_shrink.nearest(pictures, 0.1))

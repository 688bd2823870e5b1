"""The error that a user is meant to read."""

import numpy as np
import pytest

from ue_jax.core.errors import Invalid, require


def test_the_message_has_field_value_and_fix_in_one_line():
  error = Invalid("protect.eps", 3.0, "give a number in [0, 1]")
  assert str(error) == "protect.eps = 3.0: give a number in [0, 1]"
  assert isinstance(error, ValueError) and (error.field, error.value) == ("protect.eps", 3.0)


def test_long_and_many_line_values_stay_short():
  text = str(Invalid("x", np.zeros((50, 50)), "shorten it"))
  assert "\n" not in text and len(text) < 120 and text.endswith("shorten it")


def test_require_raises_only_if_the_condition_fails():
  require(True, "a", 1, "b")
  with pytest.raises(Invalid, match="a = 1: b"):
    require(False, "a", 1, "b")

"""A test over gathered cases fails when one of them does, and names all of them."""

import pytest

from tests.contract.gathered import over


def test_every_case_is_run_and_all_that_fail_are_named():
  seen = []

  @over("left, right", [(1, 1), (1, 2), (0, 1), (3, 3)])
  def test(noted, left, right):
    noted.append(left)
    assert left / left == right / left, "unequal"

  with pytest.raises(pytest.fail.Exception) as caught:
    test(noted=seen)
  assert seen == [1, 1, 0, 3]
  message = str(caught.value)
  assert message.startswith("2 of 4 fail") and "[1-2]" in message and "[0-1]" in message
  assert "unequal" in message and "ZeroDivisionError" in message and "[3-3]" not in message


@pytest.mark.parametrize("leave", [pytest.fail, pytest.skip])
def test_a_case_that_leaves_pytests_way_is_a_failure_like_another(leave):
  @over("x", [1, 2, 3])
  def test(x):
    assert x != 1
    leave("gone") if x == 2 else None

  with pytest.raises(pytest.fail.Exception, match=r"(?s)2 of 3 fail.*\[1\].*\[2\].*gone"):
    test()


def test_what_passes_passes_and_no_case_at_all_fails():
  over("x", [1, 2], ids=str)(lambda x: None)()
  with pytest.raises(AssertionError, match="no case"):
    over("x", [])(lambda x: None)()


@over("number", [2, 4])
def test_other_arguments_are_fixtures(tmp_path, number):
  assert tmp_path.is_dir() and number % 2 == 0

"""One test of many small cases: all are looked at, and the message names every one that fails.

As a test of its own, a case costs more than what it looks at. `pytest.mark.parametrize` stays the way for cases that
build or compile something.
"""

import functools
import inspect
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import pytest


def over(names: str, cases: Sequence[Any], ids: Callable[[Any], str] = str):
  """Runs a test for every case, as `pytest.mark.parametrize(names, cases, ids=ids)` does, but within one test.

  Args:
    names: arguments of the test, with commas between them; the others are fixtures.
    cases: values of the one argument, or tuples of values; there must be some. To skip one is to fail: leave it out.
    ids: value -> its name in the message.
  """
  asked = [name.strip() for name in names.split(",")]

  def decorate(test):
    @functools.wraps(test)
    def run(**fixtures):
      assert cases, "no case was found"
      failed = []
      for case in cases:
        values = case if len(asked) > 1 else (case,)
        try:
          test(**fixtures, **dict(zip(asked, values, strict=True)))
        except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:  # others are looked at, too
          where = "".join(traceback.format_exception(error, limit=-1)[1:])
          failed.append(f"[{'-'.join(map(ids, values))}]\n{where}")
      if failed:
        pytest.fail(f"{len(failed)} of {len(cases)} fail:\n\n" + "\n".join(failed), pytrace=False)

    parameters = inspect.signature(test).parameters.values()
    run.__signature__ = inspect.Signature([p for p in parameters if p.name not in asked])
    return run

  return decorate

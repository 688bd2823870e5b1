"""What a config says is read in one way, and what no factory takes is named."""

import pytest

from experiments import check
from ue_jax.core.errors import Invalid

NPO = {"name": "forget.npo", "beta": 0.2}


def test_one_stage_goes_by_the_last_word_of_its_module():
  config = {"method": NPO, "measure": {"a": {"name": "audit.utility"}, "b": {"name": "audit.membership"}}}
  assert check.many(config, "method") == {"npo": NPO} and list(check.many(config, "measure")) == ["a", "b"]
  assert check.many(config, "attack") == {}
  with pytest.raises(Invalid, match="config.method"):
    check.many({"method": "forget.npo"}, "method")


def test_unset_fields_are_cleared_but_an_empty_defence_stays():
  config = {"a": {"b": None, "c": 1}, "train": {}, "defend": {"none": {"name": None}}}
  assert check.clear(config) == {"a": {"c": 1}, "defend": {"none": {}}}


def test_one_seed_or_several_are_whole_numbers():
  assert check.seeds({}) == (0,) and check.seeds({"seed": 3}) == (3,) and check.seeds({"seeds": [1, 2]}) == (1, 2)
  for wrong in ((), ("a",), (-1,), (0.5,)):
    with pytest.raises(Invalid, match="config.seeds"):
      check.seeds({"seeds": wrong})


def test_an_argument_is_what_the_config_says_or_the_default_of_the_factory():
  assert check.argument("method", NPO, "beta") == 0.2
  assert check.argument("cluster", {"name": "cluster.k_means", "k": 3}, "restarts") == 4
  assert check.argument("method", NPO, "no such argument") is None
  assert not check.takes("method", NPO, "beta") and check.takes("method", {"name": "forget.npo"}, "beta")


def test_a_stage_is_named_by_where_it_stands():
  stage = {"name": "audit.utility"}
  config = {"measure": {"a": {"name": "audit.utility"}, "b": stage}}
  assert check.place(config, stage) == "config.measure.b" and check.place(config, dict(stage)) == ""


def test_a_misspelt_argument_is_answered_with_the_nearest():
  with pytest.raises(Invalid, match="config.method.betta = 1: did you mean beta"):
    check.check("method", {"name": "forget.npo", "betta": 1}, "config.method")
  assert check.near("xyz", ["beta"]) == ""

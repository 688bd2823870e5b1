"""The signature is the schema: what every factory and every public function looks like, over all that is on disk."""

import ast
import functools
import importlib
import inspect
import pathlib

from tests.contract.gathered import over
from ue_jax.core import build

ROOT = pathlib.Path(__file__).parents[2]
# What the caller builds or only the caller knows: such arguments need no default.
INJECTED = ("surrogate", "model", "train", "vocabulary", "path")
FILES = sorted(p for top in ("ue_jax", "experiments", "configs") for p in (ROOT / top).rglob("*.py"))
MODULES = list(build.modules())
FACTORIES = [(kind, module) for kind in build.KINDS for module in build.factories(kind)]


def name(path):
  return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@functools.cache
def syntax(path):
  return ast.parse(path.read_text())


def public_functions(path):
  """Functions at the top of the file whose name does not begin with an underscore."""
  kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
  found = [n for n in syntax(path).body if isinstance(n, kinds) and not n.name.startswith("_")]
  return [n for n in found if n.name != "get_config"]  # what there is to say of it is said by its file


def arguments(function):
  a = function.args
  return [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg)))]


@over("module", MODULES)
def test_every_module_can_be_imported_and_says_what_it_is(module):
  assert (importlib.import_module(f"ue_jax.{module}").__doc__ or "").strip()


@over("kind, module", FACTORIES)
def test_hyper_parameters_of_a_factory_are_keyword_arguments_with_defaults(kind, module):
  factory = build.find(kind, module)
  for key, parameter in inspect.signature(factory).parameters.items():
    assert parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL), key
    if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
      assert key in INJECTED, f"{module}.{kind} needs '{key}': give it a default"


@over("kind, module", FACTORIES)
def test_a_factory_lives_in_the_module_that_offers_it(kind, module):
  assert build.find(kind, module).__module__ == f"ue_jax.{module}"


@over("path", FILES, ids=name)
def test_every_public_function_has_a_summary_line(path):
  for node in public_functions(path):
    lines = (ast.get_docstring(node) or "").splitlines()
    assert lines and lines[0].strip(), f"{node.name} has no docstring"
    assert lines[0].rstrip().endswith((".", ":", ";", "!", "?")) or len(lines) > 1, f"{node.name}: finish the sentence"
    assert len(lines) == 1 or not lines[1].strip(), f"{node.name}: an empty line follows the summary"


@over("path", FILES, ids=name)
def test_a_random_key_is_called_key(path):
  for node in ast.walk(syntax(path)):
    if isinstance(node, (ast.FunctionDef, ast.Lambda)):
      bad = [a for a in arguments(node) if a in ("rng", "rngs", "prng", "rng_key", "random_key", "prng_key")]
      assert not bad, f"line {node.lineno}: call it 'key'"


@over("path", FILES, ids=name)
def test_nothing_is_swallowed_left_open_or_loaded_unsafely(path):
  for node in ast.walk(syntax(path)):
    if isinstance(node, ast.ExceptHandler):
      assert node.type is not None, f"line {node.lineno}: bare except"
      silent = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
      assert not silent, f"line {node.lineno}: an error is swallowed"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
      assert node.func.id not in ("eval", "exec"), f"line {node.lineno}: {node.func.id}"
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
      safe = [k for k in node.keywords if k.arg == "allow_pickle" and ast.unparse(k.value) == "False"]
      assert safe, f"line {node.lineno}: np.load without allow_pickle=False"
    if isinstance(node, (ast.Import, ast.ImportFrom)):
      names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
      assert not {"pickle", "dill", "cloudpickle"} & {n.split(".")[0] for n in names}, f"line {node.lineno}: pickle"


def own_lines(function):
  """Lines of the body, without the docstring and the functions defined inside, which are bodies of their own."""
  body = function.body[1 if ast.get_docstring(function) else 0 :]
  inner = [n for n in body if isinstance(n, ast.FunctionDef)]
  length = lambda nodes: sum(n.end_lineno - n.lineno + 1 for n in nodes)
  return length(body) - length(inner)


@over("path", FILES, ids=name)
def test_files_and_bodies_stay_short(path):
  assert path.read_text().count("\n") <= 400, "split the file"
  for node in ast.walk(syntax(path)):
    if isinstance(node, ast.FunctionDef):
      assert own_lines(node) <= 60, f"{node.name} is long"

"""Who may import whom, read from the syntax tree: the floors of ARCHITECTURE.md."""

import ast
import pathlib

from tests.contract.gathered import over

ROOT = pathlib.Path(__file__).parents[2]
CORE, MIDDLE = {"core"}, {"core", "parallel", "models", "data"}
TRAIN = MIDDLE | {"train"}
LOWER = TRAIN | {"cluster"}
MAY = {
  "core": CORE, "report": CORE, "parallel": CORE, "models": CORE, "data": CORE,
  "train": MIDDLE, "cluster": TRAIN, "protect": LOWER, "forget": LOWER, "audit": LOWER, "defend": LOWER | {"protect"},
}
ONLY = {
  "flax": ("ue_jax/models/",), "orbax": ("ue_jax/train/checkpoint.py",), "absl": ("experiments/",),
  "ml_collections": ("experiments/", "configs/"),
}
CORE_PACKAGES = {"jax", "optax", "numpy", "ue_jax"}
STDLIB = __import__("sys").stdlib_module_names
FILES = sorted(p for top in ("ue_jax", "experiments", "configs") for p in (ROOT / top).rglob("*.py"))


def imports(path):
  """Full dotted names of everything that the file imports, `from a import b` as `a.b`."""
  out = []
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      out += [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}:{node.lineno} relative import"
      out += [f"{node.module}.{alias.name}" for alias in node.names if node.module != "__future__"]
  return out


def name(path):
  return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@over("path", FILES, ids=name)
def test_a_file_imports_from_its_own_room_and_from_lower_floors_only(path):
  where = path.relative_to(ROOT).as_posix()
  room = where.split("/")[1] if where.startswith("ue_jax/") else where.split("/")[0]
  for full in imports(path):
    top, *rest = full.split(".")
    if room.endswith(".py"):
      assert top in STDLIB, f"the package's own __init__ imports {full}"
    elif top == "ue_jax" and rest and room in MAY:
      assert rest[0] in MAY[room] | {room}, f"{room} imports {full}"
    elif room in MAY:
      assert top not in ("experiments", "configs", "tests"), f"{room} imports {full}"
    if room == "core":
      assert top in CORE_PACKAGES | STDLIB, f"core imports {full}"
    if room == "configs":
      assert top in {"ml_collections", "configs"} | STDLIB, f"a config imports {full}"
    if top in ONLY:
      assert where.startswith(ONLY[top]), f"{where} imports {full}; only {ONLY[top]} may"


def test_no_import_goes_round_in_a_circle():
  known = {name(path) for path in FILES}
  graph = {name(path): {m for full in imports(path) for m in (full, full.rpartition(".")[0]) if m in known}
           for path in FILES}
  while graph:
    free = {n for n, to in graph.items() if not (to - {n}) & set(graph)}
    assert free, f"a circle among {sorted(graph)}"
    graph = {n: to for n, to in graph.items() if n not in free}

"""The architecture: imports run one way, component packages do not know each other, only a few rooms know Hydra, files are short."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import ebm_cli

ROOT = Path(ebm_cli.__file__).parent
COMPONENTS = "datasets energies references objectives samplers regularizers optimizers metrics"
FLOORS = [  # a room imports from itself and from the rooms on the floors below it
    *("errors types", "console core io", COMPONENTS, "config runs", "figures loggers training"),
    *("comparison runner", "sweeps", "commands plugins", "__init__ __main__"),
]
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms.split()}
KNOWS_HYDRA = {"config", "sweeps", "commands", "plugins"}
FILES = sorted(ROOT.rglob("*.py"))


def imports(path):
    """The modules that a file imports, at run time or for type checking."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_run_one_way():
    arrows = [(path.relative_to(ROOT).parts[0].removesuffix(".py"), name, path.name) for path in FILES for name in imports(path)]
    for room, name, file in arrows:
        package, other, *_ = [*name.split("."), ""]
        assert package != "ebm_cli" or room == other or FLOOR[other] < FLOOR[room], f"{room}/{file} imports {name}"
        assert package not in ("hydra", "omegaconf") or room in KNOWS_HYDRA, f"{room}/{file} imports {name}"
    assert len(list(ROOT.glob("*.py"))) <= 6


def test_no_files_import_each_other_in_a_circle():
    """The sorter raises CycleError with the files of a circle."""
    module = {path: ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__") for path in FILES}
    known = set(module.values())
    graph = {module[path]: {name if name in known else name.rpartition(".")[0] for name in imports(path)} & known for path in FILES}
    TopologicalSorter(graph).prepare()


def test_the_command_starts_with_the_standard_library_alone():
    packages = {name.partition(".")[0] for file in ("__main__.py", "errors.py") for name in imports(ROOT / file)}
    assert packages - {"ebm_cli"} <= sys.stdlib_module_names


def test_files_and_functions_are_short():
    assert not [path.name for path in FILES if len(path.read_text().splitlines()) > 300]
    functions = [(path, node) for path in FILES for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    assert not [f"{path.name}: {node.name}" for path, node in functions if node.end_lineno - node.lineno >= 60]

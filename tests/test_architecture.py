"""The architecture: imports run in one direction, component packages are independent, few packages import Hydra, and files are short."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import ebm_cli

ROOT = Path(ebm_cli.__file__).parent
COMPONENTS = "datasets energies references objectives samplers regularizers optimizers metrics"
LAYERS = [  # a package or module imports only from itself and from lower layers
    *("errors types", "console core io", COMPONENTS, "config runs", "figures loggers training"),
    *("comparison runner", "films sweeps", "commands plugins", "__init__ __main__"),
]
LAYER = {name: i for i, names in enumerate(LAYERS) for name in names.split()}
USES_HYDRA = {"config", "sweeps", "commands", "plugins"}
FILES = sorted(ROOT.rglob("*.py"))


def imports(path):
    """The modules that a file imports, at run time or for type checking."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_run_in_one_direction():
    pairs = [(path.relative_to(ROOT).parts[0].removesuffix(".py"), name, path.name) for path in FILES for name in imports(path)]
    for part, name, file in pairs:
        package, other, *_ = [*name.split("."), ""]
        assert package != "ebm_cli" or part == other or LAYER[other] < LAYER[part], f"{part}/{file} imports {name}"
        assert package not in ("hydra", "omegaconf") or part in USES_HYDRA, f"{part}/{file} imports {name}"
    assert len(list(ROOT.glob("*.py"))) <= 6


def test_there_are_no_import_cycles():
    """`prepare` raises CycleError with the modules of a cycle."""
    module = {path: ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__") for path in FILES}
    known = set(module.values())
    graph = {module[path]: {name if name in known else name.rpartition(".")[0] for name in imports(path)} & known for path in FILES}
    TopologicalSorter(graph).prepare()


def test_the_command_starts_with_only_the_standard_library():
    packages = {name.partition(".")[0] for file in ("__main__.py", "errors.py") for name in imports(ROOT / file)}
    assert packages - {"ebm_cli"} <= sys.stdlib_module_names


def test_files_and_functions_are_short():
    assert not [path.name for path in FILES if len(path.read_text().splitlines()) > 300]
    functions = [(path, node) for path in FILES for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    assert not [f"{path.name}: {node.name}" for path, node in functions if node.end_lineno - node.lineno >= 60]


def test_text_is_printed_by_the_modules_that_escape_it():
    """Completion prints nothing but its own script and escaped candidates, and __main__ nothing but its usage."""
    printing = {
        path.relative_to(ROOT).as_posix()
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printing == {"console.py", "errors.py", "__main__.py", "commands/completion.py"}

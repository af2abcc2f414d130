"""The house: imports run one way, component packages do not know each other, Hydra has one door."""

import ast
from pathlib import Path

import pytest

import ebm_cli

ROOT = Path(ebm_cli.__file__).parent
COMPONENTS = ("datasets", "energies", "objectives", "samplers", "regularizers", "metrics", "optimizers")
LAYERS = (  # a module imports from its own layer or from those before it
    {"errors", "shells", "intervals", "conformal", "output"},
    {"types"},
    {"rng", "units", "model", "schedule", "tables", "flags"},
    {"case", "views", "mixture", "chain", "minibatches", "laws", "diffusion", "stein"},
    {"densities"},
    set(COMPONENTS),
    {"overrides"},
    {"trainer", "run", "config", "signals"},
    {"hydra_nodes", "entries"},
    {"budget"},
    {"comparison"},
    {"checkpoint", "schema", "environment", "slots"},
    {"matching", "trained", "parent", "console"},
    {"evaluation", "figures", "mirror", "composition", "starts", "samples_file"},
    {"loggers"},
    {"pictures"},
    {"experiment"},
    {"results"},
    {"drawing"},
    {"launcher", "board"},
    {"training"},
    {"jobs"},
    {"sweep"},
    {"search", "elsewhere"},
    {"engines"},
    {"preload"},
    {"plugins"},
    {"commands"},
    {"__main__"},
)
HYDRA_DOORS = {"config.py", "hydra_nodes.py", "overrides.py", "commands/train.py", "plugins/hydra_plugins/ebm.py"}


def imports(path):
    """Every module of ours, and every package of others, that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" if node.module == "ebm_cli" else node.module for alias in node.names)


def layer(room):
    return next(i for i, rooms in enumerate(LAYERS) if room in rooms)


FILES = sorted(path for path in ROOT.rglob("*.py") if path.name != "__init__.py" or path.parent.name == "commands")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for name in imports(path):
        if name.startswith("ebm_cli."):
            other = name.split(".")[1]
            if room == "__main__" and other == "commands":
                continue
            under_types = room == "types" and other in ("case", "model", "rng", "units", "run")  # for type checkers only
            assert layer(other) <= layer(room) or under_types, f"{room} imports {name}"
            if room in COMPONENTS:
                assert other == room or other not in COMPONENTS, f"{room} imports its sibling {name}"
            if room == "loggers":
                assert other != room, f"{path.name} imports its sibling {name}"
        if name.split(".")[0] in ("hydra", "omegaconf"):
            assert str(path.relative_to(ROOT)) in HYDRA_DOORS, f"{path.name} knows Hydra"


def test_the_front_door_is_standard_library_only():
    names = {name.split(".")[0] for name in imports(ROOT / "__main__.py")} | {name.split(".")[0] for name in imports(ROOT / "errors.py")}
    assert names <= {"atexit", "collections", "contextlib", "difflib", "ebm_cli", "importlib", "os", "signal", "sys", "typing"}


def test_files_are_read_in_one_sitting():
    assert not [path.name for path in FILES if len(path.read_text().splitlines()) > 300]

"""The parameter types of components, read from their source code. Importing them would import torch, which is too slow for TAB."""

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parents[1]
ELSEWHERE = {  # targets whose parameters are defined elsewhere
    "hydra_plugins.ebm.OptunaSweeper": "ebm_cli.sweeps.search.Search",
    "hydra_plugins.ebm.GpuLauncher": "ebm_cli.sweeps.local.settings",
    "hydra_plugins.ebm.SubmititLauncher": "ebm_cli.sweeps.slurm.local",
    "hydra_plugins.ebm.SlurmLauncher": "ebm_cli.sweeps.slurm.slurm",
}


class Source(NamedTuple):
    """A module of this package: its top-level definitions, and the module from which each imported name comes."""

    definitions: dict[str, ast.AST]
    imports: dict[str, str]


def values_of(target: str, parameter: str) -> list[str]:
    """The values that a parameter can have, if its type lists them (`Literal`) or is bool; else an empty list."""
    for definition, source in _definitions(ELSEWHERE.get(target, target)):
        if annotation := _annotations(definition).get(parameter):
            return list(dict.fromkeys(_literals(annotation, source)))
    return []


def is_analytic(target: str) -> bool:
    """Whether an energy derives from `Analytic`, so that there is nothing to train."""
    return any(isinstance(definition, ast.ClassDef) and definition.name == "Analytic" for definition, _ in _definitions(target))


@lru_cache
def _source(module: str) -> Source | None:
    """The parsed module; None for a module outside this package: the user's own code is not searched during completion."""
    package, *path = module.split(".")
    file = PACKAGE.joinpath(*path).with_suffix(".py")
    if package != PACKAGE.name or not file.is_file():
        return None
    definitions: dict[str, ast.AST] = {}
    imports: dict[str, str] = {}
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            definitions[node.targets[0].id] = node.value
        elif isinstance(node, ast.ImportFrom):
            imports |= {alias.asname or alias.name: node.module or "" for alias in node.names}
    return Source(definitions, imports)


def _find(name: str, source: Source) -> tuple[ast.AST, Source] | None:
    """The definition of a name that a module defines or imports, and the module that defines it."""
    while name not in source.definitions:
        imported = _source(source.imports.get(name, ""))
        if imported is None:
            return None
        source = imported
    return source.definitions[name], source


def _definitions(target: str) -> Iterator[tuple[ast.AST, Source]]:
    """The class or function that a target names, then the bases of the class, each with its module."""
    module, _, name = target.rpartition(".")
    left = [(name, _source(module))]
    while left:
        name, source = left.pop(0)
        if source and (found := _find(name, source)):
            yield found
            bases = found[0].bases if isinstance(found[0], ast.ClassDef) else ()
            left += [(base.id, found[1]) for base in bases if isinstance(base, ast.Name)]


def _annotations(definition: ast.AST) -> dict[str, ast.expr]:
    """The types of the parameters of a function, or of the fields and constructor parameters of a class."""
    if isinstance(definition, ast.FunctionDef):
        arguments = definition.args
        every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        return {argument.arg: argument.annotation for argument in every if argument.annotation}
    found: dict[str, ast.expr] = {}
    for node in getattr(definition, "body", ()):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node.annotation
        elif isinstance(node, ast.FunctionDef) and node.name == "__init__":
            found |= _annotations(node)
    return found


def _literals(annotation: ast.AST, source: Source) -> Iterator[str]:
    """The values that a type lists."""
    if isinstance(annotation, ast.BinOp):
        yield from _literals(annotation.left, source)
        yield from _literals(annotation.right, source)
    elif isinstance(annotation, ast.Subscript) and getattr(annotation.value, "id", "") == "Literal":
        entries = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        yield from (str(entry.value) for entry in entries if isinstance(entry, ast.Constant))
    elif isinstance(annotation, ast.Name) and annotation.id == "bool":
        yield from ("true", "false")
    elif isinstance(annotation, ast.Name) and (found := _find(annotation.id, source)) and not isinstance(found[0], ast.ClassDef):
        yield from _literals(*found)

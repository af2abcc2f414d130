"""Which components go together: refused before anything runs, in one sentence that names both sides and options that work."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from ebm_cli import config
from ebm_cli.errors import InputError, Problem


def check(typed: Mapping[str, Any], choices: Mapping[str, Any], dirs: Sequence[Path] = ()) -> None:
    """Raises `InputError` where a component needs of the energy what it does not have."""
    has = provides(typed["energy"])
    asking = {"objective": typed["objective"], "sampler": typed["sampler"]} | {"regularizer": node for node in typed["regularizer"].values()}
    problems = []
    for group, node in asking.items():
        if missing := requires(node) - has:
            sides = f"{group}={name(node, group, choices)} needs an {' and '.join(sorted(missing))}, which energy={choices['energy']} does not have"
            others = [option for option, target in _targets(group, dirs).items() if not requires(target) - has]
            works = f"{group}={' or '.join(others)}" if others else f"{group}=[]"
            problems.append(Problem(f"{sides}: it outputs the score itself", f"{works}, or energy={' or '.join(_with_energy(dirs))}"))
    if problems:
        raise InputError(*problems)


def provides(energy: Mapping[str, Any]) -> frozenset[str]:
    """What a model of this energy can be asked for."""
    return frozenset() if getattr(_class(energy), "outputs_score", False) else frozenset({"energy"})


def requires(node: Mapping[str, Any]) -> frozenset[str]:
    """What a component, and a sampler inside it, asks of a model."""
    inner = (value for value in node.values() if isinstance(value, Mapping) and "_target_" in value)
    return getattr(_class(node), "requires", frozenset()).union(*(requires(one) for one in inner))


def name(node: Mapping[str, Any], group: str, choices: Mapping[str, Any]) -> str:
    """The option behind a node, as the user wrote it."""
    return str(choices.get(group, _class(node).__name__))


def _targets(group: str, dirs: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """The options of a group that name a class of ours."""
    nodes = {option: yaml.safe_load(found.path.read_text()) for option, found in config.groups(dirs)[group].items()}
    return {option: node for option, node in nodes.items() if str(node.get("_target_", "")).startswith("ebm_cli.")}


def _with_energy(dirs: Sequence[Path]) -> list[str]:
    return [option for option, node in _targets("energy", dirs).items() if "energy" in provides(node)]


def _class(node: Mapping[str, Any]) -> Any:
    module, _, name = node["_target_"].rpartition(".")
    return vars(import_module(module))[name]

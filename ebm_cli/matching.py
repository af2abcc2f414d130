"""Which components go together: refused before anything runs, in one sentence that names both sides and options that work."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ebm_cli import config, schema
from ebm_cli.errors import Problem

NO_ENERGY = "which has none: it outputs the score itself"


def problems(composed: config.Composed) -> list[Problem]:
    """Components that ask of the energy what it does not have. Nodes that name no component are left to the schema."""
    nodes, choices, found = composed.config, composed.choices, []
    has = provides(nodes.get("energy"))
    for group in ("objective", "sampler", "regularizer"):
        node = nodes.get(group)
        if requires(node, group) - has:
            chosen = choices[group] if group in choices else f"[{','.join(node)}]"
            works = [option for option, one in _options(group, composed.dirs).items() if not requires(one, group) - has]
            with_energy = [
                option for option, energy in _options("energy", composed.dirs).items() if not requires(node, group) - provides(energy)
            ]
            hint = f"{group}={' or '.join(works) or '[]'}, or energy={' or '.join(with_energy)}"
            found.append(Problem(f"{group}={chosen} needs the energy of energy={choices['energy']}, {NO_ENERGY}", hint))
    return found


def provides(energy: Any) -> frozenset[str]:
    """What a model of this energy can be asked for."""
    target = _class(energy, "energy")
    return frozenset() if getattr(target, "outputs_score", False) else frozenset({"energy"})


def requires(node: Any, group: str) -> frozenset[str]:
    """What a component, and a sampler inside it, asks of a model; of a group where several go together, all of them."""
    if not isinstance(node, Mapping):
        return frozenset()
    if group in schema.KINDS_OF_LISTS:
        return frozenset().union(*(getattr(_class(one, group), "requires", ()) for one in node.values()))
    inner = requires(node["sampler"], "sampler") if "sampler" in node else frozenset()
    return getattr(_class(node, group), "requires", frozenset()) | inner


def _options(group: str, dirs: Sequence[Path]) -> dict[str, Any]:
    """The nodes of a group's options."""
    return {option: yaml.safe_load(found.path.read_text()) for option, found in config.groups(dirs)[group].items()}


def _class(node: Any, group: str) -> Any:
    """The class behind a node, inside the fence; None where there is none."""
    target = node.get("_target_") if isinstance(node, Mapping) else None
    return schema.resolve(target, group, schema.kind_of(group), []) if isinstance(target, str) else None

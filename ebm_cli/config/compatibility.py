"""Which components go together: refused before anything runs, in one sentence that names both sides and options that work."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ebm_cli.config import compose, schema
from ebm_cli.core import model
from ebm_cli.errors import Problem

LACKS = {
    "energy": "needs the energy of energy={energy}, which has none: it outputs the score itself",
    "noise_level": "works on a ladder of noise levels, and energy={energy} takes none",
}


def problems(composed: compose.Composed) -> list[Problem]:
    """Components that ask of the energy what it does not have. Nodes that name no component are left to the schema."""
    nodes, choices, found = composed.config, composed.choices, []
    if not trainable(nodes.get("energy")):
        message = f"energy={choices['energy']} is known as it stands: there is nothing to train"
        return [Problem(message, f"draw from it: ebm sample energy={choices['energy']}")]
    has, energies = provides(nodes.get("energy")), _options("energy", composed.dirs)
    energies = {option: energy for option, energy in energies.items() if trainable(energy)}
    ladder = "noise_level" in requires(nodes.get("objective"), "objective")
    for group in ("objective", "sampler", "regularizer"):
        node = nodes.get(group)
        for lacking in sorted(requires(node, group) - has):
            chosen = choices[group] if group in choices else f"[{','.join(node)}]"
            works = [option for option, one in _options(group, composed.dirs).items() if not requires(one, group) - has]
            others = [
                option
                for option, energy in energies.items()
                if not requires(node, group) - provides(energy)
                and (ladder or lacking == "noise_level" or "noise_level" not in provides(energy))
            ]
            hint = f"{group}={' or '.join(works) or '[]'}, or energy={' or '.join(others)}"
            found.append(Problem(f"{group}={chosen} {LACKS[lacking].format(energy=choices['energy'])}", hint))
    if "noise_level" in has - getattr(_class(nodes.get("objective"), "objective"), "requires", frozenset()):  # itself, not its sampler
        works = [option for option, one in _options("objective", composed.dirs).items() if "noise_level" in requires(one, "objective")]
        others = [option for option, energy in energies.items() if "noise_level" not in provides(energy)]
        message = f"energy={choices['energy']} takes a noise level, and objective={choices['objective']} gives it none"
        found.append(
            Problem(message, ", or ".join([*([f"objective={' or '.join(works)}"] if works else []), f"energy={' or '.join(others)}"]))
        )
    return found


def provides(energy: Any) -> frozenset[str]:
    """What a model of this energy can be asked for."""
    target = _class(energy, "energy")
    return model.provides(target) if target else frozenset({"energy"})


def trainable(energy: Any) -> bool:
    """Whether there is something in an energy to train."""
    return getattr(_class(energy, "energy"), "trainable", True)


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
    return {option: yaml.safe_load(found.path.read_text()) for option, found in compose.groups(dirs)[group].items()}


def _class(node: Any, group: str) -> Any:
    """The class behind a node, inside the fence; None where there is none."""
    target = node.get("_target_") if isinstance(node, Mapping) else None
    return schema.resolve(target, group, schema.kind_of(group), []) if isinstance(target, str) else None

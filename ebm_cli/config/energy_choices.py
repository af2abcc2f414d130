"""What the files of an energy choose beside the energy: the sampler, regularizers, and values that suit it with one objective.

Hydra composes the options of the line and the presets. Two things that it cannot express are added here: a choice of the energy comes
before that of an objective with chains, although objectives come after energies; and a file ENERGY/OBJECTIVE.yaml beside the file of the
energy has choices and values for this pair. The line and a preset have priority over both, and so has a sampler that the data choose.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ebm_cli.config import option_files
from ebm_cli.config.overrides import key_of

GROUPS = ("sampler", "regularizer", "optimizer")  # for these the choice of the energy comes before that of an objective with chains
SHARED = "${sampler}"  # the sampler of an objective whose chains use the sampler of the config


def words(choices: Mapping[str, Any], options: Sequence[str], config: Mapping[str, Any], dirs: Sequence[Path]) -> list[str]:
    """Overrides for the options that the file of the energy chooses, and that an objective with chains chooses for real events.

    `options` are the overrides of the line that choose options, and `config` is composed from them, without interpolation.
    """
    energy, objective = _file("energy", choices, dirs), config.get("objective")
    if energy is None or not isinstance(objective, Mapping) or objective.get("sampler") != SHARED:
        return []
    data = _file("dataset", choices, dirs)
    by_data = option_files.defaults(data) if data else {}
    pair, given = _pair(choices, dirs), {*map(key_of, options), *_preset(choices, dirs)[0], *by_data.keys() & {"sampler"}}
    wanted = option_files.defaults(energy) | (option_files.defaults(pair) if pair else {})
    return [f"{group}={_written(wanted[group])}" for group in GROUPS if group in wanted and group not in given]


def values(choices: Mapping[str, Any], given: Mapping[str, Any], dirs: Sequence[Path]) -> dict[str, Any]:
    """The values for the energy and the objective together: {group: {key: value}}.

    `given` are the groups whose options the line chooses: these keep the values of their options.
    """
    path = _pair(choices, dirs)
    if path is None:
        return {}
    chosen, own = _preset(choices, dirs)
    kept = {"defaults", *given, *chosen} - {"objective"}
    return {
        group: {key: value for key, value in inner.items() if key not in (own.get(group) or {})}
        for group, inner in option_files.load(path).items()
        if group not in kept
    }


def _pair(choices: Mapping[str, Any], dirs: Sequence[Path]) -> Path | None:
    """The file of the energy and the objective together, if there is one."""
    energy = _file("energy", choices, dirs)
    path = energy.with_suffix("") / f"{choices.get('objective')}.yaml" if energy else None
    return path if path and path.is_file() else None


def _preset(choices: Mapping[str, Any], dirs: Sequence[Path]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The options and the values that the chosen preset sets."""
    path = _file("experiment", choices, dirs)
    return (option_files.defaults(path), option_files.load(path)) if path else ({}, {})


def _file(group: str, choices: Mapping[str, Any], dirs: Sequence[Path]) -> Path | None:
    """The file of the chosen option of a group."""
    found = option_files.groups(dirs)[group].get(choices.get(group))
    return found.path if found else None


def _written(option: Any) -> str:
    """The value of an override that chooses an option, or a list of options."""
    return f"[{','.join(option)}]" if isinstance(option, list) else str(option)

"""The part of a sweep's command line that configures Hydra itself: its launcher and its sweeper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ebm_cli.config.compose import by_hydra, first_line, look
from ebm_cli.config.option_files import comments, conf_dir, groups
from ebm_cli.config.overrides import FOLDERS, dimension, hydra_fault, is_hydras, key_of, misplaced, note, parse
from ebm_cli.errors import Problem, nearest

SWEEPERS = ("hydra_plugins.ebm.GridSweeper", "hydra_plugins.ebm.OptunaSweeper")
NEEDS = {  # the package that a class of ours needs
    "hydra_plugins.ebm.OptunaSweeper": "optuna",
    "hydra_plugins.ebm.SlurmLauncher": "submitit",
    "hydra_plugins.ebm.SubmititLauncher": "submitit",
    "hydra_plugins.ebm.RayLauncher": "ray",
}


@dataclass(frozen=True)
class OfHydra:
    """The overrides of a sweep, separated into Hydra's configuration and all others."""

    words: list[str]  # the overrides that do not configure Hydra, and those that the sweeper adds
    launcher: dict[str, Any]
    sweeper: dict[str, Any]
    problems: list[Problem]


def of_hydra(words: Sequence[str], dirs: Sequence[Path] = ()) -> OfHydra:
    """Compose the launcher and the sweeper that the overrides or their preset choose, and collect the problems of these overrides."""
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    own, others = [word for word in words if is_hydras(word)], [word for word in words if not is_hydras(word)]
    problems = [problem for word in own if (problem := hydra_fault(word))]
    chosen = {key: word for word in own if "/" in (key := key_of(word))}
    presets = [word for word in others if word in {f"experiment={name}" for name in groups(dirs)["experiment"]}]
    try:
        composed = by_hydra([*presets, *chosen.values()], dirs)
    except HydraException as error:
        known = {
            f"hydra/{path.parent.name}": sorted(file.stem for file in path.parent.glob("*.yaml")) for path in conf_dir().glob("hydra/*/*")
        }
        hints = [nearest(word.partition("=")[2], known[key], f"{key}=") for key, word in chosen.items() if key in known]
        return OfHydra(others, {}, {}, [*problems, Problem(first_line(error), next(iter(hints), ""))])
    plain = {"hydra": OmegaConf.to_container(composed.hydra)}
    for part, choice in ((part, composed.hydra.runtime.choices[f"hydra/{part}"]) for part in ("launcher", "sweeper")):
        target = plain["hydra"][part]["_target_"]
        try:
            installed = find_spec(NEEDS.get(target, target.rpartition(".")[0])) is not None
        except ModuleNotFoundError:  # its parent package is not installed
            installed = False
        if not installed:
            file = conf_dir() / "hydra" / part / f"{choice}.yaml"
            problems.append(Problem(f"hydra/{part}={choice} needs a package that is not installed", comments(file)[1]))
    for word in own:
        fault = Problem(f"{word}: this key takes one value") if dimension(word, {}) else misplaced(word, key_of(word), plain)
        if word.startswith("~"):
            hint = "choose another option with hydra/launcher=... or hydra/sweeper=..."
            fault = Problem(f"{word}: keys cannot be removed from a config", hint)
        elif fault is None and word not in chosen.values() and isinstance(look(plain, key_of(word)), Mapping):
            hint = f"choose an option with {key_of(word).replace('.', '/')}=..."
            fault = Problem(f"{word}: {key_of(word)} is a group of keys, not a value", hint)
        if word in chosen.values() or key_of(word) in FOLDERS or note(fault, problems):
            continue
        try:
            OmegaConf.update(composed, key_of(word), parse(word).value())
        except (HydraException, OmegaConfBaseException) as error:
            problems.append(Problem(f"{word}: {first_line(error)}"))
    launcher, sweeper = (OmegaConf.to_container(composed.hydra[part]) for part in ("launcher", "sweeper"))
    if sweeper["_target_"] not in SWEEPERS:
        choice = composed.hydra.runtime.choices["hydra/sweeper"]
        message = f"hydra/sweeper={choice}: this sweeper does not record the results of its runs"
        problems.append(Problem(message, "use hydra/sweeper=grid or hydra/sweeper=optuna"))
    return OfHydra(with_params(sweeper.get("params"), others), launcher, sweeper, problems)


def with_params(params: Mapping[str, Any] | None, words: Sequence[str]) -> list[str]:
    """The overrides of a sweep, preceded by the search space of its sweeper. An override on the command line takes precedence."""
    given = {key_of(word) for word in words}
    return [*(f"{key}={value}" for key, value in (params or {}).items() if key not in given), *words]

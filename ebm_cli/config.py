"""The only door to Hydra and OmegaConf: from the words of a command line to plain dictionaries.

Overrides are looked through before Hydra composes them, so that every fault is named at once and in one form, and so that an unknown
key is answered with the nearest known one and never made live. What leaves this module is plain data.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ebm_cli.errors import InputError, Problem, nearest

LISTS = ("metric", "regularizer")  # groups of which several options go together
OPTIONAL = ("experiment",)  # groups that may be null
HYDRA = ("hydra.", "hydra/")  # keys and groups that are Hydra's own
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir", "hydra.job.chdir")
MOST_CHECKED = 20  # values of a swept key that are looked at before the sweep starts
MISSING = "???"


@dataclass(frozen=True)
class Composed:
    """One run's config as plain data, where a value that the user still owes is an absent key."""

    config: dict[str, Any]
    choices: dict[str, Any]  # the option of each group
    differs: list[str]  # the overrides that change something
    problems: list[Problem]  # with the overrides; what they would set is not in the config


class Option(NamedTuple):
    """A file of a config group: its first comment line, its second, and where it is."""

    description: str
    reference: str
    path: Path


def conf_dir() -> Path:
    """The folder of the configs: inside an installed package, beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    return next(path for path in (package / "conf", package.parent / "conf") if path.is_dir())


def groups(dirs: Sequence[Path] = ()) -> dict[str, dict[str, Option]]:
    """Every group with its options, those of the user's own folders included."""
    found: dict[str, dict[str, Option]] = {}
    for folder in (conf_dir(), *dirs):
        for path in sorted(folder.glob("*/*.yaml")):
            comments = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#") and "@package" not in line]
            found.setdefault(path.parent.name, {}).setdefault(path.stem, Option(*([*comments, "", ""])[:2], path))
    return found


def compose(words: Sequence[str], dirs: Sequence[Path] = ()) -> Composed:
    """The config of one run from its overrides, with every fault that can be seen before types are looked at."""
    from hydra import compose as hydra_compose
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    options, values, problems = _sort(words, groups(dirs))
    search = [f"hydra.searchpath=[{','.join(f'file://{path.resolve()}' for path in dirs)}]"] if dirs else []
    try:
        with _hydra():
            composed = hydra_compose("train", [*search, *options.values()], return_hydra_config=True)
        choices = dict(composed.hydra.runtime.choices)
        OmegaConf.set_struct(composed, False)
        del composed["hydra"]
        plain = OmegaConf.to_container(composed)
        values = {key: word for key, word in values.items() if not _note(_misplaced(word, key, plain), problems)}
        for key, word in values.items():
            OmegaConf.update(composed, key, _parse(word).value())
        config = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(*problems, Problem(_first_line(error))) from None
    entries = yaml.safe_load((conf_dir() / "train.yaml").read_text())["defaults"]
    defaults = {group: option for entry in entries if entry != "_self_" for group, option in entry.items()}
    differs = [word for group, word in options.items() if group in LISTS or choices[group] != defaults[group]]
    differs += [word for key, word in values.items() if look(plain, key) != look(config, key)]
    return Composed(_without_missing(config), choices, differs, problems)


def to_yaml(words: Sequence[str], dirs: Sequence[Path] = ()) -> str:
    """What `--cfg job` prints: the config as composed."""
    composed = compose(words, dirs)
    if composed.problems:
        raise InputError(*composed.problems)
    return yaml.safe_dump(composed.config, sort_keys=False)


def star(words: Sequence[str], dirs: Sequence[Path] = ()) -> Iterator[list[str]]:
    """Lines that show every swept value once: the first of each, then each further one with the first of the others."""
    known = groups(dirs)
    sweeps = {i: list(islice(_sweep_values(word, known), MOST_CHECKED)) for i, word in enumerate(words)}
    first = [values[0] if values else words[i] for i, values in sweeps.items()]
    yield first
    for i, values in sweeps.items():
        yield from ([*first[:i], value, *first[i + 1 :]] for value in values[1:])


def amend(stored: Mapping[str, Any], words: Sequence[str], swappable: Sequence[str] = ()) -> dict[str, Any]:
    """A stored config with overrides laid over it, `key=value`, and `group=option` for the groups that may be swapped."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    config = OmegaConf.create(dict(stored))
    options, values, problems = _sort(words, {group: found for group, found in groups().items() if group in swappable})
    for group, word in options.items():
        chosen = _parse(word).value()
        files = [groups()[group][name].path for name in (chosen if isinstance(chosen, list) else [chosen])]
        config[group] = OmegaConf.merge(*(OmegaConf.load(path) for path in files)) if files else {}
    for key, word in values.items():
        if not _note(_misplaced(word, key, OmegaConf.to_container(config)), problems):
            try:
                OmegaConf.update(config, key, _parse(word).value())
            except OmegaConfBaseException as error:
                problems.append(Problem(f"{key}: {_first_line(error)}"))
    if problems:
        raise InputError(*problems)
    return OmegaConf.to_container(config, resolve=True)


def look(config: Any, key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    for part in key.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra ready to compose from our folder, also while a sweep of its own is at work."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    at_work = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            yield
    finally:
        if at_work is not None:
            GlobalHydra.instance().initialize(at_work)


def _parse(word: str) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(word)


def _sort(words: Sequence[str], known: Mapping[str, Mapping[str, Option]]) -> tuple[dict[str, str], dict[str, str], list[Problem]]:
    """Overrides as (group: word, key: word, problems)."""
    from hydra.errors import HydraException

    options: dict[str, str] = {}
    values: dict[str, str] = {}
    problems = []
    for word in words:
        try:
            override = _parse(word)
        except HydraException:
            key, equals, value = word.partition("=")
            hint = f"""quote special characters: '{key}="{value}"'""" if equals else "overrides have the form key=value or group=option"
            problems.append(Problem(f"{word!r} cannot be read", hint))
            continue
        key = override.key_or_group
        problem = _fault(override, word, key, known)
        if problem:
            problems.append(problem)
        elif key in known:
            options[key] = word
        else:
            values[key] = word
    return options, values, problems


def _fault(override: Any, word: str, key: str, known: Mapping[str, Mapping[str, Option]]) -> Problem | None:
    """What is wrong with an override, as far as it can be told without the config."""
    if key.startswith(HYDRA):
        return hydra_fault(word) or Problem(f"{word}: Hydra's own keys are for sweeps", "add -m")
    if override.is_delete():
        return Problem(
            f"{word}: nothing can be taken out of a config",
            f"{key}=[]" if key in LISTS else "choose another option, or set a value to null",
        )
    if word.startswith("+") and key in known:
        return Problem(f"{word}: nothing can be added to a config", f"without the plus: {word.lstrip('+')}")
    if override.is_sweep_override():
        return Problem(f"{word}: several values at once make a sweep", "add -m")
    if key not in known:
        return None
    value = override.value()
    if (not isinstance(value, list) and str(value) in known[key]) or (value is None and key in OPTIONAL):
        return None
    if isinstance(value, list) and key not in LISTS:
        return Problem(
            f"{word}: the group {key} takes one option", "separate options by a comma, without brackets, and add -m, for a sweep"
        )
    wrong = [str(one) for one in (value if isinstance(value, list) else [value]) if str(one) not in known[key]]
    if not wrong:
        return None
    return Problem(f"{key}: there is no option {', '.join(map(repr, wrong))}", nearest(wrong[0], known[key], f"{key}="))


def hydra_fault(word: str) -> Problem | None:
    """Hydra makes no folders here: what would tell it where is refused."""
    if word.partition("=")[0].lstrip("+~") in FOLDERS:
        return Problem(f"{word} is not yours to set", "runs live under outputs/, or under the folder that EBM_OUTPUTS names")
    return None


def _note(problem: Problem | None, problems: list[Problem]) -> bool:
    """Whether there is a problem, which is then noted."""
    problems += [problem] if problem else []
    return problem is not None


def _misplaced(word: str, key: str, config: Any) -> Problem | None:
    """The problem with a word whose dotted key a config does not have, or that would add one."""
    unknown = _unknown(key, config)
    if word.startswith("+"):
        return Problem(f"{word}: nothing can be added to a config", unknown.hint if unknown else f"without the plus: {word.lstrip('+')}")
    return unknown


def _unknown(key: str, config: Any) -> Problem | None:
    """The problem with a dotted key that a config does not have."""
    *path, last = key.split(".")
    place = ""
    for part in (*path, last):
        if not isinstance(config, Mapping):
            elsewhere = str(config)[2:-1] if str(config).startswith("${") else ""
            hint = f"it is set by {elsewhere}.{key[len(place) :]}" if elsewhere else ""
            return Problem(f"{key}: {place.rstrip('.')} is a value, it holds no keys", hint)
        if part not in config:
            target = str(config.get("_target_", "")).rpartition(".")[2]
            what = f"{target} has no parameter {part!r}" if target else f"there is no key {part!r}"
            return Problem(f"{key}: {what}", nearest(part, (str(name) for name in config if name not in ("_target_", "hydra")), place))
        config, place = config[part], f"{place}{part}."
    return None


def _sweep_values(word: str, known: Mapping[str, Mapping[str, Option]]) -> Iterator[str]:
    """`key=value` for each value of a sweep; nothing for a single value or for what only a sweeper can expand."""
    from hydra.core.override_parser.types import Glob
    from hydra.errors import HydraException

    try:
        override = _parse(word)
    except HydraException:
        return
    if override.is_discrete_sweep():
        key, values = override.get_key_element(), override.value()
        names = values.filter(list(known.get(key, ()))) if isinstance(values, Glob) else override.sweep_string_iterator()
        yield from (f"{key}={name}" for name in names)


def _without_missing(config: Any) -> Any:
    """The config without the values that are still owed."""
    if isinstance(config, dict):
        return {key: _without_missing(value) for key, value in config.items() if value != MISSING}
    return config


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)

"""From the overrides of a command line to plain dictionaries, by Hydra and OmegaConf. What leaves this module is plain data."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from ebm_cli.config.option_files import conf_dir, groups, train_defaults
from ebm_cli.config.overrides import Interval, dimension, misplaced, note, parse, sort, swept
from ebm_cli.config.settings import LISTS
from ebm_cli.errors import InputError, Problem

MAX_CHECKED = 20  # values of a swept key that are checked before the sweep starts
MISSING = "???"


@dataclass(frozen=True)
class Composed:
    """One run's config as plain data. A value that the user has yet to give is an absent key."""

    config: dict[str, Any]
    choices: dict[str, Any]  # the option of each group
    differs: list[str]  # the overrides that change something
    problems: list[Problem]  # with the overrides; the config does not hold what these would set
    words: tuple[str, ...]  # the overrides
    dirs: tuple[Path, ...]  # the user's own folders of options
    searched: tuple[str, ...]  # keys that a preset leaves to a search, and that no override sets


def compose(words: Sequence[str], dirs: Sequence[Path] = ()) -> Composed:
    """The config of one run from its overrides, with every problem that can be found before types are checked."""
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    options, values, problems = sort(words, groups(dirs))
    try:
        composed, choices, params = deepcopy(_with_options(tuple(options.values()), tuple(dirs)))
        searched = tuple(key for key in params if key not in {**options, **values})
        plain = OmegaConf.to_container(composed)
        values = {key: word for key, word in values.items() if not note(misplaced(word, key, plain), problems)}
        for key, word in values.items():
            OmegaConf.update(composed, key, parse(word).value())
        config = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(*problems, Problem(first_line(error))) from None
    differs = [word for group, word in options.items() if group in LISTS or choices[group] != train_defaults().get(group)]
    differs += [word for key, word in values.items() if look(plain, key) != look(config, key)]
    return Composed(_without_missing(config), choices, differs, problems, tuple(words), tuple(dirs), searched)


@lru_cache(maxsize=64)
def _with_options(options: tuple[str, ...], dirs: tuple[Path, ...]) -> tuple[Any, dict[str, Any], list[str]]:
    """The config with these options, the option of every group, and the keys that a preset leaves to a search.

    The lines of a sweep that choose the same options share it.
    """
    from hydra import compose as hydra_compose
    from omegaconf import OmegaConf

    with hydra_ready():
        composed = hydra_compose("train", [*search_path(dirs), *options], return_hydra_config=True)
    choices, params = dict(composed.hydra.runtime.choices), list(composed.hydra.sweeper.get("params") or ())
    OmegaConf.set_struct(composed, False)
    del composed["hydra"]
    return composed, choices, params


def search_path(dirs: Sequence[Path]) -> list[str]:
    """The override that makes Hydra look into the user's own folders."""
    return [f"hydra.searchpath=[{','.join(f'file://{path.resolve()}' for path in dirs)}]"] if dirs else []


def to_yaml(composed: Composed) -> str:
    """What `--cfg job` prints: the config as composed."""
    if composed.problems:
        raise InputError(*composed.problems)
    return yaml.safe_dump(composed.config, sort_keys=False)


def one_at_a_time(words: Sequence[str], dirs: Sequence[Path] = ()) -> Iterator[list[str]]:
    """Lines in which every swept value occurs once: the first of each, then each further value with the first of the others."""
    known = groups(dirs)
    sweeps = {i: list(islice(swept(word, known), MAX_CHECKED)) for i, word in enumerate(words)}
    if empty := [words[i] for i, values in sweeps.items() if not values and dimension(words[i], known)]:
        raise InputError(*(Problem(f"{word}: this sweep has no values", "range(0,8) is 0, 1, ..., 7") for word in empty))
    first = [values[0] if values else words[i] for i, values in sweeps.items()]
    yield first
    for i, values in sweeps.items():
        yield from ([*first[:i], value, *first[i + 1 :]] for value in values[1:])


def amend(
    stored: Mapping[str, Any],
    words: Sequence[str],
    swappable: Sequence[str] = (),
    dirs: Sequence[Path] = (),
    problems: Sequence[Problem] = (),
) -> dict[str, Any]:
    """A stored config with overrides applied: `key=value`, and `group=option` for the groups that are `swappable`.

    Raises `InputError` with every problem, those known already included.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    config, known = OmegaConf.create(dict(stored)), groups(dirs)
    options, values, own = sort(words, {group: found for group, found in known.items() if group in swappable})
    problems = [*problems, *own]
    for key in [key for key in values if key in known]:
        hint = f"{' and '.join(swappable)} can; and {key}.KEY=VALUE" if swappable else ""
        problems.append(Problem(f"{values.pop(key)}: {key} cannot be chosen anew here", hint))
    for group, word in options.items():
        chosen = parse(word).value()
        if chosen is None:
            config[group] = None
            continue
        files = [known[group][name].path for name in (chosen if isinstance(chosen, list) else [chosen])]
        config[group] = OmegaConf.merge(*(OmegaConf.load(path) for path in files)) if files else {}
    for key, word in values.items():
        if not note(misplaced(word, key, OmegaConf.to_container(config)), problems):
            try:
                OmegaConf.update(config, key, parse(word).value())
            except OmegaConfBaseException as error:
                problems.append(Problem(f"{key}: {first_line(error)}"))
    if problems:
        raise InputError(*problems)
    return OmegaConf.to_container(config, resolve=True)


def sweep_space(words: Sequence[str], dirs: Sequence[Path] = (), config: Mapping[str, Any] | None = None) -> dict[str, tuple[str, Any]]:
    """Each override that has several values, with its key and these. The config says whether the numbers of an interval are whole."""
    known, found = groups(dirs), {}
    for word in words:
        if swept_key := dimension(word, known):
            key, values = swept_key
            whole = type(look(config, key)) is int or look(config, key) is None  # null stands for a count, as a rule
            if isinstance(values, Interval) and whole and float(values.low).is_integer() and float(values.high).is_integer():
                values = Interval(int(values.low), int(values.high), values.log)
            found[word] = key, values
    return found


def words_of_job() -> list[str]:
    """The overrides of the job that Hydra is running."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task)


def look(config: Any, key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    for part in key.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


@contextmanager
def hydra_ready() -> Iterator[None]:
    """Hydra initialised with our folder of configs, also inside a sweep that Hydra itself is running."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            yield
    finally:
        if running is not None:
            GlobalHydra.instance().initialize(running)


def _without_missing(config: Any) -> Any:
    """The config without the values that the user has yet to give."""
    if isinstance(config, dict):
        return {key: _without_missing(value) for key, value in config.items() if value != MISSING}
    return config


def key_of(word: str) -> str:
    """The key that an override sets."""
    return word.partition("=")[0].lstrip("+~")


def first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)

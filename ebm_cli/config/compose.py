"""The config of a run, composed from the overrides of a command line by Hydra and OmegaConf, and returned as plain dictionaries."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from ebm_cli.config import energy_choices, option_files
from ebm_cli.config.option_files import conf_dir, groups, train_defaults
from ebm_cli.config.overrides import Interval, dimension, key_of, misplaced, note, parse, sort, swept
from ebm_cli.config.roles import LISTS, OPTIONAL
from ebm_cli.errors import InputError, Problem, bad
from ebm_cli.io import yaml_text

MAX_CHECKED = 20  # at most so many values of a swept key are checked before the sweep starts
MISSING = "???"
AUTO = "sampler=auto"  # the same as no word: the sampler is that of the energy, or else that of the objective
FOLDERS: ContextVar[tuple[Path, ...]] = ContextVar("FOLDERS", default=())  # the user's folders of options that Hydra searches now


@dataclass(frozen=True)
class Composed:
    """The config of one run as plain data. If the user must still give a value, its key is absent."""

    config: dict[str, Any]
    choices: dict[str, Any]  # the chosen option of each group
    differs: list[str]  # the overrides that change a default
    problems: list[Problem]  # the problems of the overrides; a faulty override is not applied
    words: tuple[str, ...]  # all overrides
    dirs: tuple[Path, ...]  # the user's folders of options
    searched: tuple[str, ...]  # the keys that the search space of a preset contains and that no override sets


def compose(words: Sequence[str], dirs: Sequence[Path] = ()) -> Composed:
    """Compose the config of one run from its overrides, and collect the problems that can be found before types are checked.

    Without a word for the sampler (or with `sampler=auto`) it is the one that suits the energy, the objective and the kind of events.
    """
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    options, values, problems = sort([word for word in words if word != AUTO], groups(dirs))
    try:
        composed, choices, params = deepcopy(_with_options(tuple(options.values()), tuple(dirs)))
        searched = tuple(key for key in params if key not in {**options, **values})
        composed = OmegaConf.merge(composed, energy_choices.values(choices, options, dirs))
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


@lru_cache(maxsize=256)
def _with_options(options: tuple[str, ...], dirs: tuple[Path, ...]) -> tuple[Any, dict[str, Any], list[str]]:
    """The config with these options, the chosen option of every group, and the keys in the search space of a preset.

    The result is cached, because many jobs of a sweep choose the same options.
    """
    from omegaconf import OmegaConf

    composed = by_hydra(options, dirs)
    if own := energy_choices.words(composed.hydra.runtime.choices, options, OmegaConf.to_container(composed), dirs):
        composed = by_hydra((*options, *own), dirs)
    choices, params = dict.fromkeys(OPTIONAL) | dict(composed.hydra.runtime.choices), list(composed.hydra.sweeper.get("params") or ())
    OmegaConf.set_struct(composed, False)
    del composed["hydra"]
    return composed, choices, params


def by_hydra(options: Sequence[str], dirs: Sequence[Path]) -> Any:
    """The config with these options as Hydra composes it, with its own section. Raises `InputError` for a fault in a chosen file."""
    from hydra import compose as hydra_compose
    from omegaconf.errors import OmegaConfBaseException

    known = groups(dirs)
    files = [path for word in options if key_of(word) in known for path in files_of(word, known)]
    for path in files:
        option_files.check(path)
    try:
        with hydra_ready(dirs):
            return hydra_compose("train", [*map(without_null, options)], return_hydra_config=True)
    except (yaml_text.Error, UnicodeDecodeError) as error:  # in an option that a defaults list chooses
        raise InputError(option_files.unreadable(error)) from None
    except (ValueError, TypeError, AttributeError) as error:
        own = [str(path) for path in files if conf_dir() not in path.parents]
        if isinstance(error, OmegaConfBaseException) or not own:
            raise
        raise bad(f"{' or '.join(own)}: {first_line(error)}", "correct this file") from None


def without_null(word: str) -> str:
    """An override with which Hydra chooses no option of a group: it does not read `group=null`."""
    return f"~{key_of(word)}" if word.endswith("=null") else word


def files_of(word: str, known: Mapping[str, Mapping[str, option_files.Option]]) -> list[Path]:
    """The files of the options that an override chooses."""
    chosen = parse(word).value()
    names = chosen if isinstance(chosen, list) else [] if chosen is None else [chosen]
    return [known[key_of(word)][str(name)].path for name in names]


def to_yaml(composed: Composed) -> str:
    """The composed config as YAML, as `--cfg job` prints it."""
    if composed.problems:
        raise InputError(*composed.problems)
    return yaml_text.dump(composed.config)


def one_at_a_time(words: Sequence[str], dirs: Sequence[Path] = ()) -> Iterator[list[str]]:
    """Jobs that together contain every value of a sweep: first the first value of every key, then each other value by itself.

    The number of jobs grows with the sum of the numbers of values, not with their product.
    """
    known = groups(dirs)
    sweeps = {i: list(islice(swept(word, known), MAX_CHECKED)) for i, word in enumerate(words)}
    if empty := [words[i] for i, values in sweeps.items() if not values and dimension(words[i], known)]:
        raise InputError(*(Problem(f"{word}: this sweep has no values", "use for example range(0,8) for 0, 1, ..., 7") for word in empty))
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
    """A stored config with overrides applied: `key=value`, and `group=option` for the groups in `swappable`.

    Stored texts are literal: `${...}` in a config from somebody else is not resolved.
    Raises `InputError` with these problems and the given `problems`, if there are any.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    config, known = OmegaConf.create(_literal(dict(stored))), groups(dirs)
    options, values, own = sort(words, {group: found for group, found in known.items() if group in swappable})
    problems = [*problems, *own]
    for key in [key for key in values if key in known]:
        own = f"set {key}.KEY=VALUE; " if key in stored else ""
        hint = f"{own}the options of {', '.join(swappable)} can be changed" if swappable else ""
        problems.append(Problem(f"{values.pop(key)}: the option of {key} cannot be changed here", hint))
    for group, word in options.items():
        files = files_of(word, known)
        if parse(word).value() is None:
            config[group] = None
        else:
            for path in files:
                option_files.check(path)
            config[group] = OmegaConf.merge(*(OmegaConf.create(option_files.load(path)) for path in files)) if files else {}
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
    """The overrides with several values, each with its key and its values.

    An interval of a key whose value in `config` is an integer or null becomes an interval of integers, if its ends are integers.
    """
    known, found = groups(dirs), {}
    for word in words:
        if swept_key := dimension(word, known):
            key, values = swept_key
            whole = type(look(config, key)) is int or look(config, key) is None  # keys that can be null are usually counts
            if isinstance(values, Interval) and whole and float(values.low).is_integer() and float(values.high).is_integer():
                values = Interval(int(values.low), int(values.high), values.log)
            found[word] = key, values
    return found


def words_of_job() -> list[str]:
    """The overrides of the job that Hydra runs at the moment."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task)


def look(config: Any, key: str) -> Any:
    """The value at a dotted key; None if the config does not have the key."""
    for part in key.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


@contextmanager
def searching(dirs: Sequence[Path]) -> Iterator[None]:
    """Make Hydra search these folders of options too. The plugin `OwnFolders` reads them, because Hydra would parse them in an override."""
    token = FOLDERS.set(tuple(path.resolve() for path in dirs))
    try:
        yield
    finally:
        FOLDERS.reset(token)


@contextmanager
def hydra_ready(dirs: Sequence[Path] = ()) -> Iterator[None]:
    """Initialize Hydra with our configs and these folders. It also works inside a sweep, where Hydra is running already."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with searching(dirs), initialize_config_dir(str(conf_dir()), version_base="1.3"):
            yield
    finally:
        if running is not None:
            GlobalHydra.instance().initialize(running)


def _without_missing(config: Any) -> Any:
    """The config without the keys whose values the user must still give."""
    if isinstance(config, dict):
        return {key: _without_missing(value) for key, value in config.items() if value != MISSING}
    return config


def _literal(node: Any) -> Any:
    """Plain data with its texts escaped, so that OmegaConf resolves none of them."""
    if isinstance(node, Mapping):
        return {key: _literal(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_literal(value) for value in node]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", node) if isinstance(node, str) else node


def first_line(error: Exception) -> str:
    """The first line of an error's message that is not empty."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)

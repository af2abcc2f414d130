"""The only door to Hydra and OmegaConf: from the words of a command line to plain dictionaries.

What leaves this module is plain data.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ebm_cli.config.overrides import LISTS, Interval, dimension, misplaced, note, parse, sort, swept
from ebm_cli.errors import InputError, Problem
from ebm_cli.runs import run

MOST_CHECKED = 20  # values of a swept key that are looked at before the sweep starts
MISSING = "???"


@dataclass(frozen=True)
class Composed:
    """One run's config as plain data, where a value that the user still owes is an absent key."""

    config: dict[str, Any]
    choices: dict[str, Any]  # the option of each group
    differs: list[str]  # the overrides that change something
    problems: list[Problem]  # with the overrides; what they would set is not in the config
    words: tuple[str, ...]  # the overrides
    dirs: tuple[Path, ...]  # the user's own folders of options
    searched: tuple[str, ...]  # keys that a preset has a search choose, and that no word sets


class Option(NamedTuple):
    """A file of a config group: its first comment line, its second, where it is, and its place in a course, `# chapter: 2.1 Title`."""

    description: str
    reference: str
    path: Path
    chapter: str = ""


def conf_dir() -> Path:
    """The folder of the configs: inside an installed package, beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return next(path for path in (package / "conf", package.parent / "conf") if path.is_dir())


def groups(dirs: Sequence[Path] = ()) -> dict[str, dict[str, Option]]:
    """Every group with its options, those of the user's own folders included."""
    found: dict[str, dict[str, Option]] = {}
    for folder in (conf_dir(), *dirs):
        for path in sorted(folder.glob("*/*.yaml")):
            found.setdefault(path.parent.name, {}).setdefault(path.stem, Option(*comments(path), path, chapter(path)))
    return {
        group: dict(sorted(options.items(), key=lambda one: (not one[1].chapter, one[1].chapter, one[0])))
        for group, options in found.items()
    }


def chapter(path: Path) -> str:
    """Of an option's file, `2.1 Title`; empty where it has none."""
    found = re.search(r"^# chapter: (.+)$", path.read_text(), re.MULTILINE)
    return found[1] if found else ""


def comments(path: Path) -> tuple[str, str]:
    """The first two comment lines of a config file."""
    lines = path.read_text().splitlines() if path.is_file() else []
    first, second, *_ = [*(line[1:].strip() for line in lines if line.startswith("#") and "@package" not in line), "", ""]
    return first, second


def search(dirs: Sequence[Path]) -> list[str]:
    """The override that has Hydra look into the user's own folders."""
    return [f"hydra.searchpath=[{','.join(f'file://{path.resolve()}' for path in dirs)}]"] if dirs else []


def compose(words: Sequence[str], dirs: Sequence[Path] = ()) -> Composed:
    """The config of one run from its overrides, with every fault that can be seen before types are looked at."""
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if resumed := next((word for word in words if word.startswith("resume=") and word != "resume=null"), ""):
        return compose_resumed(resumed.partition("=")[2], [word for word in words if word != resumed], dirs)
    options, values, problems = sort(words, groups(dirs))
    try:
        composed, choices, params = deepcopy(_chosen(tuple(options.values()), tuple(dirs)))
        searched = tuple(key for key in params if key not in {**options, **values})
        plain = OmegaConf.to_container(composed)
        values = {key: word for key, word in values.items() if not note(misplaced(word, key, plain), problems)}
        for key, word in values.items():
            OmegaConf.update(composed, key, parse(word).value())
        config = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(*problems, Problem(first_line(error))) from None
    entries = yaml.safe_load((conf_dir() / "train.yaml").read_text())["defaults"]
    defaults = {group: option for entry in entries if isinstance(entry, dict) for group, option in entry.items()}
    differs = [word for group, word in options.items() if group in LISTS or choices[group] != defaults[group]]
    differs += [word for key, word in values.items() if look(plain, key) != look(config, key)]
    return Composed(_without_missing(config), choices, differs, problems, tuple(words), tuple(dirs), searched)


@lru_cache(maxsize=64)
def _chosen(options: tuple[str, ...], dirs: tuple[Path, ...]) -> tuple[Any, dict[str, Any], list[str]]:
    """The config with the options of these groups, the option of every group, and the keys that a preset has a search choose.

    The lines of a sweep share it, and differ by what is laid over it.
    """
    from hydra import compose as hydra_compose
    from omegaconf import OmegaConf

    with hydra_ready():
        composed = hydra_compose("train", [*search(dirs), *options], return_hydra_config=True)
    choices, params = dict(composed.hydra.runtime.choices), list(composed.hydra.sweeper.get("params") or ())
    OmegaConf.set_struct(composed, False)
    del composed["hydra"]
    return composed, choices, params


def compose_resumed(name: str, words: Sequence[str], dirs: Sequence[Path]) -> Composed:
    """The config of a run that goes on from another one: that one's, with the overrides laid over it."""
    parent, step = run.at(name)
    own = {"name": None, "group": None, "tags": [], "force": False, "resume": f"{parent.id}@{step}"}
    config, problems = amend(parent.config() | own, words, ("metric", "logger", "regularizer")), []
    if isinstance(n_steps := look(config, "trainer.n_steps"), int) and n_steps <= step:
        problems.append(Problem(f"trainer.n_steps: {parent.path.name} stands at step {step} already", f"trainer.n_steps={2 * step}"))
    words = (f"resume={parent.id}@{step}", *words)
    return Composed(config, parent.read("environment.json")["choices"], list(words), problems, words, tuple(dirs), ())


def to_yaml(words: Sequence[str], dirs: Sequence[Path] = ()) -> str:
    """What `--cfg job` prints: the config as composed."""
    composed = compose(words, dirs)
    if composed.problems:
        raise InputError(*composed.problems)
    return yaml.safe_dump(composed.config, sort_keys=False)


def pinned(words: Sequence[str]) -> list[str]:
    """The words with the run and the step that `resume=` means spelled out: a job must not go on from what another job has just made."""

    def one(name: str) -> str:
        parent, step = run.at(name)
        return f"{parent.id}@{step}"

    def spelled(word: str) -> str:
        key, _, names = word.partition("=")
        return f"resume={','.join(map(one, names.split(',')))}" if key == "resume" and names not in ("", "null") else word

    return [spelled(word) for word in words]


def one_at_a_time(words: Sequence[str], dirs: Sequence[Path] = ()) -> Iterator[list[str]]:
    """Lines that show every swept value once: the first of each, then each further one with the first of the others."""
    known = groups(dirs)
    sweeps = {i: list(islice(swept(word, known), MOST_CHECKED)) for i, word in enumerate(words)}
    if empty := [words[i] for i, values in sweeps.items() if not values and dimension(words[i], known)]:
        raise InputError(*(Problem(f"{word}: there is no value in it", "range(0,8) is 0, 1, ..., 7") for word in empty))
    first = [values[0] if values else words[i] for i, values in sweeps.items()]
    yield first
    for i, values in sweeps.items():
        yield from ([*first[:i], value, *first[i + 1 :]] for value in values[1:])


def amend(stored: Mapping[str, Any], words: Sequence[str], swappable: Sequence[str] = ()) -> dict[str, Any]:
    """A stored config with overrides laid over it, `key=value`, and `group=option` for the groups that may be swapped."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    config = OmegaConf.create(dict(stored))
    known = groups()
    options, values, problems = sort(words, {group: found for group, found in known.items() if group in swappable})
    for key in [key for key in values if key in known]:
        hint = f"{' and '.join(swappable)} can; and {key}.KEY=VALUE" if swappable else ""
        problems.append(Problem(f"{values.pop(key)}: {key} cannot be chosen anew here", hint))
    for group, word in options.items():
        chosen = parse(word).value()
        if chosen is None:
            config[group] = None
            continue
        files = [groups()[group][name].path for name in (chosen if isinstance(chosen, list) else [chosen])]
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


def space(words: Sequence[str], dirs: Sequence[Path] = (), config: Mapping[str, Any] | None = None) -> dict[str, tuple[str, Any]]:
    """Each word that has several values, with its key and these. Of an interval the config says whether its numbers are whole."""
    known, found = groups(dirs), {}
    for word in words:
        if one := dimension(word, known):
            key, values = one
            if isinstance(values, Interval) and (type(look(config, key)) is int or look(config, key) is None):  # null: a count, as a rule
                low, high = float(values.low), float(values.high)
                values = Interval(int(low), int(high), values.log) if low.is_integer() and high.is_integer() else values
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


def _without_missing(config: Any) -> Any:
    """The config without the values that are still owed."""
    if isinstance(config, dict):
        return {key: _without_missing(value) for key, value in config.items() if value != MISSING}
    return config


def key_of(word: str) -> str:
    """What an override sets."""
    return word.partition("=")[0].lstrip("+~")


def first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)

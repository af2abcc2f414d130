"""The overrides of a command line: what each of them sets, and their problems.

They are checked before Hydra composes them. So all problems are reported together and in one form, and an unknown key is never added to a
config: the message names the nearest known key.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from ebm_cli.config.roles import LISTS, OPTIONAL, TRAINS, role
from ebm_cli.errors import OWN, Problem, nearest

HYDRA = ("hydra.", "hydra/")  # the prefixes of Hydra's own keys and groups
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir", "hydra.job.chdir")


class Choices(NamedTuple):
    """The values of a swept key, as they are written in overrides."""

    values: list[str]
    ordered: bool  # whether they come from a range


class Interval(NamedTuple):
    """All numbers between two ends, both included; only integers if both ends are `int`."""

    low: int | float
    high: int | float
    log: bool  # on a logarithmic scale


def is_hydras(word: str) -> bool:
    """Whether an override configures Hydra itself."""
    return word.lstrip("+~").startswith(HYDRA)


def parse(word: str) -> Any:
    """Hydra's representation of an override."""
    return _parser().parse_override(word)


@cache
def _parser() -> Any:
    """Hydra's parser, which keeps no state between words."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def sort(words: Sequence[str], known: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, str], dict[str, str], list[Problem]]:
    """Sort overrides into those that choose options, {group: word}, those that set values, {key: word}, and problems."""
    from hydra.errors import HydraException

    options: dict[str, str] = {}
    values: dict[str, str] = {}
    problems = []
    for word in words:
        try:
            override = parse(word)
        except HydraException:
            problems.append(Problem(f"{word!r} cannot be read", _readable(word)))
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


def key_of(word: str) -> str:
    """The key that an override sets."""
    return word.partition("=")[0].lstrip("+~")


def repeated(words: Sequence[str]) -> list[Problem]:
    """The problems of keys that several overrides set."""
    by_key: dict[str, list[str]] = {}
    for word in words:
        if "=" in word:
            by_key.setdefault(key_of(word), []).append(word)
    return [Problem(f"{' and '.join(found)} set the same key", "keep one of them") for found in by_key.values() if len(found) > 1]


def _readable(word: str) -> str:
    """A hint for an override that cannot be read: how it was probably meant."""
    from hydra.errors import HydraException

    meant = re.fullmatch(r"\s*([\w./]+)(?:\s*[=:][\s=]*|\s+)(.*?)\s*", word, re.DOTALL)
    if not meant:
        return "overrides have the form key=value or group=option, without blanks"
    key, value = meant.groups()
    in_quotes = quoted(f"{key}={value}")
    for candidate in (f"{key}={value}", *(f"{key}={value}{end}" for end in ("]", "]]", "}")), in_quotes):
        try:
            parse(candidate)
        except HydraException:
            continue
        return (
            f"quote special characters: {shlex.quote(candidate)}" if candidate == in_quotes else f"did you mean {shlex.quote(candidate)}?"
        )
    return "overrides have the form key=value or group=option, without blanks"


def quoted(word: str) -> str:
    """An override with its value in quotes."""
    from hydra.core.override_parser.types import Quote, QuotedString

    key, _, value = word.partition("=")
    return f"{key}={QuotedString(value, Quote.double).with_quotes()}"


def _fault(override: Any, word: str, key: str, known: Mapping[str, Mapping[str, Any]]) -> Problem | None:
    """The problem with an override that can be found without the config; None if there is none."""
    if key.startswith(HYDRA):
        return hydra_fault(word) or Problem(f"{word}: Hydra's own keys can only be set in a sweep", "`ebm train -m` makes a sweep")
    if override.is_delete():
        return Problem(
            f"{word}: keys cannot be removed from a config",
            f"use {key}=[]" if key in LISTS else "choose another option, or set a value to null",
        )
    if word.startswith("+") and key in known:
        return Problem(f"{word}: keys cannot be added to a config", f"omit the plus sign: {word.lstrip('+')}")
    if override.is_sweep_override():
        search = " hydra/sweeper=optuna" if override.is_interval_sweep() else ""
        text = key not in known and override.is_choice_sweep() and any(isinstance(part, str) for part in override.value().list)
        one = f"; a comma inside a value is quoted: {shlex.quote(quoted(word))}" if text else ""
        return Problem(f"{word}: several values need a sweep", f"`ebm train -m{search}` makes a sweep{one}")
    if key not in known:
        return None
    value = override.value()
    if (not isinstance(value, list) and str(value) in known[key]) or (value is None and key in OPTIONAL):
        return None
    if isinstance(value, list) and key not in LISTS:
        sweep = f"; `ebm train -m` makes a sweep of {key}={','.join(map(str, value))}" if role(key) == TRAINS and len(value) > 1 else ""
        return Problem(f"{word}: the group {key} takes one option", f"{key}={value[0] if value else 'OPTION'}{sweep}")
    if value is None and key not in LISTS:
        return Problem(f"{word}: the group {key} takes one option", f"`ebm list {key}` shows the options")
    if key in LISTS and str(value).lower() in ("none", "null"):
        return Problem(f"{word}: the group {key} takes a list of options", f"use {key}=[] for an empty list")
    wrong = [str(option) for option in (value if isinstance(value, list) else [value]) if str(option) not in known[key]]
    if not wrong:
        return None
    return Problem(f"{key}: there is no option {', '.join(map(repr, wrong))}", nearest(wrong[0], known[key], f"{key}=", more=OWN))


def hydra_fault(word: str) -> Problem | None:
    """The problem with an override that sets a folder of Hydra. Hydra creates no folders here."""
    if word.partition("=")[0].lstrip("+~") in FOLDERS:
        return Problem(f"{word}: this key cannot be set", "EBM_OUTPUTS names the folder of runs; the default is outputs/")
    return None


def note(problem: Problem | None, problems: list[Problem]) -> bool:
    """Add a problem to a list, if there is one. Returns whether there is one."""
    problems += [problem] if problem else []
    return problem is not None


def misplaced(word: str, key: str, config: Any) -> Problem | None:
    """The problem with an override that adds a key, or whose dotted key the config does not have; None if there is none."""
    unknown = _unknown(key, config)
    if word.startswith("+"):
        return Problem(f"{word}: keys cannot be added to a config", unknown.hint if unknown else f"omit the plus sign: {word.lstrip('+')}")
    return unknown


def _unknown(key: str, config: Any) -> Problem | None:
    """The problem with a dotted key that the config does not have; None if it has the key."""
    *path, last = key.split(".")
    place = ""
    for part in (*path, last):
        if not isinstance(config, Mapping):
            elsewhere = str(config)[2:-1] if str(config).startswith("${") else ""
            hint = f"it is set by {elsewhere}.{key[len(place) :]}" if elsewhere else ""
            return Problem(f"{key}: {place.rstrip('.')} is a value and has no keys", hint)
        if not place and part in OPTIONAL and part not in config:
            return Problem(f"{key}: no option of the group {part} is chosen", f"add {part}=OPTION; `ebm list {part}` shows the options")
        if part not in config:
            target = str(config.get("_target_", "")).rpartition(".")[2]
            what = f"{target} has no parameter {part!r}" if target else f"there is no key {part!r}"
            inside = [f"{name}.{part}" for name, node in config.items() if not place and isinstance(node, Mapping) and part in node]
            inside += [last] if not place and path and last in config else []
            if inside:
                return Problem(f"{key}: {what}", f"did you mean {' or '.join(inside)}?")
            return Problem(f"{key}: {what}", nearest(part, (str(name) for name in config if name not in ("_target_", "hydra")), place))
        config, place = config[part], f"{place}{part}."
    return None


def dimension(word: str, known: Mapping[str, Mapping[str, Any]]) -> tuple[str, Choices | Interval] | None:
    """The key of an override with several values, and these values; None for an override with one value."""
    from hydra.core.override_parser.types import Glob
    from hydra.errors import HydraException

    try:
        override = parse(word)
    except HydraException:
        return None
    key, values = override.get_key_element(), override.value()
    if override.is_interval_sweep():
        return key, Interval(values.start, values.end, "log" in values.tags)
    if not override.is_discrete_sweep():
        return None
    if isinstance(values, Glob):
        return key, Choices(values.filter(list(known.get(key, ()))), ordered=False)
    values.shuffle = False  # a search that is started again must propose the same values
    return key, Choices(list(override.sweep_string_iterator()), ordered=override.is_range_sweep())


def swept(word: str, known: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """`key=value` for each value of a sweep, or for both ends of an interval; nothing for an override with one value."""
    if found := dimension(word, known):
        key, values = found
        yield from (f"{key}={value}" for value in (values.values if isinstance(values, Choices) else (values.low, values.high)))

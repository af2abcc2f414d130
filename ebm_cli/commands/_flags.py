"""Separates the flags of a command line from its other words. A flag may stand anywhere in the line."""

import shlex
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from ebm_cli.config.overrides import repeated
from ebm_cli.errors import InputError, bad, nearest

CONFIG_DIR = ("--config-dir", "-cd")
REPEATABLE = ("--metric", *CONFIG_DIR)
WITHOUT_DIRS = "omit it: this command chooses no options, and a run is stored with its config"


def split(words: Sequence[str], flags: Mapping[str, bool], *, keys: bool = False) -> tuple[dict[str, list[str]], list[str]]:
    """The flags with their values, and the overrides.

    `flags` maps each known flag to whether it takes a value. `keys` says whether the command takes overrides: a hint may
    advise one, and no two of them may set the same key.
    """
    given: dict[str, list[str]] = {}
    overrides, rest = [], iter(words)
    for word in rest:
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if not word.startswith("-"):
            overrides.append(word)
        elif name not in flags:
            raise bad(f"there is no flag {name}", WITHOUT_DIRS if name in CONFIG_DIR else _meant(word, next(rest, ""), flags, keys=keys))
        elif not flags[name]:
            if equals:
                raise bad(f"{name}: this flag takes no value", name)
            given.setdefault(name, [])
        else:
            value = value if equals else next(rest, None)
            if value is None:
                raise bad(f"{name}: a value is needed")
            if name in given and name not in REPEATABLE:
                raise bad(f"{name} {given[name][-1]} and {name} {value}: this flag can be given once", "keep one of them")
            given.setdefault(name, []).append(value)
    if keys and (problems := repeated(overrides)):
        raise InputError(*problems)
    return given, overrides


def _meant(word: str, following: str, flags: Mapping[str, bool], *, keys: bool) -> str:
    """A hint for an unknown flag: the nearest flag, or the key that was probably meant. Its value may be the `following` word."""
    key, equals, value = word.lstrip("-").partition("=")
    if not equals and "=" not in following and not following.startswith("-"):
        value = following
    long = [flag.removeprefix("--") for flag in flags if flag.startswith("--")]
    if keys and value and not get_close_matches(key, long, 1, 0.6):
        return f"keys are written without dashes: {shlex.quote(f'{key}={value}')}"
    return nearest(key, {*long, "help"}, "--")

"""Separates the flags of a command line from its other words. A flag may stand anywhere in the line."""

from collections.abc import Mapping, Sequence

from ebm_cli.errors import bad, nearest

CONFIG_DIR = ("--config-dir", "-cd")
WITHOUT_DIRS = "omit it: this command chooses no options, and a run is stored with its config"


def split(words: Sequence[str], flags: Mapping[str, bool]) -> tuple[dict[str, list[str]], list[str]]:
    """The flags with their values, and the overrides. `flags` maps each known flag to whether it takes a value."""
    given: dict[str, list[str]] = {}
    overrides, rest = [], iter(words)
    for word in rest:
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if not word.startswith("-"):
            overrides.append(word)
        elif name not in flags:
            raise bad(f"there is no flag {name}", WITHOUT_DIRS if name in CONFIG_DIR else nearest(name, flags))
        elif not flags[name]:
            given.setdefault(name, [])
        else:
            value = value if equals else next(rest, None)
            if value is None:
                raise bad(f"{name}: a value is needed")
            given.setdefault(name, []).append(value)
    return given, overrides

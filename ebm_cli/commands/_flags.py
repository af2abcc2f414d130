"""The flags of a command line, wherever in the line they stand."""

from collections.abc import Mapping, Sequence

from ebm_cli.errors import bad, nearest


def split(words: Sequence[str], flags: Mapping[str, bool]) -> tuple[dict[str, list[str]], list[str]]:
    """Flags with their values, and the overrides. `flags` says of each flag whether a value follows it."""
    given: dict[str, list[str]] = {}
    overrides, rest = [], iter(words)
    for word in rest:
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if not word.startswith("-"):
            overrides.append(word)
        elif name not in flags:
            raise bad(f"there is no flag {name}", nearest(name, flags))
        elif not flags[name]:
            given.setdefault(name, [])
        else:
            value = value if equals else next(rest, None)
            if value is None:
                raise bad(f"{name}: a value is needed")
            given.setdefault(name, []).append(value)
    return given, overrides

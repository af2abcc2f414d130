"""Parses what the command lines of several verbs have in common: flags, a run, overrides, folders of options."""

from collections.abc import Sequence
from pathlib import Path

from ebm_cli.commands._flags import CONFIG_DIR, split
from ebm_cli.errors import bad
from ebm_cli.runs import catalog
from ebm_cli.runs.run import Run


def words_of(words: Sequence[str], flags: Sequence[str] = (), *, keys: bool = False) -> tuple[set[str], list[str]]:
    """The flags that are given, and the other words. None of the `flags` takes a value. `keys` as in `split`.

    Folders of options were removed by `dirs_of`: a command that has them names their flag only for the hints.
    """
    given, rest = split(words, dict.fromkeys(flags, False), keys=keys)
    return set(given), rest


def run_and_words(words: Sequence[str], usage: str, flags: Sequence[str] = ()) -> tuple[Run, list[str], set[str]]:
    """The run that the first word names, the overrides after it, and the flags that are given."""
    given, rest = words_of(words, flags, keys=True)
    if not rest or "=" in rest[0]:
        raise bad("a run is needed: an id, a unique prefix, a path, or `last`", usage.splitlines()[0])
    return catalog.find(rest[0]), rest[1:], given


def dirs_of(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The user's own folders of options (--config-dir), and the remaining words."""
    dirs, rest, left = [], [], iter(words)
    for word in left:
        flag, equals, folder = word.partition("=")
        if flag not in CONFIG_DIR:
            rest.append(word)
            continue
        folder = folder if equals else next(left, "")
        if not folder:
            raise bad(f"{flag}: a value is needed", f"{flag} DIR")
        if not Path(folder).is_dir():
            raise bad(f"--config-dir: there is no folder {folder!r}")
        dirs.append(Path(folder))
    return dirs, rest


def check_whole(key: str, value: object) -> None:
    """Refuse a value that is not a whole number. This includes `true` and `false`, which Python counts as integers."""
    if type(value) is not int:
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        raise bad(f"{key}: must be a whole number, not {shown}")

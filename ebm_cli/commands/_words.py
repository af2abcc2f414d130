"""The words of a command line that the verbs share: flags, a run, overrides."""

from collections.abc import Sequence
from pathlib import Path

from ebm_cli.commands._flags import split
from ebm_cli.errors import bad
from ebm_cli.runs import catalog
from ebm_cli.runs.run import Run

CONFIG_DIR = ("--config-dir", "-cd")


def words_of(words: Sequence[str], flags: Sequence[str] = ()) -> tuple[set[str], list[str]]:
    """The flags given, and the other words."""
    given, rest = split(words, dict.fromkeys(flags, False))
    return set(given), rest


def run_and_words(words: Sequence[str], usage: str, flags: Sequence[str] = ()) -> tuple[Run, list[str], set[str]]:
    """The run that the first word names, the overrides after it, and the flags."""
    given, rest = words_of(words, flags)
    if not rest or "=" in rest[0]:
        raise bad("a run is needed: an id, a unique prefix, a path, or `last`", usage.splitlines()[0])
    return catalog.find(rest[0]), rest[1:], given


def dirs_of(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The user's own folders of options (--config-dir), and the words without them."""
    dirs, rest, left = [], [], iter(words)
    for word in left:
        flag, equals, folder = word.partition("=")
        if flag not in CONFIG_DIR:
            rest.append(word)
            continue
        folder = folder if equals else next(left, "")
        if not folder or not Path(folder).is_dir():
            raise bad(f"--config-dir: there is no folder {folder!r}")
        dirs.append(Path(folder))
    return dirs, rest

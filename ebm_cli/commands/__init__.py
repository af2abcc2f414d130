"""One file per verb. What the verbs that take a run share stands here."""

from collections.abc import Sequence

from ebm_cli.commands._flags import split
from ebm_cli.errors import bad
from ebm_cli.runs import run
from ebm_cli.runs.run import Run


def words_of(words: Sequence[str], flags: Sequence[str] = ()) -> tuple[set[str], list[str]]:
    """The flags given, and the other words."""
    given, rest = split(words, dict.fromkeys(flags, False))
    return set(given), rest


def run_and_words(words: Sequence[str], usage: str, flags: Sequence[str] = ()) -> tuple[Run, list[str], set[str]]:
    """The run that the first word names, the overrides after it, and the flags."""
    given, rest = words_of(words, flags)
    if not rest or "=" in rest[0]:
        raise bad("a run is needed: an id, a unique prefix, a path, or `last`", usage.splitlines()[0])
    return run.find(rest[0]), rest[1:], given

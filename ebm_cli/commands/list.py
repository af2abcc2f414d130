"""usage: ebm list [GROUP] [--config-dir DIR]

Every option of a config group, or of all groups, with its description and reference."""

from collections.abc import Sequence
from pathlib import Path

from ebm_cli import console
from ebm_cli.commands._flags import split
from ebm_cli.config import option_files
from ebm_cli.errors import bad, nearest


def main(words: Sequence[str]) -> int:
    flags, wanted = split(words, {"--config-dir": True, "-cd": True})
    groups = option_files.groups([Path(folder) for folders in flags.values() for folder in folders])
    for group in wanted:
        if group not in groups:
            raise bad(f"there is no group {group!r}", nearest(group, groups))
    rows = []
    for group, options in groups.items():
        if not wanted or group in wanted:
            chapters = [option.chapter.partition(" ")[2] for option in options.values()]
            heads = [title if title != before else "" for title, before in zip(chapters, ["", *chapters], strict=False)]
            rows += [[group, head, name, one.description, one.reference] for head, (name, one) in zip(heads, options.items(), strict=True)]
    console.table(["group", "", "option", "what it is", "reference"], rows)
    return 0

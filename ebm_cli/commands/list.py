"""usage: ebm list [GROUP] [--config-dir DIR]

Describe every option of a config group, or of all groups, with its reference.

  GROUP             objective, energy, dataset, ...; by default every group
  --config-dir DIR  a folder with options of your own"""

from collections.abc import Sequence

from ebm_cli import console
from ebm_cli.commands._words import dirs_of, words_of
from ebm_cli.config import option_files
from ebm_cli.errors import bad, nearest


def main(words: Sequence[str]) -> int:
    dirs, words = dirs_of(words)
    _, wanted = words_of(words, ["--config-dir"])
    groups = option_files.groups(dirs)
    for group in wanted:
        if group not in groups:
            raise bad(f"there is no group {group!r}", nearest(group, groups))
    rows = []
    for group, options in groups.items():
        if not wanted or group in wanted:
            chapters = [option.chapter.partition(" ")[2] for option in options.values()]
            heads = [title if title != before else "" for title, before in zip(chapters, ["", *chapters], strict=False)]
            for head, (name, option) in zip(heads, options.items(), strict=True):
                rows.append([group, head, name, option.description, option.reference])
    console.table(["group", "", "option", "what it is", "reference"], rows)
    for option in (option for group in groups if not wanted or group in wanted for option in groups[group].values()):
        if not option.reference:
            console.say(f"note: {option.path} does not begin with two comment lines, a description and a reference")
    return 0

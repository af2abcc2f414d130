"""usage: ebm rm RUN [RUN ...] [--yes]

Remove runs and their folders. Nothing is removed if one of the runs is being trained.

  RUN     an id, a unique prefix, a path, or `last`
  --yes   do not ask for confirmation"""

import shutil
import sys
from collections.abc import Sequence

from ebm_cli import console
from ebm_cli.commands._words import words_of
from ebm_cli.errors import bad
from ebm_cli.runs import catalog


def main(words: Sequence[str]) -> int:
    flags, names = words_of(words, ["--yes"])
    if not names:
        raise bad("a run is needed: an id, a unique prefix, a path, or `last`", __doc__.splitlines()[0])
    runs = list({run.path.resolve(): run for run in map(catalog.find_any, names)}.values())
    if held := [run for run in runs if run.locked()]:
        raise bad(f"{held[0].path.name} is being trained or measured", "stop that process first")
    if "--yes" not in flags:
        if not sys.stdin.isatty():
            raise bad("cannot ask for confirmation without a terminal", f"ebm rm {' '.join(names)} --yes")
        console.show("\n".join(f"{run.path}  ({run.state()})" for run in runs))
        if input(f"remove {'them' if len(runs) > 1 else 'it'}? [y/N] ").strip().lower() not in ("y", "yes"):
            console.show("nothing was removed")
            return 0
    for run in runs:
        shutil.rmtree(run.path)
        console.show(f"removed {run.path}")
    return 0

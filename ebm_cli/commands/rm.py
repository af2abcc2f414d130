"""usage: ebm rm RUN [RUN ...] [--yes]

Remove runs and their folders. Nothing is removed if one of the runs is being trained. Files in the folder of a run that ebm did not write
are named, and removed only after a confirmation.

  RUN     an id, a unique prefix, a path, or `last`
  --yes   do not ask for confirmation, and keep the files that ebm did not write"""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence

from ebm_cli import console
from ebm_cli.commands._words import words_of
from ebm_cli.errors import MOST_NAMED, bad
from ebm_cli.runner import marks
from ebm_cli.runs import catalog, content
from ebm_cli.runs.run import Run, outputs


def main(words: Sequence[str]) -> int:
    flags, names = words_of(words, ["--yes"])
    if not names:
        raise bad("a run is needed: an id, a unique prefix, a path, or `last`", __doc__.splitlines()[0])
    runs = list({run.path.resolve(): run for run in map(catalog.find_any, names)}.values())
    foreign = {run: check(run) for run in runs}
    if "--yes" not in flags:
        if not sys.stdin.isatty():
            raise bad("cannot ask for confirmation without a terminal", f"ebm rm {shlex.join(names)} --yes")
        for run in runs:
            describe(run, foreign[run])
        if not confirmed(f"remove {'them' if len(runs) > 1 else 'it'}? [y/N] "):
            console.show("nothing was removed")
            return 0
    for run in runs:
        remove(run, everything="--yes" not in flags)
    return 0


def confirmed(question: str) -> bool:
    """Whether the user answers yes. Ctrl-D is no answer."""
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        console.show("")
        return False


def check(run: Run) -> list[str]:
    """The foreign files of a run. Refuses a folder that is no run, a run in use, and one that this user may not remove."""
    if not run.path.is_symlink():
        ours = run.path.absolute().parent == (outputs() / "runs").absolute() or marks.has_marks(run)
        if not ours or not content.ID.fullmatch(run.id):
            hint = f"set EBM_OUTPUTS={shlex.quote(str(run.path.absolute().parent.parent))} if that is the folder of its outputs"
            raise bad(f"{run.path} is not known as a run: the id in its name is not that of its config", hint)
        if run.locked():
            raise bad(f"{run.path.name} is being trained or measured", "wait until it has finished, or stop the process that uses it")
    for folder in (run.path.parent, *([] if run.path.is_symlink() else [run.path])):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise bad(f"{run.path} cannot be removed: {folder} is not writable", "its owner can remove it")
    return [] if run.path.is_symlink() else [str(path.relative_to(run.path)) for path in content.foreign(run.path)]


def describe(run: Run, foreign: Sequence[str]) -> None:
    """Print what would be removed: the run, its state, the reason if it is damaged, and its foreign files."""
    if run.path.is_symlink():
        console.show(f"{run.path}  (a link to {os.readlink(run.path)}, which is kept)")
        return
    damage = run.damage()
    console.show(f"{run.path}  ({f'damaged: {damage.message}' if damage else run.state()})")
    for name in foreign[:MOST_NAMED]:
        console.show(f"  not written by ebm: {name}")
    if len(foreign) > MOST_NAMED:
        console.show(f"  and {len(foreign) - MOST_NAMED} more that ebm did not write")


def remove(run: Run, *, everything: bool) -> None:
    """Remove a run, with its foreign files only if `everything` is true. Of a link, only the link is removed."""
    if run.path.is_symlink():
        run.path.unlink()
        console.show(f"removed the link {run.path}")
        return
    try:
        shutil.rmtree(run.path) if everything else content.remove(run.path)
    except OSError as error:
        raise bad(f"{run.path} cannot be removed completely: {error.filename}: {error.strerror}", "its owner can remove it") from None
    if run.path.exists():
        console.show(f"removed the files of {run.path}; files that ebm did not write are kept in it")
    else:
        console.show(f"removed {run.path}")

"""The command as a user runs it, in its own process, and checks of what it leaves behind."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from lines import last_of_each_key

LIMIT_S = 120
TINY = ("energy=mlp", "energy.hidden=[8,8]", "trainer.batch_size=16", "device=cpu", "draws.n_samples=20", "draws.n_steps=4", "figure=[]")
LINE = ("objective=dsm", "dataset=moons", *TINY, "metric=[quadrature]", "trainer.n_steps=4", "trainer.checkpoint_every=2")


class Ended(NamedTuple):
    """What a command left behind: its exit code, its standard output and its standard error."""

    code: int
    out: str
    err: str


def call(*words, input="", as_typed=False, **environment):
    """Run `ebm WORDS` with this standard input and these variables. A variable that is None is removed.

    A word replaces an earlier one that sets the same key, so that a test can change a common line, unless the words are meant `as_typed`.
    """
    words = [*map(str, words)]
    values = {name: str(value) for name, value in (os.environ | environment).items() if value is not None}
    command = [sys.executable, "-m", "ebm_cli", *(words if as_typed else last_of_each_key(words))]
    ended = subprocess.run(command, input=input, env=values, capture_output=True, text=True, timeout=LIMIT_S)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def refused(ended, *parts):
    """Check that a command was refused as bad input, with these parts in its message, and without a traceback."""
    assert (ended.code, ended.out) == (2, ""), ended
    assert ended.err.startswith("error: "), ended.err
    assert "Traceback" not in ended.err, ended.err
    for part in parts:
        assert part in ended.err, ended.err


def tree(folder):
    """The content of every file below a folder, by its path; for a link, its target. Special files are named, but not opened."""
    paths = [Path(root, name) for root, folders, files in os.walk(folder) for name in (*folders, *files)]
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        for path in paths
    }

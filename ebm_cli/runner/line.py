"""Turn the overrides of a command line into the config of a run, and back into a command.

The run is new, or it continues another run (`resume=RUN`).
"""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from ebm_cli.config.compose import Composed, amend, compose, look
from ebm_cli.errors import Problem, bad
from ebm_cli.runner import marks
from ebm_cli.runs import catalog
from ebm_cli.runs.run import RUN_AGAIN

REPLACEABLE = ("metric", "logger", "regularizer", "figure")  # groups whose options a continued run may replace


def compose_line(words: Sequence[str], dirs: Sequence[Path] = ()) -> Composed:
    """The config of one run, with every problem of the command line."""
    if resumed := next((word for word in words if word.startswith("resume=") and word != "resume=null"), ""):
        return compose_resumed(resumed.partition("=")[2], [word for word in words if word != resumed], dirs)
    return compose(words, dirs)


def compose_resumed(name: str, words: Sequence[str], dirs: Sequence[Path]) -> Composed:
    """The config of a run that continues another run: the config of that run with the overrides applied.

    The logger is that of the line, because the other run may come from somebody else.
    """
    parent, step = catalog.at_step(name)
    marks.check(parent)
    own = {"name": None, "group": None, "tags": [], "force": False, "logger": None, "resume": f"{parent.id}@{step}"}
    config, problems = amend(parent.config() | own, words, REPLACEABLE, dirs), []
    if isinstance(n_steps := look(config, "trainer.n_steps"), int) and n_steps <= step:
        problems.append(Problem(f"trainer.n_steps: {parent.path.name} is already at step {step}", f"trainer.n_steps={2 * step}"))
    words = (f"resume={parent.id}@{step}", *words)
    choices = parent.read("environment.json")["choices"]
    if not all(isinstance(choices.get(group), str) for group in ("dataset", "objective")):
        raise bad(f"{parent.path / 'environment.json'} is damaged: it does not name the dataset and the objective", RUN_AGAIN)
    return Composed(config, choices, list(words), problems, words, tuple(dirs), ())


def pinned(words: Sequence[str]) -> list[str]:
    """The overrides with an explicit run and step in `resume=`, so that no job continues a run that its own sweep has just made."""

    def explicit(name: str) -> str:
        parent, step = catalog.at_step(name)
        return f"{parent.id}@{step}"

    def with_step(word: str) -> str:
        key, _, names = word.partition("=")
        return f"resume={','.join(map(explicit, names.split(',')))}" if key == "resume" and names not in ("", "null") else word

    return [with_step(word) for word in words]


def command_of(words: Sequence[str], dirs: Sequence[Path] = ()) -> str:
    """The command with these overrides, EBM_ALLOW and the config folders of the user, but without `force`."""
    allow = os.environ.get("EBM_ALLOW")
    line = ["ebm", "train", *(f"--config-dir={path}" for path in dirs), *(word for word in words if not word.startswith("force="))]
    return (f"EBM_ALLOW={shlex.quote(allow)} " if allow else "") + shlex.join(line)

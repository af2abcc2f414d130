"""The runs and sweeps in the outputs folder, and the lookup of a run by the name that the user gives."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ebm_cli.console import say
from ebm_cli.errors import InputError, Problem, bad, nearest
from ebm_cli.io import inside
from ebm_cli.runs import content
from ebm_cli.runs.run import Run, outputs


def every() -> list[Run]:
    """All runs in the outputs folder, the oldest first."""
    return sorted((run for run in map(Run, _folders()) if _is_run(run)), key=_created)


def _folders() -> list[Path]:
    """The folders in which runs can be."""
    try:
        return [path for path in (outputs() / "runs").iterdir() if path.is_dir() and not path.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise bad(f"{outputs() / 'runs'} cannot be read: {error.strerror}", "set EBM_OUTPUTS to another folder") from None


def _is_run(run: Run) -> bool:
    """Whether a folder has the files of a run, or cannot be read. A process that holds the lock may not have written them yet."""
    try:
        names = {path.name for path in run.path.iterdir()}
    except OSError:
        return True
    return "environment.json" in names or (bool({*names} & {"config.yaml", "checkpoints"}) and not run.locked())


def find(name: str, others: Iterable[str] = ()) -> Run:
    """The run that a user names (see `find_any`). A damaged run, and a run of another version, are refused."""
    run = find_any(name, others)
    run.check_whole()
    return run


def find_any(name: str, others: Iterable[str] = ()) -> Run:
    """The run that a user names by its id, a unique prefix of its id or folder name, its path, or `last`.

    `others` are names that are not runs and that the hint can suggest.
    """
    if name != "last" and (Path(name) / "config.yaml").is_file() and (Path(name) / "environment.json").is_file():
        return Run(Path(name).resolve() if Path(name).name in ("", "..") else Path(name))
    runs = every()
    if name == "last":
        if not runs:
            raise bad(f"there is no run under {outputs()}", "train one with `ebm train`, or set EBM_OUTPUTS to another folder")
        return next((run for run in reversed(runs) if not run.damage()), runs[-1])
    if same := [run for run in runs if Path(name).is_dir() and run.path.resolve() == Path(name).resolve()]:
        return same[0]
    if "/" in name or Path(name).is_dir():
        raise bad(f"{name} is not a run: config.yaml or environment.json is missing", "`ebm runs` lists the runs")
    found = [run for run in runs if name in (run.id, run.path.name)] or [
        run for run in runs if run.id.startswith(name) or run.path.name.startswith(name)
    ]
    if len(found) > 1:
        names = ", ".join(run.path.name for run in found[:5])
        raise InputError(Problem(f"{name!r} names {len(found)} runs: {names}", "give a longer prefix"))
    if not found:
        known = [*(run.id for run in runs), *others]
        raise bad(f"there is no run {name!r} under {outputs()}", nearest(name, known) if runs else "train one with `ebm train`")
    return found[0]


def at_step(name: str) -> tuple[Run, int]:
    """The run and the step of the checkpoint that `RUN` (its newest one) or `RUN@STEP` names."""
    name, _, wanted = name.partition("@")
    run = find(name)
    if run.path.parent.absolute() != (outputs() / "runs").absolute():
        hint = f"set EBM_OUTPUTS={run.path.parent.parent} to train in its outputs folder"
        raise bad(f"resume: {run.path} is not among the runs of {outputs()}", hint)
    steps = sorted(int(path.name) for path in run.checkpoints.glob("*") if content.STEP.fullmatch(path.name))
    if not steps:
        raise bad(f"resume: {run.path.name} has no checkpoint yet", "run its command again to train it")
    if wanted and (not wanted.isdigit() or int(wanted) not in steps):
        known = ", ".join(map(str, steps))
        raise bad(f"resume: {run.path.name} has no checkpoint of step {wanted}, only of {known}", f"use resume={run.id}@{steps[-1]}")
    return run, int(wanted) if wanted else steps[-1]


def sweeps() -> list[dict[str, Any]]:
    """The content of every sweep.json in the outputs folder. Damaged files are left out, with a warning."""
    found = []
    for path in sorted((outputs() / "sweeps").glob("*/sweep.json")):
        try:
            sweep = json.loads(inside.read(path.parent, path))
            if not isinstance(sweep["group"], str | None) or not isinstance(sweep["id"], str):
                raise TypeError("its group or id is not text")
            found.append(sweep | {"runs": [{"path": str(outcome["path"])} for outcome in sweep["runs"]]})
        except (InputError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            say(f"warning: {path} is damaged and is not used ({type(error).__name__}: {error})")
    return found


def groups() -> dict[str, list[Run]]:
    """The runs of every group and of every sweep (by its id), the oldest first. A sweep has the runs that it trained and that it reused."""
    runs, names = every(), {}
    for run in runs:
        names.setdefault(_facts(run).get("group"), set()).add(run.path.name)
    for sweep in sweeps():
        reused = {Path(outcome["path"]).name for outcome in sweep["runs"] if outcome["path"]}
        for name in (sweep["group"], sweep["id"]):
            names.setdefault(name, set()).update(reused)
    return {group: [run for run in runs if run.path.name in theirs] for group, theirs in names.items() if group}


def _facts(run: Run) -> dict[str, Any]:
    """The environment.json of a run; {} if it is damaged."""
    try:
        return run.read("environment.json")
    except InputError:
        return {}


def _created(run: Run) -> float:
    """The time at which a run was created; 0 for a damaged run."""
    return _facts(run).get("created", 0.0)

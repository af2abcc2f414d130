"""The runs and sweeps under the outputs folder, and what a user's names for them mean."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ebm_cli.errors import InputError, Problem, bad, nearest
from ebm_cli.runs.run import Run, outputs


def every() -> list[Run]:
    """The runs under EBM_OUTPUTS, the oldest first."""
    return sorted((Run(path.parent) for path in (outputs() / "runs").glob("*/environment.json")), key=_created)


def find(name: str, others: Iterable[str] = ()) -> Run:
    """The run that a user names, of this version: see `find_any`."""
    run = find_any(name, others)
    run.check_schema()
    return run


def find_any(name: str, others: Iterable[str] = ()) -> Run:
    """By its id, a unique prefix of its id or folder name, its path, or `last`. `others` are names that could have been meant as well."""
    if name != "last" and (Path(name) / "config.yaml").is_file() and (Path(name) / "environment.json").is_file():
        return Run(Path(name).resolve() if Path(name).name in ("", "..") else Path(name))
    runs = every()
    if name == "last":
        if not runs:
            raise bad(f"there is no run under {outputs()}", "ebm train makes one; EBM_OUTPUTS names another folder")
        return runs[-1]
    if "/" in name or Path(name).is_dir():
        raise bad(f"{name} is not a run: it holds no config.yaml and environment.json", "`ebm runs` lists the runs")
    found = [run for run in runs if name in (run.id, run.path.name)] or [
        run for run in runs if run.id.startswith(name) or run.path.name.startswith(name)
    ]
    if len(found) > 1:
        names = ", ".join(run.path.name for run in found[:5])
        raise InputError(Problem(f"{name!r} names {len(found)} runs: {names}", "give more of the name"))
    if not found:
        known = [*(run.id for run in runs), *others]
        raise bad(f"there is no run {name!r} under {outputs()}", nearest(name, known) if runs else "ebm train makes one")
    return found[0]


def at_step(name: str) -> tuple[Run, int]:
    """The run and the step that `RUN` or `RUN@STEP` names: its newest checkpoint, or that of a step."""
    name, _, wanted = name.partition("@")
    run = find(name)
    if run.path.parent.absolute() != (outputs() / "runs").absolute():
        raise bad(f"resume: {run.path} is not among the runs of {outputs()}", f"EBM_OUTPUTS={run.path.parent.parent} trains beside it")
    steps = sorted(int(path.name) for path in run.checkpoints.glob("*") if path.name.isdigit())
    if not steps:
        raise bad(f"resume: {run.path.name} has no checkpoint yet", "train it first: run its command again")
    if wanted and (not wanted.isdigit() or int(wanted) not in steps):
        known = ", ".join(map(str, steps))
        raise bad(f"resume: {run.path.name} has no checkpoint of step {wanted}, only of {known}", f"resume={run.id}@{steps[-1]}")
    return run, int(wanted) if wanted else steps[-1]


def sweeps() -> list[dict[str, Any]]:
    """The content of every sweep.json under EBM_OUTPUTS; a damaged one is left out."""
    found = []
    for path in sorted((outputs() / "sweeps").glob("*/sweep.json")):
        try:
            found.append(json.loads(path.read_text()))
        except (OSError, ValueError):
            continue
    return found


def groups() -> dict[str, list[Run]]:
    """The runs of every group, and of every sweep by its id: those that were made for it and those that it reused, the oldest first."""
    runs, names = every(), {}
    for run in runs:
        names.setdefault(_facts(run).get("group"), set()).add(run.path.name)
    for sweep in sweeps():
        if {"group", "id", "runs"} <= sweep.keys():
            reused = {Path(outcome["path"]).name for outcome in sweep["runs"] if outcome["path"]}
            for name in (sweep["group"], sweep["id"]):
                names.setdefault(name, set()).update(reused)
    return {group: [run for run in runs if run.path.name in theirs] for group, theirs in names.items() if group}


def _facts(run: Run) -> dict[str, Any]:
    """Its environment.json; {} for a damaged run."""
    try:
        return run.read("environment.json")
    except InputError:
        return {}


def _created(run: Run) -> float:
    """When a run was made; damaged ones come first."""
    return _facts(run).get("created", 0.0)

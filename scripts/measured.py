"""Helpers of the measuring scripts: run a sweep with the installed command, and read the numbers of its runs."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ebm_cli.runs.run import Run

ROOT = Path(__file__).resolve().parents[1]
SHORTER = {"train_seconds": 0, "kl": 5, "mode_weight_error": 4, "log_z": 4, "log_z_learned": 4, "sliced_wasserstein": 4}


def sweep(words: list[str], outputs: Path) -> list[tuple[list[str], Run]]:
    """Run or continue `ebm train -m WORDS`. Returns its runs in order, each with the words that are not common to all."""
    environ = os.environ | {"EBM_OUTPUTS": str(outputs)}
    done = subprocess.run([Path(sys.executable).with_name("ebm"), "train", "-m", *words], env=environ)
    if done.returncode == 2:  # an invalid line; a diverged run (exit code 1) is a result
        sys.exit(2)
    path = max(outputs.glob("sweeps/*/sweep.json"), key=lambda path: path.stat().st_mtime)
    runs = json.loads(path.read_text())["runs"]
    common = set.intersection(*(set(run["words"]) for run in runs))
    return [([word for word in run["words"] if word not in common], Run(Path(run["path"]))) for run in runs if run["path"]]


def with_words(line: Sequence[str], words: Sequence[str]) -> list[str]:
    """A line with additional words, which replace words of the line that set the same key."""
    given = {word.partition("=")[0] for word in words}
    return [*(word for word in line if word.partition("=")[0] not in given), *words]


def row(run: Run, kept: tuple[str, ...]) -> dict:
    """The choices of a run, its state, and the numbers `kept` of its summary, rounded."""
    summary, choices = run.read("summary.json"), run.read("environment.json")["choices"]
    numbers = {key: round(summary[key], SHORTER.get(key, 6)) if summary[key] is not None else None for key in kept if key in summary}
    return {"objective": choices["objective"], "energy": choices["energy"], "seed": run.config()["seed"], "state": run.state(), **numbers}


def made_by(*runs: Run) -> dict:
    """The commits and package versions that made these runs; a `+` marks a working tree with uncommitted changes."""
    facts = [run.read("environment.json") for run in runs]
    commits = sorted({own["git"].get("commit", "?") + ("+" if own["git"].get("dirty") else "") for own in facts})
    return {key: facts[0][key] for key in ("packages", "python", "device_name")} | {"commits": commits}


def maker(made: dict) -> str:
    """The commits and the version of torch, as part of a sentence."""
    return f"commit {', '.join(commit[:10] + commit[40:] for commit in made['commits'])}, torch {made['packages']['torch']}"

"""What the measuring scripts share: a sweep through the runner itself, one thread for each job, and the numbers of its runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

from ebm_cli.runs.run import Run

ROOT = Path(__file__).resolve().parents[1]
SHORTER = {"train_seconds": 0, "kl": 5, "mode_weight_error": 4, "log_z": 4, "log_z_learned": 4, "sliced_wasserstein": 4}


def sweep(words: list[str], outputs: Path) -> list[tuple[list[str], Run]]:
    """`ebm train -m WORDS`, going on where it was interrupted; its runs in order, each with the words that not all of them have."""
    environ = os.environ | {"EBM_OUTPUTS": str(outputs)}
    done = subprocess.run([Path(sys.executable).with_name("ebm"), "train", "-m", *words], env=environ)
    if done.returncode == 2:  # a line that is wrong; a run that diverges (1) is a result
        sys.exit(2)
    path = max(outputs.glob("sweeps/*/sweep.json"), key=lambda one: one.stat().st_mtime)
    runs = json.loads(path.read_text())["runs"]
    common = set.intersection(*(set(one["words"]) for one in runs))
    return [([word for word in one["words"] if word not in common], Run(Path(one["path"]))) for one in runs if one["path"]]


def row(run: Run, kept: tuple[str, ...]) -> dict:
    """What was chosen and what came out, `kept` of the summary."""
    summary, choices = run.read("summary.json"), run.read("environment.json")["choices"]
    numbers = {key: round(summary[key], SHORTER.get(key, 6)) if summary[key] is not None else None for key in kept if key in summary}
    return {"objective": choices["objective"], "energy": choices["energy"], "seed": run.config()["seed"], "state": run.state(), **numbers}


def made_by(*runs: Run) -> dict:
    """The commits and versions behind the numbers."""
    facts = [run.read("environment.json") for run in runs]
    commits = sorted({one["git"].get("commit", "?") + ("+" if one["git"].get("dirty") else "") for one in facts})
    return {key: facts[0][key] for key in ("packages", "python", "device_name")} | {"commits": commits}


def maker(made: dict) -> str:
    """For a sentence. A `+` marks a tree with changes of its own."""
    return f"commit {', '.join(one[:10] + one[40:] for one in made['commits'])}, torch {made['packages']['torch']}"

"""Measures the start of the command: median wall-clock seconds of several starts, and the bound that a test checks.

python scripts/bench_startup.py
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from ebm_cli.config import compose, roles
from ebm_cli.runs import run

BOUNDS = {
    "ebm --help": 0.1,
    "ebm train --cfg job": 0.5,
    "ebm runs (50 runs)": 0.3,
    "ebm compare (200 runs)": 1.0,
    "ebm compare --budget (200 runs)": 1.0,
}
LINES = {  # the arguments of the command and the number of existing runs
    "ebm --help": (["--help"], 0),
    "ebm train --cfg job": (["train", "--cfg", "job"], 0),
    "ebm runs (50 runs)": (["runs"], 50),
    "ebm compare (200 runs)": (["compare", "bench"], 200),
    "ebm compare --budget (200 runs)": (["compare", "bench", "--budget", "seconds=30"], 200),
}
N_SEEDS, N_ROWS = 5, 65  # seeds per config, rows of metrics.jsonl


def make_runs(outputs, n):
    """Create run folders for `ebm runs` and `ebm compare`: several learning rates with `N_SEEDS` seeds each."""
    text = compose.to_yaml(compose.compose([])) if n else ""
    units = {"kl": "nats", "nll": "nats", "sliced_wasserstein": ""}
    numbers = {"kl": 0.01, "nll": 1.02, "sliced_wasserstein": 0.02, "n_steps": 100 * N_ROWS, "train_seconds": 60.0}
    for i in range(n):
        own = text.replace("seed: 0\n", f"seed: {i % N_SEEDS}\n").replace("  lr: 0.006\n", f"  lr: {1 + i // N_SEEDS}\n")
        made = run.Run(outputs / "runs" / f"moons-ssm-s{i % N_SEEDS}-{roles.identity(yaml.safe_load(own), '', schema=run.SCHEMA)}")
        made.path.mkdir(parents=True)
        (made.path / "config.yaml").write_text(own)
        rows = [{"step": 100 * k, "kl": 1 / k, "nll": 1 / k + 1, "seconds": float(k)} for k in range(1, N_ROWS + 1)]
        (made.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        facts = {"schema": run.SCHEMA, "id": made.id, "created": time.time() - i, "differs": [f"seed={i}"], "group": "bench"}
        facts |= {"device": "cpu", "reproduce": "ebm train"}
        files = {"environment": facts | {"choices": {"objective": "ssm", "optimizer": "adam"}}, "status": {"state": "finished"}}
        described = {"headline": list(units), "units": units, "best": dict.fromkeys(units, "min"), "reasons": {}}
        files["summary"] = {"id": made.id, **described, **numbers}
        for name, data in files.items():
            (made.path / f"{name}.json").write_text(json.dumps(data))


def measure(rounds=9):
    """The median seconds of each command."""
    found = {}
    for name, (words, n) in LINES.items():
        with tempfile.TemporaryDirectory() as folder:
            make_runs(Path(folder), n)
            times = []
            for _ in range(rounds + 1):
                start = time.perf_counter()
                command = [Path(sys.executable).with_name("ebm"), *words]
                subprocess.run(command, env=os.environ | {"EBM_OUTPUTS": folder}, check=True, capture_output=True)
                times.append(time.perf_counter() - start)
            found[name] = statistics.median(times[1:])
    return found


if __name__ == "__main__":
    for line, seconds in measure().items():
        print(f"{line:32} {seconds:6.3f} s   (bound {BOUNDS[line]} s)")

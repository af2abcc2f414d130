"""Measures 24 tiny jobs with the default launcher against Hydra's basic launcher, which runs them sequentially in one process.

    overhead per job = (wall-clock x slots - sum of the jobs' own seconds) / jobs

A job's own seconds are measured from its config to its summary, in the process that trains it. The rounds alternate between the launchers,
on the same seeds and each with a new outputs folder; the results are medians over rounds. Run it on an idle machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ebm_cli.sweeps.slots import n_cores

LINE = ("experiment=smoke", "trainer.n_steps=200")


def sweep(launcher: str, n_jobs: int) -> tuple[float, float]:
    """The wall-clock seconds of a sweep and the sum of the seconds of its jobs."""
    with tempfile.TemporaryDirectory() as outputs:
        command = [sys.executable, "-m", "ebm_cli", "train", "-m", *LINE, f"seed=range({n_jobs})", f"hydra/launcher={launcher}"]
        environment = dict(os.environ, EBM_OUTPUTS=outputs, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
        start = time.perf_counter()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        wall = time.perf_counter() - start
        runs = json.loads(next(Path(outputs).glob("sweeps/*/sweep.json")).read_text())["runs"]
        assert len(runs) == n_jobs
        assert {run["state"] for run in runs} == {"finished"}
        return wall, sum(run["seconds"] for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    slots = n_cores()
    walls: dict[str, list[float]] = {"gpu": [], "basic": []}
    overheads = []
    for number in range(options.rounds):
        for launcher, found in walls.items():
            wall, own = sweep(launcher, options.jobs)
            found.append(wall)
            overhead = (wall * (slots if launcher == "gpu" else 1) - own) / options.jobs
            overheads += [overhead] if launcher == "gpu" else []
            print(f"round {number + 1}  {launcher:6}  wall {wall:6.1f} s  jobs {own:6.1f} s  overhead per job {overhead:.3f} s", flush=True)
    ratios = [ours / basic for ours, basic in zip(walls["gpu"], walls["basic"], strict=True)]
    print(f"{options.jobs} jobs, {slots} slots: wall-clock {statistics.median(ratios):.3f} of hydra/launcher=basic (target: at most 0.65)")
    print(f"overhead per job: {statistics.median(overheads):.3f} s (target: at most 0.3 s)")


if __name__ == "__main__":
    main()

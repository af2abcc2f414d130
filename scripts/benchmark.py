"""Objectives x datasets x seeds, at an equal budget of one core's time for each model, against the exact truth.

    python scripts/benchmark.py calibrate               seconds of a step in every cell, into results/benchmark_steps.json
    python scripts/benchmark.py run [--quick]           what is not in results/benchmark.jsonl yet, as sweeps of the runner itself

The seconds of a step are measured once, on a quiet machine, and committed: each objective then has a fixed number of steps, and its runs
can be reproduced anywhere. `run` trains as many cells side by side as there are cores, one thread each; a finished cell is appended to
the file, and skipped from then on. `fixed` cells train on 8,192 points instead of fresh draws: the gap between train and test. What `run`
keeps of each run: exact KL with its error, mode weights, that gap, seconds, evaluations, and the curve of the KL over the steps.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from measured import ROOT, made_by, row

from ebm_cli.config import compose
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runs.run import Run

STEPS = ROOT / "results" / "benchmark_steps.json"
OBJECTIVES = ("exact", "nce", "cnce", "energy_discrepancy", "ism", "ssm", "fd_ssm", "dsm", "cd", "pcd", "recovery", "lsd", "ksd")
OBJECTIVES += ("dsm_multi", "mle", "short_run")  # last, for they say least about the density
ENERGY = "residual_mlp"  # of all rows of all columns
LADDER = dict.fromkeys(("recovery", "dsm_multi"), f"noise_{ENERGY}")  # the same network, which is told the noise level
DATASETS = ("moons", "eight_gaussians", "twentyfive_gaussians", "rings", "checkerboard", "pinwheel", "two_spirals")
FIXED = tuple((objective, dataset) for dataset in ("moons", "twentyfive_gaussians") for objective in ("exact", "nce", "ssm", "dsm", "pcd"))
N_FIXED = 8192
N_POINTS = 20  # of a curve
SEEDS = (0, 1, 2)
KEPT = (
    "kl",
    "kl_error",
    "nll",
    "log_z_error",
    "mode_weight_error",
    "mode_weight_error_density",
    "sliced_wasserstein",
    "train_seconds",
    "n_steps",
)
KEPT += ("generalization_gap", "n_energy_evaluations", "n_score_evaluations", "n_hvp_evaluations")


@dataclass(frozen=True)
class Plan:
    """Seconds for each model, what is trained, where the runs are and where their numbers go."""

    seconds: float
    datasets: tuple[str, ...]
    fixed: tuple[tuple[str, str], ...]
    outputs: Path
    results: Path

    def cells(self) -> list[tuple[str, str, bool]]:
        """(objective, dataset, on a fixed training set)."""
        return [(objective, dataset, False) for objective in OBJECTIVES for dataset in self.datasets] + [(*one, True) for one in self.fixed]

    @property
    def rows(self) -> Path:
        return self.results / "benchmark.jsonl"


FULL = Plan(45.0, DATASETS, FIXED, ROOT / "outputs" / "benchmark", ROOT / "results")
BRIEF = ROOT / "outputs" / "benchmark-quick"
QUICK = Plan(2.0, ("moons", "twentyfive_gaussians"), tuple(cell for cell in FIXED if "moons" in cell), BRIEF, BRIEF)


def words(objective: str, dataset: str, *, fixed: bool) -> list[str]:
    line = [f"dataset={dataset}", f"objective={objective}", f"energy={LADDER.get(objective, ENERGY)}", "experiment=benchmark2d"]
    return [*line, *([f"dataset.n_train={N_FIXED}"] if fixed else [])]


def calibrate(*, rounds: int = 5, n: int = 40) -> None:
    """Median seconds of a step of every cell, one after the other on one thread; cells that are there are left alone."""
    torch.set_num_threads(1)
    found = json.loads(STEPS.read_text()) if STEPS.exists() else {}
    for objective, dataset, fixed in FULL.cells():
        key = f"{dataset} {objective}"
        if key in found or fixed:
            continue
        trainer = Experiment.of(compose.compose([*words(objective, dataset, fixed=False), "seed=100"])).trainer()
        for _ in range(20):
            trainer.step()
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            for _ in range(n):
                trainer.step()
            times.append((time.perf_counter() - start) / n)
        found[key] = round(statistics.median(times), 6)
        print(f"{key}: {1e3 * found[key]:.3f} ms", flush=True)
        STEPS.write_text(json.dumps(found, indent=1) + "\n")


def seconds_per_step(objective: str) -> float:
    """The median over datasets, which differ by less than the machine's noise."""
    return statistics.median(seconds for key, seconds in json.loads(STEPS.read_text()).items() if key.split()[1] == objective)


def n_steps(objective: str, seconds: float) -> int:
    """What the budget buys, to two digits."""
    return max(int(float(f"{seconds / seconds_per_step(objective):.2g}")), 2 * N_POINTS)


def group(*, fixed: bool) -> str:
    return "benchmark2d-fixed" if fixed else "benchmark2d"


def train(cell: tuple[str, str, bool], plan: Plan) -> list[dict]:
    """A cell's seeds, one after the other, as a sweep; the numbers of each."""
    objective, dataset, fixed = cell
    n = n_steps(objective, plan.seconds)
    every = max(n // N_POINTS, 1)
    line = [*words(objective, dataset, fixed=fixed), f"trainer.n_steps={n}", f"trainer.evaluate_every={every}"]
    line += [f"seed={','.join(map(str, SEEDS))}", f"group={group(fixed=fixed)}", "hydra.launcher.cpu_jobs=1"]
    environ = os.environ | {"EBM_OUTPUTS": str(plan.outputs), "OMP_NUM_THREADS": "1"}
    command = [Path(sys.executable).with_name("ebm"), "train", "-m", *line]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    if done.returncode == 2:
        sys.exit(done.stderr)
    sweep = json.loads((Path(done.stdout.rpartition("Results saved to ")[2].split("\n")[0])).read_text())
    rows = []
    for run in (Run(Path(one["path"])) for one in sweep["runs"] if one["path"]):
        evaluated = [(one["step"], one.get("kl")) for one in run.rows() if one["step"] % every == 0 or one["step"] == n]
        curve = [[step, kl and round(kl, 6)] for step, kl in evaluated]
        rows.append({"dataset": dataset, "fixed": fixed, "kl": None, **row(run, KEPT), "curve": curve, "made_by": made_by(run)})
    return rows


def run(plan: Plan) -> None:
    """Every cell that is not there yet."""
    there = [json.loads(line) for line in plan.rows.read_text().splitlines()] if plan.rows.exists() else []
    done = {(one["objective"], one["dataset"], one["fixed"]) for one in there}
    left = [cell for cell in plan.cells() if cell not in done]
    plan.results.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for cell, rows in zip(left, pool.map(lambda one: train(one, plan), left), strict=True):
            with plan.rows.open("a") as file:
                file.writelines(json.dumps(one) + "\n" for one in rows)
            print(f"{cell[1]} {cell[0]}{' fixed' if cell[2] else ''}: KL {', '.join(str(one['kl']) for one in rows)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("calibrate", "run"))
    parser.add_argument("--quick", action="store_true", help="two datasets, two seconds for each model")
    given = parser.parse_args()
    if given.what == "calibrate":
        calibrate()
    else:
        run(QUICK if given.quick else FULL)


if __name__ == "__main__":
    main()

"""The benchmark: objectives x datasets x seeds with an equal budget of one core's time per model, measured with exact metrics.

    python scripts/benchmark.py calibrate               measure the seconds per step of every cell, into results/benchmark_steps.json
    python scripts/benchmark.py run [--quick]           train the cells missing from results/benchmark.jsonl, as sweeps of the runner

The seconds per step are measured once, on an idle machine, and committed: each objective then has a fixed number of steps, and its runs
can be reproduced anywhere. `run` trains as many cells in parallel as there are cores, with one thread each; a finished cell is appended to
the file and skipped from then on. `fixed` cells train on 8,192 points instead of fresh draws, to measure the generalization gap. For each
run are stored: the exact KL with its error, mode weights, the gap, seconds, evaluations, and the KL as a function of the step.
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
OBJECTIVES += ("dsm_multi", "mle", "short_run")  # last: their densities are the least meaningful
ENERGY = "residual_mlp"  # for all cells except those of LADDER
LADDER = dict.fromkeys(("recovery", "dsm_multi"), f"noise_{ENERGY}")  # the same network with the noise level as an input
DATASETS = ("moons", "eight_gaussians", "twentyfive_gaussians", "rings", "checkerboard", "pinwheel", "two_spirals")
FIXED = tuple((objective, dataset) for dataset in ("moons", "twentyfive_gaussians") for objective in ("exact", "nce", "ssm", "dsm", "pcd"))
N_FIXED = 8192
N_POINTS = 20  # points of a KL curve
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
    """The budget in seconds per model, the datasets, the cells with fixed points, and the folders of runs and results."""

    seconds: float
    datasets: tuple[str, ...]
    fixed: tuple[tuple[str, str], ...]
    outputs: Path
    results: Path

    def cells(self) -> list[tuple[str, str, bool]]:
        """Every cell as (objective, dataset, whether it trains on fixed points)."""
        fresh = [(objective, dataset, False) for objective in OBJECTIVES for dataset in self.datasets]
        return fresh + [(*cell, True) for cell in self.fixed]

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
    """Measure the median seconds per step of every cell, sequentially on one thread; stored cells are skipped."""
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
    """The median over datasets; they differ by less than the noise of the machine."""
    return statistics.median(seconds for key, seconds in json.loads(STEPS.read_text()).items() if key.split()[1] == objective)


def n_steps(objective: str, seconds: float) -> int:
    """The number of steps that the budget allows, rounded to two digits."""
    return max(int(float(f"{seconds / seconds_per_step(objective):.2g}")), 2 * N_POINTS)


def group(*, fixed: bool) -> str:
    return "benchmark2d-fixed" if fixed else "benchmark2d"


def train(cell: tuple[str, str, bool], plan: Plan) -> list[dict]:
    """Train the seeds of a cell sequentially as a sweep, and return a row for each."""
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
    for run in (Run(Path(outcome["path"])) for outcome in sweep["runs"] if outcome["path"]):
        evaluated = [(logged["step"], logged.get("kl")) for logged in run.rows() if logged["step"] % every == 0 or logged["step"] == n]
        curve = [[step, kl and round(kl, 6)] for step, kl in evaluated]
        rows.append({"dataset": dataset, "fixed": fixed, "kl": None, **row(run, KEPT), "curve": curve, "made_by": made_by(run)})
    return rows


def run(plan: Plan) -> None:
    """Train every cell that is not stored yet."""
    stored = [json.loads(line) for line in plan.rows.read_text().splitlines()] if plan.rows.exists() else []
    done = {(row["objective"], row["dataset"], row["fixed"]) for row in stored}
    left = [cell for cell in plan.cells() if cell not in done]
    plan.results.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for cell, rows in zip(left, pool.map(lambda cell: train(cell, plan), left), strict=True):
            with plan.rows.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            print(f"{cell[1]} {cell[0]}{' fixed' if cell[2] else ''}: KL {', '.join(str(row['kl']) for row in rows)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("calibrate", "run"))
    parser.add_argument("--quick", action="store_true", help="two datasets, two seconds per model")
    given = parser.parse_args()
    if given.what == "calibrate":
        calibrate()
    else:
        run(QUICK if given.quick else FULL)


if __name__ == "__main__":
    main()

"""The benchmark: objectives x datasets x seeds with an equal budget of one core's time per model, measured with exact metrics.

    python scripts/benchmark.py calibrate               measure the seconds per step of the cells missing from results/benchmark_steps.json
    python scripts/benchmark.py run [--quick]           train the cells missing from results/benchmark.jsonl, as sweeps of the runner

The seconds per step are measured once, on an idle machine, and committed: each objective then has a fixed number of steps, and its runs
can be reproduced anywhere. A method that is added later may be measured on another machine, or a loaded one. It is therefore measured in
turns with `nce`, and the ratio of both is multiplied by the stored seconds of `nce`. `run` trains as many cells in parallel as there are
cores (or WORKERS), with one thread each; a finished cell is appended to the file and skipped from then on. `fixed` cells train on 8,192
points instead of fresh draws, to measure the generalization gap. For each run are stored: the exact KL with its error, mode weights, the
gap, seconds, evaluations, and the KL as a function of the step.

Three rows are not objectives with their defaults. `nce reference=mixture` contrasts with a mixture of Gaussians that is fitted to 10,000
draws, and is tilted by it; the time of the fit counts. The two rows of `energy=reference` are densities fitted by maximum likelihood,
without an energy-based model: a mixture with up to 40 components, fitted to 100,000 draws, and a normalizing flow, which has a new draw for
each event of each step, and as many steps as the time allows. The networks of the flow have the width of the energy.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
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
ADDED = {  # methods that are not an objective with its defaults, by the words that choose them
    "nce reference=mixture": ("objective=nce", "reference=mixture"),
    "energy=reference reference=mixture": ("energy=reference", "reference=mixture", "dataset.n_train=100000"),
    "energy=reference reference=flow": ("energy=reference", "reference=flow", "reference.hidden=[64,64]"),
}
METHODS = (*OBJECTIVES, *ADDED)
TIMED_ON = ("moons", "twentyfive_gaussians", "two_spirals")  # the datasets on which they are timed
FITTED = ("nce reference=mixture",)  # methods with a fit before the first step that takes more than a second
MIXTURE, FLOW = METHODS[-2:]
ENERGY = "residual_mlp"  # for all cells except those of LADDER
LADDER = dict.fromkeys(("recovery", "dsm_multi"), f"noise_{ENERGY}")  # the same network with the noise level as an input
DATASETS = ("moons", "eight_gaussians", "twentyfive_gaussians", "rings", "checkerboard", "pinwheel", "two_spirals")
FIXED = tuple((objective, dataset) for dataset in ("moons", "twentyfive_gaussians") for objective in ("exact", "nce", "ssm", "dsm", "pcd"))
N_FIXED = 8192
N_BATCH = 256  # events of a step
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
        fresh = [(objective, dataset, False) for objective in METHODS for dataset in self.datasets]
        return fresh + [(*cell, True) for cell in self.fixed]

    @property
    def rows(self) -> Path:
        return self.results / "benchmark.jsonl"


FULL = Plan(45.0, DATASETS, FIXED, ROOT / "outputs" / "benchmark", ROOT / "results")
BRIEF = ROOT / "outputs" / "benchmark-quick"
QUICK = Plan(2.0, ("moons", "twentyfive_gaussians"), tuple(cell for cell in FIXED if "moons" in cell), BRIEF, BRIEF)


def words(objective: str, dataset: str, *, fixed: bool) -> list[str]:
    """The words of a method, without those that set its number of steps."""
    own = ADDED.get(objective, (f"objective={objective}",))
    energy = () if "energy=reference" in own else (f"energy={LADDER.get(objective, ENERGY)}",)
    line = [f"dataset={dataset}", *own, *energy, "experiment=benchmark2d"]
    return [*line, *([f"dataset.n_train={N_FIXED}"] if fixed else [])]


def budget(objective: str, seconds: float) -> list[str]:
    """The words that set the number of steps within a budget. The mixture alone has no steps."""
    if objective == MIXTURE:
        return []
    n = n_steps(objective, seconds)
    if objective == FLOW:
        return [f"reference.n_steps={n}", f"reference.patience={n}", f"dataset.n_train={n * N_BATCH}"]
    return [f"trainer.n_steps={n}", f"trainer.evaluate_every={max(n // N_POINTS, 1)}"]


def work(objective: str, dataset: str) -> Callable[[int], None]:
    """A function that takes n steps of a method."""
    line = [*words(objective, dataset, fixed=False), "seed=100"]
    if objective == FLOW:
        return lambda n: Experiment.of(compose.compose([*line, f"reference.n_steps={n}", f"dataset.n_train={n * N_BATCH}"])).trainer()
    trainer = Experiment.of(compose.compose(line)).trainer()
    return lambda n: [trainer.step() for _ in range(n)]


def seconds_of(steps: Callable[[int], None], n: int) -> float:
    """The processor time of a step."""
    start = time.process_time()
    steps(n)
    return (time.process_time() - start) / n


def calibrate(*, rounds: int = 5, n: int = 40) -> None:
    """Measure the median seconds per step of every cell, sequentially on one thread; stored cells are skipped."""
    torch.set_num_threads(1)
    found = json.loads(STEPS.read_text()) if STEPS.exists() else {}
    for objective, dataset, fixed in FULL.cells():
        key, beside = f"{dataset} {objective}", objective in ADDED
        if key in found or fixed or objective == MIXTURE or (beside and dataset not in TIMED_ON):
            continue
        start = time.process_time()
        methods = [work(objective, dataset), *([work("nce", dataset)] if beside else [])]
        fit = time.process_time() - start
        for steps in methods:
            steps(20)
        times = [[seconds_of(steps, n) for steps in methods] for _ in range(rounds)]
        faster = found[f"{dataset} nce"] / statistics.median(row[1] for row in times) if beside else 1.0
        found[key] = round(statistics.median(row[0] for row in times) * faster, 6)
        if objective in FITTED:
            found[f"{key} (fit)"] = round(fit * faster, 3)
        print(f"{key}: {1e3 * found[key]:.3f} ms", flush=True)
        STEPS.write_text(json.dumps(found, indent=1) + "\n")


def seconds_per_step(objective: str) -> float:
    """The median over datasets; they differ by less than the noise of the machine."""
    return median_of(objective)


def median_of(method: str) -> float:
    """The median over datasets of a stored number; 0 if there is none."""
    found = [seconds for key, seconds in json.loads(STEPS.read_text()).items() if key.partition(" ")[2] == method]
    return statistics.median(found) if found else 0.0


def n_steps(objective: str, seconds: float) -> int:
    """The number of steps that the budget allows after the fit of the reference, rounded to two digits."""
    left = seconds - (median_of(f"{objective} (fit)") if objective in FITTED else 0.0)
    return max(int(float(f"{left / seconds_per_step(objective):.2g}")), 2 * N_POINTS)


def group(*, fixed: bool) -> str:
    return "benchmark2d-fixed" if fixed else "benchmark2d"


def train(cell: tuple[str, str, bool], plan: Plan) -> list[dict]:
    """Train the seeds of a cell sequentially as a sweep, and return a row for each."""
    objective, dataset, fixed = cell
    line = [*words(objective, dataset, fixed=fixed), *budget(objective, plan.seconds)]
    line += [f"seed={','.join(map(str, SEEDS))}", f"group={group(fixed=fixed)}", "hydra.launcher.cpu_jobs=1"]
    environ = os.environ | {"EBM_OUTPUTS": str(plan.outputs), "OMP_NUM_THREADS": "1"}
    command = [Path(sys.executable).with_name("ebm"), "train", "-m", *line]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    if "Results saved to " not in done.stdout:  # an invalid line, or the machine stopped the process
        sys.exit(done.stderr)
    sweep = json.loads((Path(done.stdout.rpartition("Results saved to ")[2].split("\n")[0])).read_text())
    rows = []
    for run in (Run(Path(outcome["path"])) for outcome in sweep["runs"] if outcome["path"]):
        every, n = (run.config()["trainer"][key] for key in ("evaluate_every", "n_steps"))
        evaluated = [(logged["step"], logged.get("kl")) for logged in run.rows() if logged["step"] % every == 0 or logged["step"] == n]
        curve = [[step, kl and round(kl, 6)] for step, kl in evaluated] if n else []
        found = {"dataset": dataset, "fixed": fixed, "kl": None, **row(run, KEPT), "curve": curve, "made_by": made_by(run)}
        rows.append(found | {"objective": objective})
    return rows


def run(plan: Plan) -> None:
    """Train every cell that is not stored yet."""
    stored = [json.loads(line) for line in plan.rows.read_text().splitlines()] if plan.rows.exists() else []
    done = {(row["objective"], row["dataset"], row["fixed"]) for row in stored}
    left = [cell for cell in plan.cells() if cell not in done]
    plan.results.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(int(os.environ.get("WORKERS", len(os.sched_getaffinity(0))))) as pool:
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

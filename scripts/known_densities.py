"""KL divergences in many dimensions: objectives on data of known density, with 60 s of one core for each model.

    python scripts/known_densities.py run [N]      train and measure at most N further cells (all), into results/known_densities.json
    python scripts/known_densities.py report       write results/known_densities.md

The energies are tilted by a mixture of Gaussians, which is fitted to 10,000 draws. Then each batch has new draws. `reference` is that
mixture alone, without an energy-based model, and `truth` is the density of the data as a model (energy=exact), whose KL divergence must be
0. The rows `1 nat` and `5 nats` compare Gaussians whose KL divergence is known. `kl` is measured by bridge sampling between exact draws of
the data and chains of the model; a reason stands in place of a number that cannot be trusted. In 784 dimensions only the cells of HIGH are
measured.

The number of steps is what 60 s allow on the machine that calibrated results/benchmark_steps.json, after the fit of the mixture. In each
cell the processor time of a step is measured in turns with a step of `nce` on moons, and the ratio of both is multiplied by the stored
seconds of the latter: neither another machine nor other processes change the budget by much. A finished cell is stored with its number of
steps and its commit, and is skipped from then on, so the work can be continued on another machine.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from benchmark import STEPS, seconds_of, work
from log_z_coverage import KnownMixture
from measured import ROOT
from torch import nn

from ebm_cli.config import compose, option_files, schema
from ebm_cli.core.contracts import Dataset
from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.energies.exact import Exact
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runs import provenance
from ebm_cli.runs.run import Run

RESULTS = ROOT / "results" / "known_densities.json"
OUTPUTS = ROOT / "outputs" / "known_densities"
SECONDS, SEED = 60.0, 0
DIMENSIONS = (10, 30, 64)
DATASETS = ("full_mixture", "ica", "many_well", "copula")
METHODS = {  # the words of each method after those of `line`
    "reference": ("energy=reference",),
    "nce": ("objective=nce",),
    "pcd": ("objective=pcd",),
    "ssm": ("objective=ssm",),
    "dsm": ("objective=dsm", "objective.sigma=0.1"),
    "energy_discrepancy": ("objective=energy_discrepancy",),
    "cnce": ("objective=cnce",),
}
PAIRS = {"1 nat": 1.0, "5 nats": 5.0}
HIGH = (("full_mixture", 784, "reference"), ("ica", 784, "reference"), ("ica", 784, "nce"), ("ica", 784, "truth"))
KEPT = ("kl", "kl_error", "fisher", "fisher_error", "bridge_overlap", "log_z", "log_z_error", "importance_ess", "n_steps")

Cell = tuple[str, int, str]


def cells() -> list[Cell]:
    """Every cell as (dataset, dimension, method), in the order in which they are measured."""
    exact = [("gaussian", d, name) for d in DIMENSIONS for name in PAIRS] + [(name, d, "truth") for d in DIMENSIONS for name in DATASETS]
    trained = [(name, d, method) for method in METHODS for d in DIMENSIONS for name in DATASETS]
    return [*exact, *trained, *HIGH]


def line(cell: Cell) -> list[str]:
    """The words of a cell, without its number of steps."""
    dataset, d, method = cell
    common = ["reference=mixture", "draws.reference_every=5", "metric=[bridge,fisher,importance]", "figure=[]", "device=cpu"]
    return [f"dataset={dataset}", f"dataset.dim={d}", *METHODS[method], *common, f"seed={SEED}"]


def n_steps(seconds: float, fit: float, step: float) -> int:
    """The steps that fit into a budget after the fit of the reference, rounded down to two digits; at least 10."""
    n = max((seconds - fit) / step, 10.0)
    unit = 10 ** (math.floor(math.log10(n)) - 1)
    return int(n / unit) * unit


def measured_steps(cell: Cell, *, rounds: int = 3, n: int = 20) -> int:
    """The number of steps of a cell, from times that are measured in turns with those of `nce` on moons."""
    start = time.process_time()
    trainer = Experiment.of(compose.compose(line(cell))).trainer()
    fit, beside = time.process_time() - start, work("nce", "moons")

    def own(n: int) -> None:
        for _ in range(n):
            trainer.step()

    own(5)
    beside(5)
    times = [(seconds_of(own, n), seconds_of(beside, n)) for _ in range(rounds)]
    faster = json.loads(STEPS.read_text())["moons nce"] / statistics.median(row[1] for row in times)
    return n_steps(SECONDS, fit * faster, statistics.median(row[0] for row in times) * faster)


def trained(cell: Cell) -> dict:
    """Train a cell with the command, and return the numbers of its summary and the reasons for those that it lacks."""
    words = line(cell)
    if cell[2] != "reference":
        n = measured_steps(cell)
        words += [f"trainer.n_steps={n}", f"trainer.evaluate_every={n}"]
    environ = os.environ | {"EBM_OUTPUTS": str(OUTPUTS), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([Path(sys.executable).with_name("ebm"), "train", *words], env=environ, capture_output=True, text=True)
    path = done.stdout.rpartition("Results saved to ")[2].partition("\n")[0]
    if not path:
        sys.exit(done.stderr)
    summary = Run(Path(path)).read("summary.json")
    return {key: summary.get(key) for key in KEPT} | {"reason": summary["reasons"].get("kl", "")}


def of_exact(cell: Cell) -> dict:
    """The numbers of a model that is the density of the data, from draws of the data in place of chains."""
    dataset = dataset_of(cell[0], cell[1])
    return measured(dataset, Exact(dataset=dataset), dataset.draw(10_000, Rng(SEED).at("truth")).unflatten(0, (1000, 10)))


def of_pair(cell: Cell) -> dict:
    """The numbers of two Gaussians of one covariance A A', whose means differ by A v with |v|^2 = 2 KL."""
    dataset, nats = dataset_of("full_mixture", cell[1], "dataset.n_components=1"), PAIRS[cell[2]]
    factor = dataset.components()[2].float()
    shift = torch.full((cell[1],), (2 * nats / cell[1]) ** 0.5)
    model = KnownMixture(torch.zeros(1), (factor @ shift.unsqueeze(-1)).squeeze(-1), factor, 0.0)
    return measured(dataset, model, model.draw(50_000, Rng(SEED), "pair").unflatten(0, (1000, 50)))


def dataset_of(name: str, d: int, *words: str) -> Dataset:
    return Experiment.of(compose.compose([f"dataset={name}", f"dataset.dim={d}", "device=cpu", *words])).dataset


def measured(dataset: Dataset, energy: nn.Module, samples: torch.Tensor) -> dict:
    """The KL divergence of a model from its samples."""
    model, params = Model(energy, event_ndim=1, stacked=False), {name: value.detach() for name, value in tensors(energy).items()}
    node = option_files.node_of(option_files.groups()["metric"]["bridge"].path)
    metric = schema.build(schema.check_node(node, "metric.bridge", Metric, []))
    found = metric(MetricContext(model, params, dataset, Rng(SEED), samples))
    if isinstance(found, str):
        return {"kl": None, "reason": found}
    number = isinstance(found["kl"], float)
    return {key: found[key] for key in ("kl", "kl_error", "bridge_overlap")} if number else {"kl": None, "reason": found["kl"]}


def measure(cell: Cell) -> dict:
    """The row of a cell."""
    start = time.process_time()
    found = of_exact(cell) if cell[2] == "truth" else of_pair(cell) if cell[2] in PAIRS else trained(cell)
    git, times = provenance.git(), os.times()
    commit = git.get("commit", "?")[:10] + ("+" if git.get("dirty") else "")
    seconds = time.process_time() - start + times.children_user + times.children_system
    numbers = {key: round(value, 6) if isinstance(value, float) else value for key, value in found.items()}
    return {"dataset": cell[0], "dim": cell[1], "method": cell[2], **numbers, "processor_seconds": round(seconds, 1), "commit": commit}


def stored() -> list[dict]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


def key(row: dict) -> Cell:
    return row["dataset"], row["dim"], row["method"]


def run(most: int | None) -> None:
    """Measure the cells that are missing, each in its own process."""
    done = {key(row) for row in stored()}
    for cell in [cell for cell in cells() if cell not in done][:most]:
        made = subprocess.run([sys.executable, __file__, "cell", *map(str, cell)], capture_output=True, text=True)
        if made.returncode:
            print(f"{cell}: {made.stderr}", flush=True)
            continue
        row = json.loads(made.stdout.strip().splitlines()[-1])
        place = {known: i for i, known in enumerate(cells())}
        rows = sorted([*stored(), row], key=lambda row: place[key(row)])
        RESULTS.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
        print(*cell, row.get("kl"), row.get("kl_error"), row.get("reason", ""), flush=True)


def shown(row: dict | None) -> str:
    """KL and half of its 95 % interval; `refused` if there is a reason in place of the number; `-` if the cell was not measured."""
    if row is None:
        return "-"
    return "refused" if row.get("kl") is None else f"{row['kl']:.4f} ± {row['kl_error']:.4f}"


def report(rows: list[dict]) -> str:
    """The table of the KL divergences in Markdown, with the reasons of refusals."""
    known = {key(row): row for row in rows}
    columns = [(name, d) for d in (*DIMENSIONS, 784) for name in ("gaussian", *DATASETS) if any(key(row)[:2] == (name, d) for row in rows)]
    methods = [method for method in ("truth", *PAIRS, *METHODS) if any(row["method"] == method for row in rows)]
    lines = [f"| data | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    lines += [f"| `{name}`, {d} | {' | '.join(shown(known.get((name, d, method))) for method in methods)} |" for name, d in columns]
    refused = [f"- `{row['dataset']}`, {row['dim']}, {row['method']}: {row['reason']}" for row in rows if row.get("kl") is None]
    commits = ", ".join(sorted({row["commit"] for row in rows}))
    what = f"KL divergence in nats ± half the 95 % interval, seed {SEED}. A dash: not measured yet"
    made = f"{what}. Made by `make benchmark-densities` at {commits}."
    return "\n".join([*lines, "", *(["Refused:", "", *refused, ""] if refused else []), made]) + "\n"


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "report", "cell"])
    parser.add_argument("job", nargs="*")
    given = parser.parse_args()
    if given.what == "cell":
        dataset, d, method = given.job
        print(json.dumps(measure((dataset, int(d), method))))
    elif given.what == "run":
        run(int(given.job[0]) if given.job else None)
    else:
        RESULTS.with_suffix(".md").write_text(report(stored()))


if __name__ == "__main__":
    main()

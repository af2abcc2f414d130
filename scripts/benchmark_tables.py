"""Writes the tables and the figure of the benchmark from results/benchmark.jsonl and its runs.

    python scripts/benchmark_tables.py [--quick]

It writes results/benchmark.md and, if the runs exist in outputs/benchmark, results/benchmark.png with the true densities and those of the
best run of a few objectives. No setting was chosen with these numbers: no search has used these seeds.
"""

import itertools
import json
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import measured
import numpy as np
import torch
from benchmark import DATASETS, FLOW, FULL, METHODS, MIXTURE, QUICK, SEEDS, Plan, group, seconds_per_step
from matplotlib.figure import Figure

from ebm_cli.config import schema
from ebm_cli.core.student_t import interval
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs.run import Run

Rows = list[dict]
SHOWN = ("exact", "nce", "ssm", "pcd", "dsm")  # the rows of the figure
EVALUATIONS = ("n_energy_evaluations", "n_score_evaluations", "n_hvp_evaluations")
EVALUATIONS_PER_S = 1.5e6 / 45  # for the table at equal evaluations: half of those that the slowest objective makes in its time


def cell(rows: Rows, key: str = "kl") -> str:
    """The mean over seeds and half of its 95 % t interval, or `-` and the number of seeds without a value."""
    values = [row.get(key) for row in rows]
    if not values or None in values:
        return f"- ({values.count(None)} of {len(values)})" if any(values) else "-"
    half = interval(values)
    return f"{statistics.mean(values):.4f}" + (f" ± {(half[1] - half[0]) / 2:.4f}" if half else "")


def table(rows: Rows, of: Callable[[Rows], str]) -> str:
    """A Markdown table of objectives (rows) and datasets (columns).

    The smallest number of a column, apart from `exact`, is bold up to the first semicolon of its cell; so are cells with the same number.
    """
    datasets, objectives = (tuple(dict.fromkeys(row[key] for row in rows)) for key in ("dataset", "objective"))
    cells = {
        (objective, dataset): of([row for row in rows if (row["objective"], row["dataset"]) == (objective, dataset)])
        for objective in objectives
        for dataset in datasets
    }
    for dataset in datasets:
        ranked = [objective for objective in objectives if objective != "exact" and cells[objective, dataset][0] != "-"]
        numbers = {objective: float(cells[objective, dataset].split()[0]) for objective in ranked}
        for objective in [objective for objective in ranked if numbers[objective] == min(numbers.values())]:
            best, *more = cells[objective, dataset].split(";")
            cells[objective, dataset] = ";".join([f"**{best}**", *more])
    lines = [["objective", *datasets], ["---"] * (len(datasets) + 1)]
    lines += [[f"`{objective}`", *(cells[objective, dataset] for dataset in datasets)] for objective in objectives]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def at_equal_evaluations(rows: Rows, budget: float) -> str:
    """The KL at the step that a budget of evaluations allows, read off the curve of each seed. Seeds without a final KL have none."""
    found = []
    for row in rows:
        kl = None
        if row["kl"] is not None:
            kl = read_off(row["curve"], budget * row["n_steps"] / sum(row[key] for key in EVALUATIONS))
        found.append({"kl": kl})
    return cell(found)


def read_off(curve: list, step: float) -> float | None:
    """The KL at a step, with log KL interpolated linearly between two points; None outside the curve or next to a missing point."""
    for (before, low), (after, high) in itertools.pairwise(curve):
        if before <= step <= after and low and high:
            return low * (high / low) ** ((step - before) / (after - before))
    return None


def share(rows: Rows, budget: float) -> str:
    """The fraction of the schedule that a budget of evaluations allows."""
    return f"{budget / sum(rows[0][key] for key in EVALUATIONS):.0%}"


def costs(rows: Rows, budget: float) -> str:
    """The costs of each objective: steps, calibrated seconds, measured seconds (on a loaded machine), millions of evaluations."""
    heads = ["objective", "steps", "ms per step", "seconds", "as measured", "energies", "scores", "Hessian-vector products"]
    heads += [f"of the schedule at {budget / 1e6:.2g} million"]
    lines = [heads, ["---"] * len(heads)]
    for objective in dict.fromkeys(row["objective"] for row in rows):
        own = [row for row in rows if row["objective"] == objective and row.get("n_steps")]
        if not own:  # all of them diverged, or the method is a reference alone
            continue
        n, step = own[0]["n_steps"], seconds_per_step(objective)
        measured_s = statistics.median(row["train_seconds"] for row in own)
        counts = [f"{own[0][key] / 1e6:.3g}" for key in EVALUATIONS]
        lines.append([f"`{objective}`", str(n), f"{1e3 * step:.2f}", f"{n * step:.1f}", f"{measured_s:.0f}", *counts, share(own, budget)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ordered(rows: Iterable[dict]) -> Rows:
    place = {"objective": METHODS.index, "dataset": DATASETS.index}
    return sorted(rows, key=lambda row: (place["dataset"](row["dataset"]), place["objective"](row["objective"]), row["seed"]))


def read(path: Path) -> tuple[Rows, Rows]:
    """The rows on fresh draws and those on fixed points."""
    rows = ordered(json.loads(line) for line in path.read_text().splitlines())
    return [row for row in rows if not row["fixed"]], [row for row in rows if row["fixed"]]


def maker(rows: Rows) -> str:
    commits = sorted({commit for row in rows for commit in row["made_by"]["commits"]})
    made = measured.maker(rows[0]["made_by"] | {"commits": commits})
    seeds = f"Mean over seeds {', '.join(map(str, SEEDS))} ± half the width of the 95 % t interval"
    dash = "A dash: some seeds have no value, usually for lack of log Z; `- (2 of 3)` if two of three have none, `-` alone if all"
    return f"{seeds}. {dash}. Made by `make benchmark` at {made}."


def markdown(fresh: Rows, fixed: Rows, *, seconds: float) -> str:
    budget = EVALUATIONS_PER_S * seconds
    parts = {
        "At equal time": (f"Exact KL (nats) after {seconds:.0f} s of one core per model, on fresh draws.", table(fresh, cell)),
        "At equal evaluations": (
            f"Exact KL (nats) after {budget / 1e6:.2g} million evaluations (energies, scores and Hessian-vector products count equally), "
            "read off the curves of the same runs. At that point the learning rate was not yet annealed; the last column of the costs "
            "shows the fraction of the schedule.",
            table([row for row in fresh if row["objective"] not in (MIXTURE, FLOW)], lambda rows: at_equal_evaluations(rows, budget)),
        ),
        "Mode weights": (
            "Total variation distance between the mode weights of the model's density and the true weights.",
            table(fresh, lambda rows: cell(rows, "mode_weight_error_density")),
        ),
        "Samples": (
            "Sliced Wasserstein distance (in the units of the data) between 10,000 draws and test points; between two sets of data it is "
            "0.01 to 0.07. The draws are from chains (MALA; `langevin` for `cd` and `recovery`, `sgld` for `short_run`) that start in a "
            "single wide Gaussian and cannot move between distant modes; for `dsm_multi` they are from annealing over its noise levels.",
            table(fresh, lambda rows: cell(rows, "sliced_wasserstein")),
        ),
        "Costs": (
            "256 data points per step; evaluations in millions. The critic of `lsd` is not counted.",
            costs(fresh, budget),
        ),
    }
    if fixed:
        parts["On fixed points"] = (
            "After the same time on 8,192 points: exact KL (nats); generalization gap (NLL of test points minus NLL of training points, "
            "in nats; it needs no log Z).",
            table(fixed, lambda rows: f"{cell(rows)}; {cell(rows, 'generalization_gap')}"),
        )
    sections = [f"## {head}\n\n{text}\n\n{body}\n" for head, (text, body) in parts.items()]
    return "\n".join(["# Benchmark\n", *sections, maker(fresh + fixed), ""])


def density(runs: Path, dataset: str, objective: str | None) -> tuple[np.ndarray, tuple] | None:
    """The density on a grid and the box: the true density, or that of the best seed; None if there is no run or no log Z."""
    found = [Run(path.parent) for path in runs.glob(f"{dataset}-{objective or 'exact'}-s*/summary.json")]
    found = [run for run in found if run.read("environment.json")["group"] == group(fixed=False)]
    found = [run for run in found if run.read("summary.json").get("kl") is not None]
    if not found:
        return None
    run = min(found, key=lambda run: run.read("summary.json")["kl"])
    trained, data = TrainedModel.load(run, torch.device("cpu")).select(0), schema.build(run.config()["dataset"])
    log_z = run.read("summary.json")["log_z"]
    scene = trained.scene(data, torch.zeros(1, 1, 2), log_z, "")
    _, _, points = scene.grid()
    values = data.log_prob(points).exp().numpy() if objective is None else np.exp(-scene.energy(points) - log_z)
    n = round(len(points) ** 0.5)
    return values.reshape(n, n), scene.box


def picture(runs: Path, path: Path) -> None:
    columns = [dataset for dataset in DATASETS if density(runs, dataset, None)]
    figure = Figure(figsize=(1.9 * len(columns), 1.9 * (1 + len(SHOWN)) + 0.3), layout="compressed")
    axes = figure.subplots(1 + len(SHOWN), len(columns), squeeze=False)
    for column, dataset in enumerate(columns):
        true, box = density(runs, dataset, None)
        for row, objective in enumerate((None, *SHOWN)):
            axis, found = axes[row, column], density(runs, dataset, objective)
            axis.set(xticks=[], yticks=[])
            if found is None:
                axis.text(0.5, 0.5, "no log Z", ha="center", va="center", transform=axis.transAxes)
            else:
                axis.imshow(found[0], origin="lower", extent=(*box[0], *box[1]), vmin=0, vmax=true.max(), cmap="magma", aspect="auto")
            axis.set_box_aspect(1)
            if row == 0:
                axis.set_title(dataset, fontsize="medium")
            if column == 0:
                axis.set_ylabel(objective or "truth")
    figure.savefig(path, dpi=80, bbox_inches="tight")


def write(plan: Plan) -> None:
    (plan.results / "benchmark.md").write_text(markdown(*read(plan.rows), seconds=plan.seconds))
    if (plan.outputs / "runs").exists():
        picture(plan.outputs / "runs", plan.results / "benchmark.png")


if __name__ == "__main__":
    write(QUICK if "--quick" in sys.argv else FULL)

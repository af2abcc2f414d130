"""The tables and the picture of the benchmark, from results/benchmark.jsonl and the runs behind it.

    python scripts/benchmark_tables.py [--quick]

writes results/benchmark.md and, where the runs are at hand under outputs/benchmark, results/benchmark.png: the true densities, and those of
the best run of a few objectives. Nothing is chosen on these numbers: they are of seeds that no search has seen.
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
from benchmark import DATASETS, FULL, OBJECTIVES, QUICK, SEEDS, Plan, group, seconds_per_step
from matplotlib.figure import Figure

from ebm_cli.config import schema
from ebm_cli.core.student_t import interval
from ebm_cli.runner import plots
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs.run import Run

Rows = list[dict]
SHOWN = ("exact", "nce", "ssm", "pcd", "dsm")  # of the picture
EVALUATIONS = ("n_energy_evaluations", "n_score_evaluations", "n_hvp_evaluations")
EVALUATIONS_PER_S = 1.5e6 / 45  # of the table at equal evaluations: half of what the dearest step can spend in its time


def cell(rows: Rows, key: str = "kl") -> str:
    """Mean and half the width of its 95 % t interval over seeds; where a seed has no number there is no mean: how many have none."""
    values = [one.get(key) for one in rows]
    if not values or None in values:
        return f"- ({values.count(None)} of {len(values)})" if any(values) else "-"
    half = interval(values)
    return f"{statistics.mean(values):.4f}" + (f" ± {(half[1] - half[0]) / 2:.4f}" if half else "")


def table(rows: Rows, of: Callable[[Rows], str]) -> str:
    """Objectives down, datasets across; the best of a column but `exact` in bold, by the number that it begins with, if it does, up to a
    semicolon; all that are the same as printed."""
    datasets, objectives = (tuple(dict.fromkeys(one[key] for one in rows)) for key in ("dataset", "objective"))
    cells = {
        (objective, dataset): of([one for one in rows if (one["objective"], one["dataset"]) == (objective, dataset)])
        for objective in objectives
        for dataset in datasets
    }
    for dataset in datasets:
        numbers = {one: float(cells[one, dataset].split()[0]) for one in objectives if one != "exact" and cells[one, dataset][0] != "-"}
        for one in [one for one in numbers if numbers[one] == min(numbers.values())]:
            best, *more = cells[one, dataset].split(";")
            cells[one, dataset] = ";".join([f"**{best}**", *more])
    lines = [["objective", *datasets], ["---"] * (len(datasets) + 1)]
    lines += [[f"`{objective}`", *(cells[objective, dataset] for dataset in datasets)] for objective in objectives]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def at_equal_evaluations(rows: Rows, budget: float) -> str:
    """The KL of each seed's curve at the step which a budget of evaluations pays for; none of a seed that has none at its end."""
    found = []
    for one in rows:
        kl = None
        if one["kl"] is not None:
            kl = read_off(one["curve"], budget * one["n_steps"] / sum(one[key] for key in EVALUATIONS))
        found.append({"kl": kl})
    return cell(found)


def read_off(curve: list, step: float) -> float | None:
    """Between two points of a curve log KL is a straight line; no number outside them, or where one of them has none."""
    for (before, low), (after, high) in itertools.pairwise(curve):
        if before <= step <= after and low and high:
            return low * (high / low) ** ((step - before) / (after - before))
    return None


def share(rows: Rows, budget: float) -> str:
    """How much of their schedule is behind them after a budget of evaluations."""
    return f"{budget / sum(rows[0][key] for key in EVALUATIONS):.0%}"


def costs(rows: Rows, budget: float) -> str:
    """Steps, calibrated seconds of them all, measured seconds (with whatever else the machine had to do), and millions of evaluations."""
    heads = ["objective", "steps", "ms per step", "seconds", "as measured", "energies", "scores", "Hessian-vector products"]
    heads += [f"of the schedule at {budget / 1e6:.2g} million"]
    lines = [heads, ["---"] * len(heads)]
    for objective in dict.fromkeys(one["objective"] for one in rows):
        own = [one for one in rows if one["objective"] == objective and "n_steps" in one]
        if not own:  # all of them diverged
            continue
        n, step = own[0]["n_steps"], seconds_per_step(objective)
        measured_s = statistics.median(one["train_seconds"] for one in own)
        counts = [f"{own[0][key] / 1e6:.3g}" for key in EVALUATIONS]
        lines.append([f"`{objective}`", str(n), f"{1e3 * step:.2f}", f"{n * step:.1f}", f"{measured_s:.0f}", *counts, share(own, budget)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ordered(rows: Iterable[dict]) -> Rows:
    place = {"objective": OBJECTIVES.index, "dataset": DATASETS.index}
    return sorted(rows, key=lambda one: (place["dataset"](one["dataset"]), place["objective"](one["objective"]), one["seed"]))


def read(path: Path) -> tuple[Rows, Rows]:
    """The rows on fresh draws and those on fixed points."""
    rows = ordered(json.loads(line) for line in path.read_text().splitlines())
    return [one for one in rows if not one["fixed"]], [one for one in rows if one["fixed"]]


def maker(rows: Rows) -> str:
    commits = sorted({commit for one in rows for commit in one["made_by"]["commits"]})
    made = measured.maker(rows[0]["made_by"] | {"commits": commits})
    seeds = f"Mean over seeds {', '.join(map(str, SEEDS))} ± half of the 95 % t interval"
    dash = "-: there is no log Z (of so many of the seeds, where not of all)"
    return f"{seeds}; {dash}. Made by `make benchmark` at {made}."


def markdown(fresh: Rows, fixed: Rows, *, seconds: float) -> str:
    budget = EVALUATIONS_PER_S * seconds
    parts = {
        "At equal time": (f"Exact KL (nats) after {seconds:.0f} s of one core for each model, on fresh draws.", table(fresh, cell)),
        "At equal evaluations": (
            f"Exact KL (nats) after {budget / 1e6:.2g} million evaluations (energies, scores and Hessian-vector products, each as one), "
            "read off the same curves. Their middle points are not annealed: the learning rate was still high (the costs' last column says "
            "how high).",
            table(fresh, lambda rows: at_equal_evaluations(rows, budget)),
        ),
        "Mode weights": (
            "Total variation between the modes' weights under the model's density and the true ones.",
            table(fresh, lambda rows: cell(rows, "mode_weight_error_density")),
        ),
        "Samples": (
            "Sliced Wasserstein distance (in the data's units) of 10,000 draws to test points; two sets of data are 0.01 to 0.07 apart. "
            "Draws are MALA's, whose chains start in one wide Gaussian and cannot cross between far modes; of `dsm_multi` they come down "
            "its ladder of noise, of `short_run` they are its own short chains.",
            table(fresh, lambda rows: cell(rows, "sliced_wasserstein")),
        ),
        "What they cost": (
            "256 data points a step; millions of evaluations. The critic that `lsd` trains besides is not counted.",
            costs(fresh, budget),
        ),
    }
    if fixed:
        parts["On fixed points"] = (
            "After the same time on 8,192 points: exact KL (nats); generalization gap (nats by which the training points are fitted better "
            "than test points; it needs no log Z).",
            table(fixed, lambda rows: f"{cell(rows)}; {cell(rows, 'generalization_gap')}"),
        )
    sections = [f"## {head}\n\n{text}\n\n{body}\n" for head, (text, body) in parts.items()]
    return "\n".join(["# Benchmark\n", *sections, maker(fresh + fixed), ""])


def density(runs: Path, dataset: str, objective: str | None) -> tuple[np.ndarray, tuple] | None:
    """On the grid of a picture: the true one, or that of the best seed's run; None where there is no run or no log Z."""
    rows = [Run(path.parent) for path in runs.glob(f"{dataset}-{objective or 'exact'}-s*/summary.json")]
    rows = [one for one in rows if one.read("environment.json")["group"] == group(fixed=False)]
    rows = [one for one in rows if one.read("summary.json").get("kl") is not None]
    if not rows:
        return None
    run = min(rows, key=lambda one: one.read("summary.json")["kl"])
    trained, data = TrainedModel.load(run, torch.device("cpu")).select(0), schema.build(run.config()["dataset"])
    log_z = run.read("summary.json")["log_z"]
    scene = plots.Scene(trained, data, torch.zeros(1, 1, 2), log_z, [], "")
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

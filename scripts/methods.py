"""Trains every objective with its defaults on moons and on twenty-five Gaussians, with seeds that no search for defaults has used.

    python scripts/methods.py [key=value ...]

The script runs one sweep per dataset, with one thread per job; it continues a sweep that was interrupted. Additional words are added to
the lines or replace those that set the same key (for a trial: objective=nce trainer.n_steps=200 group=trial); nothing is written then.
The numbers are stored in results/methods.json with the commit and the versions that made them. The exit code is 1 if a bound is missed.
Exact metrics are in nats; seconds are those of training.
"""

import json
import shutil
import sys
from statistics import mean

import torch
from measured import ROOT, made_by, row, sweep, with_words

from ebm_cli.config import compatibility, schema
from ebm_cli.datasets.moons import Moons
from ebm_cli.metrics.quadrature import true_log_prob
from ebm_cli.runs.run import Run

RESULTS = ROOT / "results" / "methods.json"
OUTPUTS = ROOT / "outputs" / "methods"
NODES = compatibility.options("objective", [])
OBJECTIVES = sorted(name for name, node in NODES.items() if not compatibility.requires(node, "objective") & {"binary", "discrete"})
DATASETS = ("moons", "twentyfive_gaussians")
SEEDS = (0, 1, 2)
LINE = ("metric=[quadrature,mode_weights,sliced_wasserstein]", f"seed={','.join(map(str, SEEDS))}", "device=cpu")
KEPT = ("kl", "log_z_error", "mode_weight_error", "mode_weight_error_density", "sliced_wasserstein", "train_seconds", "n_steps")
KEPT += ("n_energy_evaluations", "n_score_evaluations", "n_hvp_evaluations", "log_z", "log_z_learned", "temperature")
PICTURED = ("ssm", 0)  # the run on moons whose figure the README shows
FAST = {"kl": 0.03, "train_seconds": 90}
BOUNDS = {  # upper bounds of means over seeds
    "moons": {
        **dict.fromkeys(("exact", "ism", "ssm", "fd_ssm", "energy_discrepancy"), FAST),
        "nce": FAST | {"log_z_gap": 0.05},
        "cnce": FAST | {"kl": 0.05},
        **dict.fromkeys(("lsd", "ksd"), FAST | {"kl": 0.10}),
        "pcd": {"kl": 0.08, "train_seconds": 180},
        **{key: {"kl": 0.15, "train_seconds": 180} for key in ("mle", "recovery")},
        "dsm": {"kl_above_smoothed": 0.02, "train_seconds": 90},
    },
    "twentyfive_gaussians": {
        **{key: {"kl": 0.03} for key in ("nce", "cnce", "energy_discrepancy")},
        "dsm_multi": {"mode_weight_error": 0.05},
    },
}


def smoothed(dataset: Moons, sigma: float) -> float:
    """KL(p || p * N(0, sigma^2 I)) of moons: the best KL of denoising at sigma. Smoothed moons are moons with more noise."""
    wider = Moons(n_train=None, noise=(dataset.noise**2 + sigma**2) ** 0.5, scale=dataset.scale)
    box, spacing = tuple(wider.box), 0.25 * dataset.noise
    p, q = (true_log_prob(moons, box, spacing) for moons in (dataset, wider))
    weight = p.exp()
    return ((weight * (p - q)).sum() / weight.sum()).item()


def measured(run: Run) -> dict:
    """The stored numbers of a run."""
    found = row(run, KEPT)
    if found.get("log_z_learned") is not None:
        found["log_z_gap"] = round(abs(found["log_z_learned"] - found["log_z"]), 4)
    if found["objective"] == "dsm" and found.get("kl") is not None:
        values = run.config()
        data = schema.build(values["dataset"])
        if isinstance(data, Moons):
            found["kl_above_smoothed"] = round(found["kl"] - smoothed(data, values["objective"]["sigma"]), 6)
    return found


def missed(dataset: str, rows: list[dict]) -> list[str]:
    """The bounds that are missed."""
    faults = []
    for objective, limits in BOUNDS[dataset].items():
        own = [row for row in rows if row["objective"] == objective]
        for key, limit in limits.items() if own else ():
            values = [row.get(key) for row in own]
            if None in values or mean(values) > limit:
                faults.append(f"{dataset} {objective}: {key} {values} > {limit}")
    return faults


def main() -> int:
    torch.set_num_threads(1)
    words, rows, faults, every = sys.argv[1:], {}, [], []
    for dataset in DATASETS:
        line = [f"objective={','.join(OBJECTIVES)}", f"dataset={dataset}", f"group=methods-{dataset}", *LINE]
        runs = [run for _, run in sweep(with_words(line, words), OUTPUTS)]
        rows[dataset] = [measured(run) for run in runs]
        every += runs
        faults += missed(dataset, rows[dataset])
        for run, numbers in zip(runs, rows[dataset], strict=True):
            if not words and dataset == "moons" and (numbers["objective"], numbers["seed"]) == PICTURED:
                shutil.copy(run.figures / "density.png", RESULTS.parent / f"moons-{numbers['objective']}-density.png")
    if not words:
        RESULTS.write_text(json.dumps({"made_by": made_by(*every), "missed": faults, "rows": rows}, indent=1) + "\n")
    print(*faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

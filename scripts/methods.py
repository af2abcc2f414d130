"""Every objective with its defaults, on moons and on twenty-five Gaussians, on seeds that no search of defaults has seen.

    python scripts/methods.py [key=value ...]

One sweep through the runner itself, one thread for each job; interrupted, it goes on. Words given are added to its line (for a trial:
objective=nce trainer.n_steps=200 EBM_OUTPUTS=...). The numbers go to results/methods.json with the commit and versions that made them, and
are held to the bounds (exit 1 where one is missed). What is exact is in nats; seconds are those of training.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean

import torch

from ebm_cli import config, environment
from ebm_cli.datasets.moons import Moons
from ebm_cli.metrics.quadrature import true_log_prob
from ebm_cli.run import Run

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "methods.json"
OUTPUTS = ROOT / "outputs" / "methods"
OBJECTIVES = sorted(config.groups()["objective"])
DATASETS = ("moons", "twentyfive_gaussians")
SEEDS = (0, 1, 2)
LINE = ("metric=[quadrature,mode_weights,sliced_wasserstein]", f"seed={','.join(map(str, SEEDS))}", "device=cpu")
KEPT = ("kl", "log_z_error", "mode_weight_error", "mode_weight_error_density", "sliced_wasserstein", "train_seconds", "n_steps")
KEPT += ("n_energy_evaluations", "n_score_evaluations", "n_hvp_evaluations", "log_z", "log_z_learned", "temperature")
FAST = {"kl": 0.03, "train_seconds": 90}
BOUNDS = {  # of the mean over seeds
    "moons": {
        **dict.fromkeys(("exact", "ism", "ssm", "fd_ssm", "nce", "energy_discrepancy"), FAST),
        "cnce": FAST | {"kl": 0.05},
        **dict.fromkeys(("lsd", "ksd"), FAST | {"kl": 0.10}),
        "pcd": {"kl": 0.08, "train_seconds": 180},
        **{key: {"kl": 0.15, "train_seconds": 180} for key in ("mle", "recovery")},
        "dsm": {"kl_above_smoothed": 0.02, "train_seconds": 90},
    },
    "twentyfive_gaussians": {
        **{key: {"kl": 0.03} for key in ("nce", "energy_discrepancy")},
        "dsm_multi": {"mode_weight_error": 0.05},
    },
}


def smoothed(dataset: Moons, sigma: float) -> float:
    """KL(p || p * N(0, sigma^2 I)) of moons: what denoising at sigma reaches at best. Smoothed moons are moons with more noise."""
    wider = Moons(n_train=None, noise=(dataset.noise**2 + sigma**2) ** 0.5, scale=dataset.scale)
    box, spacing = tuple(wider.box), 0.25 * dataset.noise
    p, q = (true_log_prob(one, box, spacing) for one in (dataset, wider))
    weight = p.exp()
    return ((weight * (p - q)).sum() / weight.sum()).item()


def measure(words: list[str]) -> dict[str, list[dict]]:
    """Train what is not there yet; the numbers of every run, by dataset."""
    found = {}
    for dataset in DATASETS:
        group = f"methods-{dataset}"
        line = ["train", "-m", f"objective={','.join(OBJECTIVES)}", f"dataset={dataset}", f"group={group}", *LINE, *words]
        environ = os.environ | {"EBM_OUTPUTS": str(OUTPUTS)}
        subprocess.run([Path(sys.executable).with_name("ebm"), *line], env=environ, check=False)
        sweeps = [json.loads(path.read_text()) for path in OUTPUTS.glob("sweeps/*/sweep.json")]
        sweep = max((one for one in sweeps if one["group"] == group), key=lambda one: one["time"])
        found[dataset] = [row(Run(Path(one["path"]))) for one in sweep["runs"] if one["path"]]
    return found


def row(run: Run) -> dict:
    """The numbers of a run that are kept."""
    summary, choices = run.read("summary.json"), run.read("environment.json")["choices"]
    kept = {key: summary[key] for key in KEPT if key in summary}
    return {"objective": choices["objective"], "energy": choices["energy"], "seed": run.config()["seed"], "state": run.state(), **kept}


def missed(rows: dict[str, list[dict]]) -> list[str]:
    """The bounds that are not kept."""
    faults = []
    for dataset, bounds in BOUNDS.items():
        for objective, limits in bounds.items():
            own = [one for one in rows[dataset] if one["objective"] == objective]
            for key, limit in limits.items() if own else ():
                values = [one.get(key) for one in own]
                if None in values or mean(values) > limit:
                    faults.append(f"{dataset} {objective}: {key} {values} > {limit}")
    return faults


def main() -> int:
    torch.set_num_threads(1)
    rows = measure(sys.argv[1:])
    floor = smoothed(Moons(n_train=None, noise=0.1, scale=1.0), 0.05)
    for one in rows["moons"]:
        if one["objective"] == "dsm" and one.get("kl") is not None:
            one["kl_above_smoothed"] = one["kl"] - floor
    facts = json.loads(next(OUTPUTS.glob("runs/*/environment.json")).read_text())
    made_by = {key: facts[key] for key in ("packages", "python", "device_name")} | {"git": environment.git()}
    if not sys.argv[1:]:
        RESULTS.write_text(json.dumps({"made_by": made_by, "smoothed_kl": floor, "rows": rows}, indent=1) + "\n")
    faults = missed(rows)
    print(*faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

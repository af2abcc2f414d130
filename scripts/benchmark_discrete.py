"""The benchmark on discrete events: objectives x data x three seeds at equal time on one core, measured by the exact KL.

    python scripts/benchmark_discrete.py [--quick] [--data NAME]    train the missing cells; write results/benchmark_discrete.{json,md}

All cells train the same network, `energy=binary_resnet`, except for the exact likelihood of more than 2^16 states, which has no cell. The
three seeds of a cell are one stack. The seconds per step of a cell are measured first, on an otherwise idle machine, and kept in the JSON
file with its number of steps, so that its run can be reproduced. Cells are trained one after the other or, with --jobs N, N at a time with
one thread each. A finished cell is not trained again. KL is in nats, by enumeration of all states: `ebm train metric=[enumeration]`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from measured import ROOT, made_by, maker

from ebm_cli.config import compose
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runs.catalog import every
from ebm_cli.runs.run import Run

DATA = {  # name: the words of the line
    "ising, beta 0.2": ["dataset=ising", "dataset.beta=0.2"],
    "ising, beta 0.44": ["dataset=ising", "dataset.beta=0.44"],
    "bars_and_stripes": ["dataset=bars_and_stripes"],
    "binary_moons": ["dataset=binary_moons"],
    "rbm, 20 x 10": ["dataset=rbm", "dataset.n_visible=20", "dataset.n_hidden=10"],
}
OBJECTIVES = {  # name: its own words
    "exact": [],
    "nce": ["reference=bernoulli_mixture"],
    "energy_discrepancy": [],
    "pseudo_likelihood": [],
    "ratio_matching": [],
    "cd": ["objective.n_steps=5"],
    "pcd": ["objective.n_steps=5", "objective.n_chains=1024"],
}
LINE = ["energy=binary_resnet", "sampler=gwg", "regularizer=[]", "metric=[enumeration]", "figure=[training]", "seeds=3", "device=cpu"]
LINE += ["trainer.evaluate_every=1000000", "trainer.ema_decay=0.99", "draws.n_samples=1000", "draws.n_chains=500", "draws.n_steps=50"]
TOO_MANY = {("rbm, 20 x 10", "exact")}  # 2^20 states at every step
SECONDS, QUICK_SECONDS = 30.0, 2.0


def cells(chosen: list[str]) -> list[tuple[str, str]]:
    return [(data, objective) for data in chosen for objective in OBJECTIVES if (data, objective) not in TOO_MANY]


def words(data: str, objective: str) -> list[str]:
    return [*DATA[data], f"objective={objective}", *LINE, *OBJECTIVES[objective]]


def seconds_per_step(line: list[str], *, rounds: int = 3, n: int = 10) -> float:
    """The median over rounds of the seconds of a training step of the stack, on one thread."""
    trainer, times = Experiment.of(compose.compose(line)).trainer(), []
    for _ in range(3):
        trainer.step()
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(n):
            trainer.step()
        times.append((time.perf_counter() - start) / n)
    return statistics.median(times)


def train(line: list[str], outputs: Path) -> str:
    """Run the line, or find its finished run; returns the id of the run."""
    ebm = Path(sys.executable).with_name("ebm")
    done = subprocess.run([ebm, "train", *line], env=os.environ | {"EBM_OUTPUTS": str(outputs)}, capture_output=True, text=True)
    if done.returncode not in (0, 1):  # a diverged run is a result
        sys.exit(done.stderr)
    return next(text for text in done.stdout.splitlines() if text.startswith("Results saved to ")).removeprefix("Results saved to ")


def table(stored: dict) -> str:
    """The mean KL over seeds, with the half width of its 95 % interval, for each objective and dataset."""
    data = [name for name in DATA if any(name in cell["data"] for cell in stored["cells"].values())]
    head = ["objective", *data]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for objective in OBJECTIVES:
        row = [objective]
        for name in data:
            cell = stored["cells"].get(f"{name} | {objective}", {})
            row.append(f"{cell['kl']:.3g} ± {cell['kl_ci95']:.1g}" if cell.get("kl") is not None else "")
        lines.append(f"| {' | '.join(row)} |")
    made = f"KL in nats after {stored['seconds']:g} s of one core for three seeds together ({maker(stored['made_by'])})."
    return f"<!-- made by scripts/benchmark_discrete.py -->\n{made}\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two seconds for each cell, into outputs/")
    parser.add_argument("--data", nargs="+", choices=DATA, default=[*DATA], help="the data of the cells that are trained")
    parser.add_argument("--jobs", type=int, default=1, help="cells that are trained at the same time")
    given = parser.parse_args()
    outputs = ROOT / "outputs" / ("benchmark-discrete-quick" if given.quick else "benchmark-discrete")
    folder, seconds = (outputs, QUICK_SECONDS) if given.quick else (ROOT / "results", SECONDS)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "benchmark_discrete.json"
    stored = json.loads(path.read_text()) if path.exists() else {"seconds": seconds, "cells": {}}
    torch.set_num_threads(1)
    for data, objective in cells(given.data):
        cell = stored["cells"].setdefault(f"{data} | {objective}", {"data": data})
        if "n_steps" not in cell:
            each = seconds_per_step(words(data, objective))
            cell |= {"milliseconds_per_step": round(1e3 * each, 3), "n_steps": max(20, int(seconds / each))}
            path.write_text(json.dumps(stored, indent=1) + "\n")

    def finish(cell: tuple[str, str]) -> None:
        data, objective = cell
        found = stored["cells"][f"{data} | {objective}"]
        if "kl" in found:
            return
        run = Run(Path(train([*words(data, objective), f"trainer.n_steps={found['n_steps']}"], outputs)))
        summary = run.read("summary.json")
        low, high = summary["ci95"].get("kl") or (0.0, 0.0)
        found |= {"kl": summary["kl"], "kl_ci95": (high - low) / 2, "per_seed": summary["per_seed"]["kl"]}
        found |= {"train_seconds": summary["train_seconds"], "state": run.state(), "reasons": summary["reasons"].get("kl")}
        print(f"{data}, {objective}: KL {found['kl']} after {found['n_steps']} steps in {found['train_seconds']:.1f} s", flush=True)
        path.write_text(json.dumps(stored, indent=1) + "\n")

    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(finish, cells(given.data)))
    os.environ["EBM_OUTPUTS"] = str(outputs)
    stored["made_by"] = made_by(*(run for run in every() if run.state() == "finished"))
    path.write_text(json.dumps(stored, indent=1) + "\n")
    path.with_suffix(".md").write_text(table(stored))
    print(table(stored))


if __name__ == "__main__":
    main()

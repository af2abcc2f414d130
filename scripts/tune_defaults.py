"""The search behind the defaults of conf/: exact KL on moons over learning rates, batch sizes and steps, on seeds that no test uses.

    python scripts/tune_defaults.py [objective ...]

Every cell trains seeds 100 and 101 as a stack, on one thread, and appends a line to results/tune_defaults.jsonl; cells that are there
are skipped. At the end it prints the cells of each objective, best first.
"""

import json
import sys
import time
from pathlib import Path

import torch

from ebm_cli import config, evaluation
from ebm_cli.experiment import Experiment
from ebm_cli.trained import Trained

RESULTS = Path(__file__).resolve().parents[1] / "results" / "tune_defaults.jsonl"
BUDGETS = ((256, 4000), (256, 6000), (512, 4000))
RATES = (0.001, 0.002, 0.003, 0.005, 0.008)
PCD = ("trainer.batch_size=256", "trainer.n_steps=4000", "objective.n_steps=20")
CELLS = [
    *(
        (objective, (f"trainer.batch_size={n}", f"trainer.n_steps={k}", f"optimizer.lr={lr}"))
        for objective in ("ssm", "nce")
        for n, k in BUDGETS
        for lr in RATES
    ),
    *(
        ("ssm", ("trainer.batch_size=512", "trainer.n_steps=4000", "optimizer.lr=0.005", f"objective.directions={law}"))
        for law in ("gaussian", "sphere")
    ),
    *(("pcd", (*PCD, f"optimizer.lr={lr}")) for lr in RATES),
    *(("pcd", (*PCD, "optimizer.lr=0.003", f"sampler.step_size={eps}")) for eps in (0.005, 0.02)),
    *(("pcd", (*PCD, "optimizer.lr=0.003", f"regularizer.energy_l2.weight={weight}")) for weight in (0.0003, 0.003)),
    *(("pcd", (*PCD, "optimizer.lr=0.003", f"objective.restart={share}")) for share in (0.003, 0.03)),
    ("pcd", ("trainer.batch_size=512", *PCD[1:], "optimizer.lr=0.003")),
    *(
        (objective, ("trainer.batch_size=256", "trainer.n_steps=7000", f"optimizer.lr={lr}"))
        for objective in ("ssm", "nce")
        for lr in (0.005, 0.006, 0.008)
    ),
    *((objective, ("trainer.batch_size=256", "trainer.n_steps=6500", "optimizer.lr=0.006")) for objective in ("ssm", "nce")),
    ("pcd", ("trainer.batch_size=256", "trainer.n_steps=6500", "optimizer.lr=0.006", "objective.n_steps=15")),
]


def measure(objective, words):
    """Exact KL of two seeds, and the CPU seconds that a step of one model costs."""
    composed = config.compose(
        ["dataset=moons", "energy=mlp", f"objective={objective}", "seed=100", "seeds=2", "metric=quadrature", "device=cpu", *words]
    )
    experiment = Experiment.of(composed)
    trainer = experiment.trainer()
    start = time.process_time()
    for _ in trainer.steps():
        pass
    seconds = time.process_time() - start
    rows = evaluation.measure(Trained.of(trainer), experiment.dataset, experiment.metrics(), None, final=True)
    return {"objective": objective, "words": list(words), "kl": [row["kl"] for row in rows], "cpu_seconds_per_seed": seconds / 2}


def main():
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or ["ssm", "nce", "pcd"]
    RESULTS.parent.mkdir(exist_ok=True)
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    done = {(row["objective"], tuple(row["words"])) for row in rows}
    for objective, words in CELLS:
        if objective in wanted and (objective, words) not in done:
            rows.append(measure(objective, words))
            with open(RESULTS, "a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    for objective in wanted:
        print(f"\n{objective}: exact KL of seeds 100, 101 (nats), CPU seconds per seed")
        for row in sorted(
            (row for row in rows if row["objective"] == objective), key=lambda row: sum(row["kl"]) if None not in row["kl"] else 9e9
        ):
            print("  ", " ".join(f"{kl:.4f}" for kl in row["kl"]), f"{row['cpu_seconds_per_seed']:6.1f} s ", " ".join(row["words"]))


if __name__ == "__main__":
    main()

"""Compares the settings that `dataset=table` chooses with others, on splits of real tables that the reported results do not use.

    python scripts/tune_tables.py [name ...]

Each setting in SETTINGS changes one or two words of the line `ebm train dataset=table dataset.path=FILE`. Every line is trained on the
splits 100 and 101 of each table, and its NLL on the test rows is compared with that of the line itself, on the same rows. A search that was
interrupted is continued. The mean differences are printed and stored in results/tune_tables.json, with the commits that made them.
"""

import json
import statistics
import sys

import real_tables
from measured import ROOT, made_by, sweep

RESULTS = ROOT / "results" / "tune_tables.json"
OUTPUTS = ROOT / "outputs" / "tune_tables"
TABLES = ("breast_cancer", "diabetes", "pima", "vehicle", "phoneme")
SPLITS = "dataset.split_seed=100,101"
CHEAP = ("metric=[importance]", "figure=[]", "device=cpu", "draws.n_samples=100", "draws.n_steps=5")
COMMON = ("dataset=table", "dataset.label=label", SPLITS, *CHEAP)
SETTINGS = {
    "transform": ("dataset.transform=standard", "dataset.transform=robust"),
    "selection": ("trainer.refit=false", "trainer.patience=null"),
    "decay": ("optimizer.weight_decay=0.1", "optimizer.weight_decay=1.0"),
    "rate": ("optimizer.lr=0.001", "optimizer.lr=0.005"),
    "bound": ("reference.bound=2.0", "reference.bound=8.0", "reference.bound=null"),
    "energy": ("energy=mlp", "energy.width=128"),
    "noise": ("objective.n_noise=1", "objective.n_noise=8"),
}


def nll(table: str, word: str) -> tuple[list[float | None], list]:
    """The NLL of a line on each split, and its runs."""
    words = [*COMMON, f"dataset.path={real_tables.path(table)}", *([word] if word else [])]
    runs = [run for _, run in sweep(words, OUTPUTS)]
    return [run.read("summary.json").get("nll") for run in runs], runs


def main() -> None:
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in sys.argv[1:] or SETTINGS:
        for table in TABLES:
            base, runs = nll(table, "")
            for word in SETTINGS[name]:
                other, more = nll(table, word)
                pairs = [(a, b) for a, b in zip(other, base, strict=True) if None not in (a, b)]
                difference = statistics.mean(a - b for a, b in pairs) if pairs else None
                own = {"difference": difference, "unknown": len(base) - len(pairs), "commits": made_by(*runs, *more)["commits"]}
                found.setdefault(name, {}).setdefault(word, {})[table] = own
                RESULTS.write_text(json.dumps(found, indent=1) + "\n")
        for word, tables in found[name].items():
            numbers = [own["difference"] for own in tables.values() if own["difference"] is not None]
            unknown = sum(own["unknown"] for own in tables.values())
            print(f"{word:32} {statistics.mean(numbers):+.3f} nats on average over {len(numbers)} tables; log Z unknown in {unknown} runs")


if __name__ == "__main__":
    main()

"""The benchmark of anomaly detection: energy-based models beside pyod's detectors, on six sets of ADBench (Han et al. 2022).

    python scripts/anomaly_detection.py run [--sets A,B] [--methods A,B] [--seeds 0,1,2]     measure the cells that are missing
    python scripts/anomaly_detection.py search [--methods A,B]                                 the same for the lines of SEARCH
    python scripts/anomaly_detection.py report                                                 write results/anomaly_detection.json and .md

A cell is a set, a seed and a method. All rows are used for training and all are scored; no label is used. Repeated rows are kept. The
detectors have pyod's defaults and get the columns with mean 0 and variance 1, as the models do. Most detectors have no random numbers, and
one cell is then measured for all seeds. The detectors need `pip install -e '.[anomalies]'`.

SEARCH has the lines that were compared, on SEARCH_SEEDS, which the reported results do not use. The one of the greatest mean AUROC over
the sets is experiment=anomalies. It is one line for all sets, but the choice has seen their labels. The best lines were
measured with five seeds; the others with two, where the difference is larger than that between seeds.
"""

import argparse
import contextlib
import csv
import importlib.metadata
import io
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import real_tables
from measured import ROOT, with_words

from ebm_cli import __main__
from ebm_cli.metrics.auroc import auroc, average_precision
from ebm_cli.runs import provenance
from ebm_cli.runs.run import Run

CELLS = ROOT / "outputs" / "anomaly_detection"
RESULTS = ROOT / "results" / "anomaly_detection"
SETS = tuple(real_tables.ANOMALIES)
PUBLISHED = {  # rows, columns and anomalies in ADBench's table of datasets, and the name there
    "shuttle": (49097, 9, 3511, "shuttle"),
    "ionosphere": (351, 32, 126, "Ionosphere"),
    "pima": (768, 8, 268, "Pima"),
    "wisconsin": (683, 9, 239, "breastw"),
    "satimage": (6435, 36, 2036, "satellite"),
    "magic": (19020, 10, 6688, "magic.gamma"),
}
SEEDS, SEARCH_SEEDS = (0, 1, 2), (100, 101, 102, 103, 104)
DETECTORS = {"IForest": "iforest", "KNN": "knn", "ECOD": "ecod", "OCSVM": "ocsvm", "GMM": "gmm"}  # the modules of pyod.models
SEEDED = ("IForest",)  # the detectors with random numbers
MOST_ROWS = {"OCSVM": 10_000}  # its cost grows with the square of the number of rows
COMMON = (  # the words of every line: all rows are trained on and scored, and no samples are needed
    *("dataset=table", "dataset.label=label", "dataset.test=0", "dataset.validation=0", "dataset.transform=standard"),
    *("trainer.select=null", "trainer.patience=null", "trainer.refit=false", "metric=[auroc]", "figure=[]", "device=cpu"),
    *("draws.n_samples=20", "draws.n_chains=20", "draws.n_steps=4"),
)
LINES = {  # the reported lines
    "anomalies": ("experiment=anomalies",),
}
SHORT = ("trainer.n_steps=500", "trainer.ema_decay=0.99", "optimizer.weight_decay=1.0")  # of the networks in the search
SEARCH = {  # the candidates; `energy=reference` is the reference alone as a model
    "gaussian": ("reference=full_gaussian", "energy=reference"),
    "gaussian_quantile": ("reference=full_gaussian", "energy=reference", "dataset.transform=quantile"),
    **{
        f"mixture_{n}_{points}": ("reference=mixture", f"reference.n_components={n}", f"reference.shrinkage={points}", "energy=reference")
        for n, points in ((2, 16), (4, 0), (4, 16), (4, 64), (4, 256), (8, 16), (8, 256), (16, 16))
    },
    "mixture_4_16_quantile": (
        *("reference=mixture", "reference.n_components=4", "reference.shrinkage=16", "energy=reference", "dataset.transform=quantile"),
    ),
    "mixture_chosen": ("reference=mixture", "energy=reference", "dataset.validation=0.1"),  # it has up to 40 components
    "nce_4_16": ("reference=mixture", "reference.n_components=4", "reference.shrinkage=16", *SHORT),
    "dsm_1": ("reference=full_gaussian", "objective=dsm", "objective.sigma=1.0", *SHORT),
    "dsm_multi_0.5": ("reference=full_gaussian", "objective=dsm_multi", "objective.sigma_min=0.5", *SHORT),
}
SCORES = {"energy": "", "score_norm": "_score_norm"}


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The columns of a set, (N, D), and whether each row is an anomaly, (N,)."""
    marked = set(real_tables.anomalies(name))
    with real_tables.path(name).open() as file:
        _, *rows = csv.reader(file)
    return np.array([[float(cell) for cell in row[:-1]] for row in rows]), np.array([row[-1] in marked for row in rows])


def counts(name: str) -> dict:
    """The numbers of rows, columns, anomalies and repeated rows of a set, and the differences from the published ones."""
    x, is_anomaly = load(name)
    *published, known_as = PUBLISHED[name]
    found = {"rows": len(x), "columns": x.shape[1], "anomalies": int(is_anomaly.sum())}
    differs = {key: value for key, value in zip(found, published, strict=True) if found[key] != value}
    return found | {"repeated_rows": len(x) - len(np.unique(x, axis=0)), "name_in_adbench": known_as, "published_differently": differs}


def standardized(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)) / x.std(0)


def detect(method: str, name: str, seed: int) -> dict:
    """The numbers of a detector of pyod."""
    x, is_anomaly = load(name)
    if len(x) > MOST_ROWS.get(method, len(x)):
        return {"reason": f"{len(x):,} rows: its cost grows with their square"}
    module = importlib.import_module(f"pyod.models.{DETECTORS[method]}")
    start = time.process_time()
    detector = getattr(module, method)(**({"random_state": seed} if method in SEEDED else {}))
    score = detector.fit(standardized(x)).decision_scores_
    return numbers(score, is_anomaly) | {"seconds": round(time.process_time() - start, 1)}


def numbers(score: np.ndarray, is_anomaly: np.ndarray) -> dict:
    return {"auroc": auroc(score, is_anomaly), "average_precision": average_precision(score, is_anomaly)}


def words_of(method: str, name: str, seed: int) -> list[str]:
    """The words after `ebm train` of a line. Later words replace earlier ones."""
    data = (f"dataset.path={real_tables.path(name)}", f"dataset.anomaly=[{','.join(real_tables.anomalies(name))}]")
    own = (f"seed={seed}", f"dataset.split_seed={seed}")
    return with_words([*COMMON, *data, *own], (LINES | SEARCH)[method])


def train(method: str, name: str, seed: int) -> dict:
    """The numbers of a line: those of the energy, and those of the norm of the score."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = __main__.main(["train", *words_of(method, name, seed)])
    if code:
        return {"reason": next((line for line in errors.getvalue().splitlines() if line.startswith("error:")), f"exit code {code}")[:300]}
    summary = Run(Path(out.getvalue().strip().splitlines()[-1].removeprefix("Results saved to "))).read("summary.json")
    names = [f"{number}{part}" for part in SCORES.values() for number in ("auroc", "average_precision")]
    return {key: summary[key] for key in names} | {"seconds": round(summary["train_seconds"] or 0, 1)}


def cell(method: str, name: str, seed: int) -> Path:
    return CELLS / f"{name}-{seed}-{method}.json"


def measure(method: str, name: str, seed: int) -> None:
    """Measure and store a cell."""
    found = (detect if method in DETECTORS else train)(method, name, seed)
    versions = {package: importlib.metadata.version(package) for package in ("pyod", "torch", "scikit-learn") if _installed(package)}
    CELLS.mkdir(parents=True, exist_ok=True)
    partial = cell(method, name, seed).with_suffix(".partial")
    partial.write_text(json.dumps(found | {"commit": provenance.git().get("commit", ""), "versions": versions}))
    partial.rename(cell(method, name, seed))
    print(method, name, seed, found.get("reason") or f"{found['auroc']:.4f}", flush=True)


def _installed(package: str) -> bool:
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


def jobs(methods: tuple[str, ...], sets: tuple[str, ...], seeds: tuple[int, ...]) -> list[tuple[str, str, int]]:
    """The cells that are missing. A detector without random numbers has one seed."""
    seeds_of = {method: seeds if method in SEEDED or method not in DETECTORS else seeds[:1] for method in methods}
    wanted = [(method, name, seed) for method in methods for name in sets for seed in seeds_of[method]]
    return [job for job in wanted if not cell(*job).exists()]


def run(methods: tuple[str, ...], sets: tuple[str, ...], seeds: tuple[int, ...]) -> None:
    """Measure the cells that are missing. Each method has a process, and as many run at a time as there are cores."""
    for name in sets:
        real_tables.path(name)

    def one(method: str) -> None:
        command = [sys.executable, __file__, "cells", "--methods", method, "--sets", ",".join(sets), "--seeds", ",".join(map(str, seeds))]
        subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(one, {method: None for method, *_ in jobs(methods, sets, seeds)}))
    if missing := jobs(methods, sets, seeds):
        sys.exit(f"{len(missing)} cells failed, the first of them {' '.join(map(str, missing[0]))}; run again to continue")


def collected(methods: tuple[str, ...], seeds: tuple[int, ...]) -> dict:
    """The numbers of all cells: method -> score -> number -> set -> one value per seed, or the reason why there is none."""
    found: dict = {}
    for method in methods:
        for name in SETS:
            stored = [json.loads(cell(method, name, seed).read_text()) for seed in seeds if cell(method, name, seed).exists()]
            for score, part in SCORES.items():
                for number in ("auroc", "average_precision"):
                    values = [row.get("reason") or row.get(number + part) for row in stored]
                    if values and None not in values:
                        reason = next((value for value in values if isinstance(value, str)), None)
                        place = found.setdefault(method, {}).setdefault(score, {}).setdefault(number, {})
                        place[name] = reason or [round(value, 5) for value in values]
    return found


def means(by_set: dict) -> list[float] | None:
    """The mean over all sets for each seed; None if a set has no number. A method with one value has it for every seed."""
    if any(not isinstance(by_set.get(name), list) for name in SETS):
        return None
    n = max(len(by_set[name]) for name in SETS)
    values = [by_set[name] * n if len(by_set[name]) == 1 else by_set[name] for name in SETS]
    return [statistics.mean(column) for column in zip(*values, strict=True)] if all(len(row) == n for row in values) else None


def table(found: dict, number: str, score: str = "energy") -> str:
    """A table of one number in Markdown: methods and sets."""
    lines = [f"| | {' | '.join(SETS)} | mean | seeds |", "|---" * (len(SETS) + 3) + "|"]
    rows = {method: scores[score][number] for method, scores in found.items() if score in scores}
    rows = {method: by_set for method, by_set in rows.items() if any(isinstance(value, list) for value in by_set.values())}
    overall = {method: means(by_set) for method, by_set in rows.items()}
    for method in sorted(rows, key=lambda method: -statistics.mean(overall[method] or [0.0])):
        cells = [f"{statistics.mean(value):.3f}" if isinstance(value, list) else "-" for value in map(rows[method].get, SETS)]
        mean = "-" if overall[method] is None else f"{statistics.mean(overall[method]):.4f}"
        n = max(len(value) for value in rows[method].values() if isinstance(value, list))
        lines.append(f"| {method} | {' | '.join(cells)} | {mean} | {n} |")
    return "\n".join(lines)


def report() -> dict:
    """Write the results."""
    found = {"counts": {name: counts(name) for name in SETS}, "seeds": SEEDS, "search_seeds": SEARCH_SEEDS}
    found |= {"lines": {method: " ".join(words) for method, words in (LINES | SEARCH).items()}}
    found |= {"results": collected((*LINES, *DETECTORS), SEEDS), "search": collected(tuple(SEARCH), SEARCH_SEEDS)}
    stored = [json.loads(path.read_text()) for path in sorted(CELLS.glob("*.json"))]
    found |= {"commits": sorted({row["commit"] for row in stored}), "versions": stored[0]["versions"] if stored else {}}
    RESULTS.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(text(found))
    return found


def text(found: dict) -> str:
    """The results in Markdown: those of the page, the norm of the score, and the search."""
    parts = ["# Anomaly detection", page(found), "AUROC of the norm of the score:", table(found["results"], "auroc", "score_norm")]
    parts += [f"The search, on seeds {found['search_seeds'][0]} and higher: AUROC of the energy", table(found["search"], "auroc")]
    parts += ["The search: AUROC of the norm of the score", table(found["search"], "auroc", "score_norm")]
    parts += ["\n".join(f"- `{method}`: `{words}`" for method, words in found["lines"].items())]
    return "\n\n".join(parts) + "\n"


def page(found: dict) -> str:
    """The part of docs/tables.md: both numbers, the counts, and what made them."""
    spread = {method: means(scores["energy"]["auroc"]) for method, scores in found["results"].items()}
    ranges = [f"{method} {min(row):.4f} to {max(row):.4f}" for method, row in spread.items() if row and len(row) > 1]
    header = "| | in ADBench | rows | columns | anomalies | repeated rows | published differently |\n" + "|---" * 7 + "|"
    sets = [header]
    for name, row in found["counts"].items():
        differs = ", ".join(f"{value} {key}" for key, value in row["published_differently"].items()) or "-"
        cells = [row["name_in_adbench"], *(str(row[key]) for key in ("rows", "columns", "anomalies", "repeated_rows")), differs]
        sets.append(f"| {name} | {' | '.join(cells)} |")
    versions = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
    parts = ["AUROC, the mean over the seeds:", table(found["results"], "auroc")]
    parts += [f"The range over seeds of the mean over the sets: {', '.join(ranges)}." if ranges else ""]
    parts += ["Average precision:", table(found["results"], "average_precision"), "The sets:", "\n".join(sets)]
    parts += [f"Measured by `make benchmark-anomalies` at commits {', '.join(c[:10] for c in found['commits'])}, with {versions}."]
    return "\n\n".join(part for part in parts if part)


def main() -> None:
    def listed(word: str) -> tuple[str, ...]:
        return tuple(word.split(","))

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "search", "report", "cells"])
    parser.add_argument("--sets", type=listed, default=SETS)
    parser.add_argument("--methods", type=listed)
    parser.add_argument("--seeds", type=lambda word: tuple(map(int, word.split(","))))
    given = parser.parse_args()
    if given.what == "cells":
        os.environ["EBM_OUTPUTS"] = str(CELLS / "runs")
        for job in jobs(given.methods, given.sets, given.seeds):
            measure(*job)
    elif given.what == "run":
        run(given.methods or (*DETECTORS, *LINES), given.sets, given.seeds or SEEDS)
    elif given.what == "search":
        run(given.methods or tuple(SEARCH), given.sets, given.seeds or SEARCH_SEEDS)
    else:
        print(text(report()))


if __name__ == "__main__":
    main()

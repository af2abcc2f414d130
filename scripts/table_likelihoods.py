"""The benchmark on real tables: the held-out NLL of energy-based models beside a Gaussian, mixtures, kernel densities and a flow.

    python scripts/table_likelihoods.py run [--quick] [--tables A,B] [--methods A,B]     train and measure the cells that are missing
    python scripts/table_likelihoods.py report [--quick]                                 write results/table_likelihoods.json and .md

A cell is a table, a split seed and a method. `default` is the line `ebm train dataset=table dataset.path=FILE`; the other models are that
line with another objective, or with `energy=reference`. The baselines are fitted to the same training rows, in standardized coordinates.
Their settings are chosen on the same validation rows; then they are fitted to both. All densities are of the same dequantized rows. Stored
are the NLL of every test row, in nats and data units, so that methods are compared row by row: the standard error of a difference is that
of the mean over the rows of a split, and differences are averaged over the splits.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import real_tables
import torch
from measured import ROOT, with_words

from ebm_cli.config import compose
from ebm_cli.core.pointwise import energy_of
from ebm_cli.core.rng import Rng
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs import provenance
from ebm_cli.runs.run import Run

CELLS = ROOT / "outputs" / "table_likelihoods"
RESULTS = ROOT / "results" / "table_likelihoods"
TABLES = tuple(real_tables.SOURCES)
QUICK = ("breast_cancer", "wine", "diabetes", "pima", "phoneme")
NO_CHAINS = ("metric=[importance]", "draws.n_steps=1")  # log Z is 0, and chains through a flow are slow
MODELS = {  # the words after `ebm train dataset=table dataset.path=FILE`
    "default": (),
    "not refitted": ("trainer.refit=false",),
    **{objective: (f"objective={objective}",) for objective in ("pcd", "ssm", "dsm", "energy_discrepancy")},
    "reference": ("energy=reference",),
    "flow": ("energy=reference", "reference=flow", *NO_CHAINS),
    "standardized flow": ("energy=reference", "reference=flow", "dataset.transform=standard", *NO_CHAINS),
    "tilted flow": ("reference=flow",),
}
FLOWS = ("flow", "standardized flow")
ALONE = ("reference", *FLOWS)  # references without an energy-based model
BASELINES = ("gaussian", "mixture", "mixture refitted", "kde")
CHEAP = ("draws.n_samples=200", "draws.n_chains=200", "figure=[]", "metric=[importance,bridge]", "device=cpu")
KEPT = ("log_z", "log_z_error", "log_z_by", "selected_step", "selected_validation", "n_steps", "train_seconds")  # of the summary
SPLITS = (0, 1, 2)
COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40)
WIDTHS = tuple(np.geomspace(0.03, 2, 25).tolist())  # of kernels, in standardized coordinates
FLOORS = (1e-6, 1e-3, 1e-2, 5e-2)  # added to the variances, in standardized coordinates


def line(table: str, split: int) -> list[str]:
    return ["dataset=table", f"dataset.path={real_tables.path(table)}", "dataset.label=label", f"dataset.split_seed={split}"]


def cell(table: str, split: int, method: str) -> Path:
    return CELLS / f"{table}-{split}-{method.replace(' ', '_')}.npz"


def store(path: Path, nll: np.ndarray, **facts: object) -> None:
    """Write a cell: the NLL of every test row, and facts."""
    CELLS.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, nll=nll, facts=json.dumps(facts | {"commit": provenance.git().get("commit", ""), "torch": torch.__version__}))
    partial.rename(path)


def model(table: str, split: int, method: str) -> None:
    """Train a model with the command, and store the NLL of the test rows."""
    outputs, words = CELLS / "runs", with_words([*line(table, split), *CHEAP], MODELS[method])
    environ = os.environ | {"EBM_OUTPUTS": str(outputs), "OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    done = subprocess.run([Path(sys.executable).with_name("ebm"), "train", *words], env=environ, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        print(f"{table} {split} {method}: {done.stderr.strip().splitlines()[-2:]}", flush=True)
        store(cell(table, split, method), np.empty(0), reason=done.stderr.strip().partition("\n")[0][:300])
        return
    os.environ["EBM_OUTPUTS"] = str(outputs)
    run = Run(Path(done.stdout.strip().splitlines()[-1].removeprefix("Results saved to ")))
    summary, experiment = run.read("summary.json"), Experiment.load(run, torch.device("cpu"))
    trained = TrainedModel.load(run, torch.device("cpu"))
    facts = {key: summary.get(key) for key in KEPT} | {
        "reason": summary["reasons"].get("log_z", ""),
        "seconds": seconds,
        "words": words[4:],
    }
    x, units = experiment.dataset.split("test", 10**6, trained.rng).x, experiment.dataset.standardization
    energy = energy_of(trained.model, trained.params, x) - units.log_warp(units.to_data(x))
    nll = np.empty(0) if summary["log_z"] is None else (energy + summary["log_z"]).numpy()
    store(cell(table, split, method), nll, n_columns=x.shape[1], **facts)


def baseline(table: str, split: int, method: str) -> None:
    """Fit a baseline, and store the NLL of the test rows. One search serves both mixtures."""
    start = time.perf_counter()
    dataset = Experiment.of(
        compose.compose([*line(table, split), "device=cpu", "reference=gaussian", "dataset.transform=standard"])
    ).dataset
    train, validation, test = (dataset.split(name, 10**6, Rng(0)).x.double().numpy() for name in ("train", "validation", "test"))
    for name, (fitted, chosen) in fits(method, train, validation).items():
        nll = dataset.standardization.log_det - fitted.score_samples(test)
        store(cell(table, split, name), nll, **chosen, seconds=time.perf_counter() - start, n_columns=train.shape[1])


class Kernels:
    """A kernel density estimate: log p(x) = log mean_i N(x; x_i, width^2 I). scikit-learn's is the same, but slow for many rows."""

    def __init__(self, rows: np.ndarray, width: float = 1.0) -> None:
        self.rows, self.width = torch.from_numpy(rows), width

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(x).split(256)
        return np.concatenate([self._log_density(self._squared(part), self.width).numpy() for part in parts])

    def mean_scores(self, x: np.ndarray, widths: Sequence[float]) -> np.ndarray:
        """The mean log-density of x for each width."""
        parts = [self._squared(part) for part in torch.from_numpy(x).split(256)]
        return np.array([torch.cat([self._log_density(part, width) for part in parts]).mean().item() for width in widths])

    def _squared(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cdist(x, self.rows).square()

    def _log_density(self, squared: torch.Tensor, width: float) -> torch.Tensor:
        n, d = self.rows.shape
        return torch.logsumexp(-squared / (2 * width**2), -1) - math.log(n) - d * (math.log(width) + 0.5 * math.log(2 * math.pi))


def fits(method: str, train: np.ndarray, validation: np.ndarray) -> dict[str, tuple]:
    """The fitted densities of a baseline by name, each with the settings that were chosen on the validation rows."""
    from sklearn.mixture import GaussianMixture

    both = np.concatenate([train, validation])
    if method == "gaussian":
        return {method: (GaussianMixture(1, reg_covar=1e-6).fit(both), {})}
    if method == "kde":
        score = Kernels(train).mean_scores(validation[:2000], WIDTHS)
        width = WIDTHS[int(np.argmax(score))]
        return {method: (Kernels(both, width), {"width": width})}
    mixture = partial(GaussianMixture, max_iter=100, random_state=0)
    best, fitted, chosen = -math.inf, None, {}
    for floor in FLOORS:
        worse = 0
        for n in (n for n in COMPONENTS if n < len(train) / 2):
            found = mixture(n, reg_covar=floor).fit(train)
            score = found.score(validation)
            worse = 0 if score > best else worse + 1
            if score > best:
                best, fitted, chosen = score, found, {"n_components": n, "floor": floor}
            if worse == 2:
                break
    refitted = mixture(chosen["n_components"], reg_covar=chosen["floor"], means_init=fitted.means_).fit(both)
    return {"mixture": (fitted, chosen), "mixture refitted": (refitted, chosen)}


def run(tables: tuple[str, ...], splits: tuple[int, ...], methods: tuple[str, ...]) -> None:
    """Make the cells that are missing, as many at a time as there are cores."""
    for table in tables:
        real_tables.path(table)
    todo = [(t, s, m) for m in methods for t in tables for s in splits if not cell(t, s, m).exists()]

    def one(job: tuple[str, int, str]) -> None:
        if cell(*job).exists():  # a search for another method has made it
            return
        command = [sys.executable, __file__, "cell", job[0], str(job[1]), job[2]]
        subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
        print(*job, "done" if cell(*job).exists() else "FAILED", flush=True)

    with ThreadPoolExecutor(int(os.environ.get("JOBS", 0)) or len(os.sched_getaffinity(0))) as pool:
        list(pool.map(one, todo))


def read(table: str, split: int, method: str) -> tuple[np.ndarray, dict]:
    path = cell(table, split, method)
    if not path.exists():
        return np.empty(0), {}
    with np.load(path) as stored:
        return stored["nll"], json.loads(str(stored["facts"]))


def difference(table: str, splits: tuple[int, ...], method: str, other: str) -> tuple[float, float] | None:
    """The mean difference of the NLL between two methods, averaged over splits, and its standard error; None if a cell has no number."""
    means, variances = [], []
    for split in splits:
        a, b = read(table, split, method)[0], read(table, split, other)[0]
        if not len(a) or len(a) != len(b):
            return None
        means.append((a - b).mean())
        variances.append((a - b).var(ddof=1) / len(a))
    return float(np.mean(means)), math.sqrt(sum(variances)) / len(splits)


def mean_nll(table: str, splits: tuple[int, ...], method: str) -> float | None:
    """The mean NLL of the test rows, averaged over splits; None if a cell has no number."""
    rows = [read(table, split, method)[0] for split in splits]
    return float(np.mean([row.mean() for row in rows])) if all(len(row) for row in rows) else None


def chosen_line(table: str, splits: tuple[int, ...]) -> str | None:
    """The model with the best NLL of the validation rows; None if none has a number for every split."""
    found = {}
    for method in (m for m in MODELS if m not in ALONE):  # they train nothing, so that nothing is selected
        numbers = [read(table, split, method)[1].get("selected_validation") for split in splits]
        if None not in numbers:
            found[method] = statistics.mean(numbers)
    return min(found, key=found.get, default=None)


def summarize(table: str, splits: tuple[int, ...]) -> dict:
    """The numbers of a table: mean NLLs, the default line against the best baseline, the chosen line against the flow, log Z's error.

    The best baseline is the one with the lowest NLL of the test rows, which favors the baselines.
    """
    nll = {method: mean_nll(table, splits, method) for method in (*BASELINES, *MODELS)}
    known = {method: nll[method] for method in BASELINES if nll[method] is not None}
    best, line = min(known, key=known.get, default=None), chosen_line(table, splits)
    flows = [flow for flow in FLOWS if nll[flow] is not None]
    flow = min(flows, key=nll.get, default=None)
    default = [read(table, split, "default")[1] for split in splits]
    errors = [facts.get("log_z_error") for facts in default]
    return {
        "nll": nll,
        "best_baseline": best,
        "default_against_baseline": difference(table, splits, "default", best) if best else None,
        "chosen_line": line,
        "flow": flow,
        "chosen_against_flow": difference(table, splits, line, flow) if line and flow else None,
        "log_z_width": 2 * max(errors) if all(isinstance(error, float) for error in errors) else None,
        "seconds": statistics.median(facts["seconds"] for facts in default) if all("seconds" in facts for facts in default) else None,
        "n_columns": next((facts["n_columns"] for facts in default if "n_columns" in facts), None),
        "commits": sorted({facts["commit"] for method in MODELS for split in splits if (facts := read(table, split, method)[1])}),
    }


def shown(numbers: dict) -> str:
    """The results as a table in Markdown, with a sentence that counts them."""
    head = (
        "table",
        "Gaussian",
        "mixture",
        "KDE",
        "flow",
        "default line",
        "default - best baseline",
        "chosen line",
        "chosen - flow",
        "log Z",
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for table, own in numbers.items():
        nll = own["nll"]
        mixture = min((nll[m] for m in ("mixture", "mixture refitted") if nll[m] is not None), default=None)
        flow, line = (nll.get(own[key]) for key in ("flow", "chosen_line"))
        parts = [number(nll["gaussian"]), number(mixture), number(nll["kde"]), number(flow), number(nll["default"])]
        parts += [pair(own["default_against_baseline"]), f"{number(line)} ({own['chosen_line']})" if line else "-"]
        parts += [pair(own["chosen_against_flow"]), number(own["log_z_width"], ".3f")]
        lines.append(f"| {table} | {' | '.join(parts)} |")
    commits = sorted({commit[:10] for own in numbers.values() for commit in own["commits"]})
    return "\n".join(lines) + f"\n\n{verdict(numbers)}\n\nThe lines of `ebm` were measured at commit {', '.join(commits)}."


def verdict(numbers: dict) -> str:
    """How often the default line is better or worse than the best baseline, and the chosen line than the flow."""
    default = [own["default_against_baseline"] for own in numbers.values() if own["default_against_baseline"]]
    flow = [own["chosen_against_flow"] for own in numbers.values() if own["chosen_against_flow"]]
    narrow = sum(own["log_z_width"] is not None and own["log_z_width"] <= 0.1 for own in numbers.values())
    better, worse = sum(mean < -2 * error for mean, error in default), sum(mean > max(2 * error, 0.05) for mean, error in default)
    return (
        f"The default line is better than the best baseline by two standard errors on {better} of {len(default)} tables, and worse by two "
        f"standard errors and 0.05 nats on {worse}. The chosen line is ahead of the flow on {sum(mean < 0 for mean, _ in flow)} of "
        f"{len(flow)} tables. The interval of log Z of the default line is at most 0.1 nats wide on {narrow} of {len(numbers)} "
        "tables."
    )


def number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)


def pair(value: tuple[float, float] | None) -> str:
    return "-" if value is None else f"{value[0]:+.2f} +- {value[1]:.2f}"


def report(tables: tuple[str, ...], splits: tuple[int, ...]) -> str:
    """Write results/table_likelihoods.json, and the table of results in Markdown beside it."""
    numbers = {table: summarize(table, splits) for table in tables}
    RESULTS.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n")
    text = shown(numbers) + "\n"
    RESULTS.with_suffix(".md").write_text(text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "report", "cell"])
    parser.add_argument("job", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tables", type=lambda text: tuple(text.split(",")))
    parser.add_argument("--methods", type=lambda text: tuple(text.split(",")), default=(*BASELINES, *MODELS))
    parser.add_argument("--splits", type=lambda text: tuple(map(int, text.split(","))), default=SPLITS)
    given = parser.parse_args()
    tables = given.tables or (QUICK if given.quick else TABLES)
    if given.what == "cell":
        table, split, method = given.job
        (baseline if method in BASELINES else model)(table, int(split), method)
    elif given.what == "run":
        run(tables, given.splits, given.methods)
    else:
        print(report(tables, given.splits))


if __name__ == "__main__":
    main()

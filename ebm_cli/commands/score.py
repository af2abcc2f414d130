"""usage: ebm score RUN data=FILE [out=FILE] [prefix=WORD] [reference=ROW] [quantile=Q] [model=K] [device=cpu] [dataset.path=FILE]

The energy of every row of a file, low for likely rows, and its log-density where log Z is known, as CSV. Of a run that models principal
components of its columns (dataset.n_components) both are of the components of each row.

  RUN           an id, a unique prefix, a path, or `last`
  data          a CSV, TSV, NPY, NPZ or Parquet file; columns by name where run and file have names, else by position
  out           the CSV to write; standard output where none is named
  prefix        what the names of the new columns begin with, for a file that has a column `energy`
  reference     a row of the file, the first is 1: log_ratio is log p(x) / p(reference), which needs no log Z
  quantile      accepted is 1 where the energy is within that of the run's held-out data, 0 where not: so it is for at most this fraction
                of rows that are drawn as the data were
  model         which model of a stack (0)
  device        cpu, or cuda for large files (energies are in double precision)
  dataset.path  where a table is now, if it has moved; quantile reads it

log_prob_error is how far log_prob may be off, by the error of log Z (of metric.ais with 95 %): the same for all rows, and none where the
objective learned log Z."""

import csv
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from ebm_cli import console
from ebm_cli.commands import run_and_words
from ebm_cli.config import compose
from ebm_cli.core import conformal
from ebm_cli.errors import bad
from ebm_cli.io import atomic

CHUNK = 8192  # rows scored at once
OTHERS = (".tsv", ".npy", ".npz", ".parquet")  # that are read, and not written
HELD_OUT = 10_000  # points of the data, where there are as many; more where the quantile needs more and they can be drawn
LEAST = 1e-6  # quantile


def main(words: Sequence[str]) -> int:
    run, overrides, _ = run_and_words(words, __doc__)
    stored = run.config()
    path = {"dataset": {"path": stored["dataset"]["path"]}} if "path" in stored["dataset"] else {}
    base = {"data": None, "out": None, "prefix": "", "reference": None, "quantile": None, "model": 0, "device": "cpu"}
    given = compose.amend(base | path, overrides)
    if given["data"] is None:
        raise bad("data: a file is needed", "data=points.csv")
    for key in ("model", "reference"):
        if type(given[key]) is not int and (key, given[key]) != ("reference", None):
            raise bad(f"{key}: must be a whole number, not {given[key]!r}")
    if type(given["prefix"]) is not str:
        raise bad(f"prefix: must be a word, not {given['prefix']!r}", "prefix=model_")
    out = None if given["out"] is None else Path(str(given["out"])).expanduser()
    if out and out.suffix.lower() in OTHERS:
        raise bad(f"out: {out.name}: scores are written as CSV", f"out={out.with_suffix('.csv')}")
    q = given["quantile"]
    if q is not None and not (type(q) is float and LEAST <= q < 1):
        raise bad(f"quantile: must be a fraction of at least {LEAST:g} and below 1, not {q!r}", "quantile=0.01")

    from ebm_cli.io import table_files
    from ebm_cli.runner import evaluate, experiment
    from ebm_cli.runner.trained_model import TrainedModel
    from ebm_cli.training.trainer import pick_device

    opened = experiment.Experiment.load(run, pick_device(given["device"]), {"dataset": stored["dataset"] | given.get("dataset", {})})
    trained = TrainedModel.load(run, opened.device).select(given["model"])
    if "energy" not in trained.model.provides:
        raise bad(f"{run.path.name} has no energy: its network outputs the score", "train with energy=mlp to score rows")
    names, data = trained.column_names, str(given["data"])
    table = table_files.events(data, names, key="data", named=run.read("dataset.json")["named"])
    if given["reference"] is not None and not 1 <= given["reference"] <= len(table.values):
        raise bad(f"reference: {data} has no row {given['reference']}", f"its {len(table.values)} rows are counted from 1")
    columns: dict[str, Callable[[float], float]] = {"energy": lambda energy: energy}
    columns |= log_prob(*evaluate.log_z(run.read("summary.json"), given["model"]))
    asked = [*columns, *(name for name, key in (("log_ratio", "reference"), ("accepted", "quantile")) if given[key] is not None)]
    header, added = table.header or names, [given["prefix"] + name for name in asked]
    if twice := [name for name in added if name in header]:
        raise bad(f"data: {data} has a column {twice[0]} already", "prefix=WORD stands before the names of the new ones")
    if given["reference"] is not None:
        (reference,) = energies(trained, table.values[given["reference"] - 1 : given["reference"]])
        columns["log_ratio"] = lambda energy: reference - energy
    if q is not None:
        bound = threshold(opened, trained, Fraction(str(q)))
        columns["accepted"] = lambda energy: int(energy <= bound)
    lines = itertools.chain([[*header, *added]], scored(trained, table, columns.values()))
    if out is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows(lines)
        return 0
    with atomic.told(out, "out"), atomic.whole(out) as file:
        table_files.write(file, lines)
    print(f"Scores saved to {out}")
    return 0


def log_prob(log_z: float | None, error: float | None, source: str) -> dict[str, Callable[[float], float]]:
    """The columns of the log-density, as far as log Z is known."""
    if log_z is None:
        console.say("log Z is not known: energies only (their differences are log-ratios)")
        return {}
    known = f"to {error:.2g}" if error is not None else "with no error known: there is no log_prob_error"
    console.say(f"log Z = {log_z:.6g} nats, {source}, {known}")
    column = {"log_prob": lambda energy: -energy - log_z}
    return column if error is None else column | {"log_prob_error": lambda energy: error}


def threshold(opened: Any, trained: Any, q: Fraction) -> float:
    """The energy that a fraction q of the data's law exceeds at most, by the run's test split; fresh draws where the law is known."""
    from ebm_cli.datasets.table import TableDataset

    opened.check_data()
    data, needed = opened.dataset, conformal.fewest(q)
    n = max(HELD_OUT, needed)
    # a table's as they stand in the file: rounded, a value that many rows share would lie beside its own energy
    rows = (
        data.rows("test")[:n]
        if isinstance(data, TableDataset)
        else trained.standardization.to_data(data.split("test", n, trained.rng)).numpy()
    )
    if len(rows) < needed:
        least = math.ceil(1 / LEAST / (len(rows) + 1)) * LEAST
        raise bad(f"quantile: {float(q):g} needs {needed} held-out rows, there are {len(rows)}", f"quantile={least:g} or greater")
    bound = conformal.threshold(energies(trained, rows), q)
    console.say(f"accepted: energy <= {bound:.6g} nats, which at most {float(q):g} of the data exceed, by {len(rows)} held-out rows")
    return bound


def scored(trained: Any, table: Any, columns: Iterable[Callable[[float], float]]) -> Iterator[list[str]]:
    """Each row's text with what is computed from its energy."""
    for first in range(0, len(table.values), CHUNK):
        found = energies(trained, table.values[first : first + CHUNK])
        for text, energy in zip(table.text[first : first + CHUNK], found, strict=True):
            yield [*text, *(repr(column(energy)) for column in columns)]


def energies(trained: Any, rows: Any) -> list[float]:
    """Of an array (N, D) in the data's units: in nats, in double precision. Equal rows have equal energies, to the last bit: how a
    product of matrices is rounded depends on their shapes, so every chunk is filled up to the same."""
    import torch

    params, device = {name: value.double() for name, value in trained.params.items()}, trained.fit["mean"].device
    found = []
    with torch.no_grad():
        for part in torch.from_numpy(rows).split(CHUNK):
            filled = part[torch.arange(CHUNK).clamp(max=len(part) - 1)]
            found += trained.model.energy(params, trained.standardization.from_data(filled).to(device))[: len(part)].tolist()
    return found

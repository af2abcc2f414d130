"""The energy and log-density of every row of a file, with what follows from them."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import torch

from ebm_cli import console
from ebm_cli.core import conformal
from ebm_cli.errors import bad
from ebm_cli.io import table_files
from ebm_cli.runner import evaluate
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs.run import Run

CHUNK = 8192  # rows scored at once
HELD_OUT = 10_000  # points of the data, where there are as many; more where the quantile needs more and they can be drawn
LEAST = 1e-6  # quantile

Column = Callable[[float], float]  # from the energy of a row


def scored_lines(experiment: Experiment, trained: TrainedModel, given: Mapping[str, Any]) -> Iterator[list[Any]]:
    """A header and the rows of the file `data`, each with its new columns. Everything but the energies is checked before the first line."""
    run, names, data = experiment.run, trained.column_names, str(given["data"])
    check_has_energy(run, trained)
    table = table_files.events(data, names, key="data", named=run.read("dataset.json")["named"])
    if given["relative_to"] is not None and not 1 <= given["relative_to"] <= len(table.values):
        raise bad(f"relative_to: {data} has no row {given['relative_to']}", f"its {len(table.values)} rows are counted from 1")
    columns: dict[str, Column] = {"energy": lambda energy: energy}
    columns |= log_prob(*evaluate.log_z(run.read("summary.json"), given["model"]))
    asked = [*columns, *(name for name, key in (("log_ratio", "relative_to"), ("accepted", "quantile")) if given[key] is not None)]
    header, added = table.header or names, [given["prefix"] + name for name in asked]
    if twice := [name for name in added if name in header]:
        raise bad(f"data: {data} has a column {twice[0]} already", "prefix=WORD is put before the names of the new columns")
    if given["relative_to"] is not None:
        (first,) = energies(trained, table.values[given["relative_to"] - 1 : given["relative_to"]])
        columns["log_ratio"] = lambda energy: first - energy
    if given["quantile"] is not None:
        bound = threshold(experiment, trained, Fraction(str(given["quantile"])))
        columns["accepted"] = lambda energy: int(energy <= bound)
    return itertools.chain([[*header, *added]], scored(trained, table, columns.values()))


def check_has_energy(run: Run, trained: TrainedModel) -> None:
    """Refuse a model without an energy of a row alone."""
    if not {"energy", "unconditional"} <= trained.model.provides:
        what = "outputs the score itself" if trained.network.outputs_score else "takes a label"
        raise bad(f"{run.path.name} has no energy of a row alone: its network {what}", "train with energy=mlp to score rows")


def log_prob(log_z: float | None, error: float | None, source: str) -> dict[str, Column]:
    """The columns of the log-density, where log Z is known."""
    if log_z is None:
        console.say("log Z is not known: only energies are written (their differences are log-ratios)")
        return {}
    known = f"to {error:.2g}" if error is not None else "with an unknown error: there is no log_prob_error"
    console.say(f"log Z = {log_z:.6g} nats, {source}, {known}")
    column = {"log_prob": lambda energy: -energy - log_z}
    return column if error is None else column | {"log_prob_error": lambda energy: error}


def threshold(experiment: Experiment, trained: TrainedModel, q: Fraction) -> float:
    """The energy that at most a fraction q of rows from the data distribution exceeds, by the run's test split or by fresh draws."""
    experiment.check_data()
    data, needed = experiment.dataset, conformal.fewest(q)
    n = max(HELD_OUT, needed)
    # rows of a file are taken as they are in it: a value that many rows share must have exactly its own energy
    own = hasattr(data, "rows")
    rows = data.rows("test")[:n] if own else trained.standardization.to_data(data.split("test", n, trained.rng).x).numpy()
    if len(rows) < needed:
        least = math.ceil(1 / LEAST / (len(rows) + 1)) * LEAST
        raise bad(f"quantile: {float(q):g} needs {needed} held-out rows, there are {len(rows)}", f"quantile={least:g} or greater")
    bound = conformal.threshold(energies(trained, rows), q)
    console.say(f"accepted: energy <= {bound:.6g} nats, exceeded by at most {float(q):g} of the data, from {len(rows)} held-out rows")
    return bound


def scored(trained: TrainedModel, table: table_files.Table, columns: Iterable[Column]) -> Iterator[list[str]]:
    """Each row's text with what is computed from its energy."""
    for first in range(0, len(table.values), CHUNK):
        found = energies(trained, table.values[first : first + CHUNK])
        for text, energy in zip(table.text(first, first + CHUNK), found, strict=True):
            yield [*text, *(repr(column(energy)) for column in columns)]


def energies(trained: TrainedModel, rows: Any) -> list[float]:
    """Of an array (N, D) in data units: in nats, in double precision. Equal rows have equal energies, to the last bit.

    Rounding in a product of matrices depends on their shapes, so every chunk is filled up to the same shape.
    """
    shape, device = trained.standardization.mean.shape, trained.fit["mean"].device
    params = {name: value.double() for name, value in trained.params.items()}
    size, found = max(1, min(CHUNK, CHUNK * 64 // max(shape.numel(), 1))), []
    with torch.no_grad():
        for part in torch.from_numpy(rows).reshape(-1, *shape).split(size):
            filled = part[torch.arange(size).clamp(max=len(part) - 1)]
            found += trained.model.energy(params, trained.standardization.from_data(filled).to(device))[: len(part)].tolist()
    return found

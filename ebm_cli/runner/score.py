"""The energy and log-density of every row of a file, ratios to a reference row, and acceptance by a quantile; hidden units as features."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from ebm_cli import console
from ebm_cli.core import conformal
from ebm_cli.errors import bad
from ebm_cli.io import table_files
from ebm_cli.io.coding import Coding
from ebm_cli.runner import estimators, evaluate
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs.run import RUN_AGAIN, Run
from ebm_cli.types import Params

CHUNK = 8192  # maximum number of rows that are scored at once
HELD_OUT = 10_000  # maximum number of held-out points; small quantiles may need more
LEAST = 1e-6  # the smallest quantile

Column = Callable[[float], float]  # a function of the energy of a row


def scored_lines(experiment: Experiment, trained: TrainedModel, given: Mapping[str, Any]) -> Iterator[list[Any]]:
    """A header and the rows of the file `data`, with the new columns. Everything except the energies is checked before the first line."""
    run, names, data = experiment.run, trained.column_names, str(given["data"])
    check_has_energy(run, trained)
    stored = run.read("dataset.json")
    coding = Coding.from_json(stored.get("coding"))
    if coding and coding.names != [*names]:
        raise bad(f"{run.path.name}: the coding in its dataset.json does not yield its columns", RUN_AGAIN)
    options = {"header": given["header"], "key": "data", "header_key": "header", "named": stored["named"]}
    table = table_files.events(data, names, **options, coding=coding, known=trained.known_values)
    for note in table.notes:
        console.say(f"note: {note}")
    if given["relative_to"] is not None and not 1 <= given["relative_to"] <= len(table.values):
        raise bad(f"relative_to: {data} has no row {given['relative_to']}", f"rows are numbered from 1 to {len(table.values)}")
    columns: dict[str, Column] = {"energy": lambda energy: energy}
    columns |= log_prob(run, evaluate.stored_numbers(run, trained, given["model"]), given["model"])
    asked = [*columns, *(name for name, key in (("log_ratio", "relative_to"), ("accepted", "quantile")) if given[key] is not None)]
    asked += ["score_norm"] * given["score_norm"]
    if given["features"]:
        asked += [f"h{j}" for j in range(n_hidden(run, trained))]
    header, added = table.header or names, [given["prefix"] + name for name in asked]
    if taken := [name for name in added if name in header]:
        raise bad(f"data: {data} already has a column {taken[0]}", "prefix=WORD prepends a word to the names of the new columns")
    if given["relative_to"] is not None:
        (first,) = energies(trained, table.values[given["relative_to"] - 1 : given["relative_to"]])
        columns["log_ratio"] = lambda energy: first - energy
    if given["quantile"] is not None:
        bound = threshold(experiment, trained, Fraction(str(given["quantile"])))
        columns["accepted"] = lambda energy: int(energy <= bound)
    return itertools.chain(
        [[*header, *added]], scored(trained, table, columns.values(), score_norm=given["score_norm"], features=bool(given["features"]))
    )


def check_has_energy(run: Run, trained: TrainedModel) -> None:
    """Refuse a model whose energy is not a function of the row alone."""
    if not {"energy", "unconditional"} <= trained.model.provides:
        what = "outputs the score itself" if trained.network.outputs_score else "takes a label"
        raise bad(f"{run.path.name} gives no energy for a row: its network {what}", "train with energy=mlp to score rows")


def log_prob(run: Run, summary: Mapping[str, Any], model: int) -> dict[str, Column]:
    """The columns of the log-density. There are none if log Z was not measured."""
    log_z, error, source = estimators.log_z(summary, model)
    if log_z is None:
        console.say("log Z is unknown: only energies are written (differences of energies are log-ratios)")
        if (learned := estimators.of_model(summary, "log_z_learned", model)) is not None:
            console.say(f"log Z = {learned:.4g}, as the objective learned it, has an unknown error; `ebm evaluate {run.id}` can measure it")
        return {}
    known = f", with an error of {error:.2g}" if error is not None else ", with an unknown error, so there is no column log_prob_error"
    console.say(f"log Z = {log_z:.6g} nats, {source}{'' if error is None and source == estimators.SOURCES['enumeration'] else known}")
    column = {"log_prob": lambda energy: -energy - log_z}
    return column if error is None else column | {"log_prob_error": lambda energy: error}


def threshold(experiment: Experiment, trained: TrainedModel, q: Fraction) -> float:
    """The energy that at most a fraction q of the data distribution exceeds, estimated from the test split or from fresh draws."""
    experiment.check_data()
    data, needed = experiment.dataset, conformal.fewest(q)
    n = max(HELD_OUT, needed)
    # rows of a file are not rounded: rows that are equal in the file must have exactly equal energies
    own = hasattr(data, "rows")
    rows = data.rows("test")[:n] if own else trained.standardization.to_data(data.split("test", n, trained.rng).x).numpy()
    if not len(rows):
        raise bad("quantile: the run has no test rows (dataset.test=0)", "train with dataset.test=0.2")
    if len(rows) < needed:
        least = math.ceil(1 / LEAST / (len(rows) + 1)) * LEAST
        raise bad(f"quantile: {float(q):g} needs {needed} held-out rows, but there are {len(rows)}", f"quantile={least:g} or greater")
    bound = conformal.threshold(energies(trained, rows), q)
    console.say(f"accepted: energy <= {bound:.6g} nats (estimated from {len(rows)} held-out rows)")
    console.say(f"on average at most a fraction {float(q):g} of new rows has a higher energy")
    return bound


def scored(
    trained: TrainedModel, table: table_files.Table, columns: Iterable[Column], *, score_norm: bool = False, features: bool = False
) -> Iterator[list[str]]:
    """The text of each row, followed by the new columns."""
    for first in range(0, len(table.values), CHUNK):
        rows = table.values[first : first + CHUNK]
        more = [[norm] for norm in score_norms(trained, rows)] if score_norm else itertools.repeat([], len(rows))
        hidden = hidden_units(trained, rows) if features else itertools.repeat([], len(rows))
        for text, energy, norm, of_units in zip(table.text(first, first + CHUNK), energies(trained, rows), more, hidden, strict=True):
            yield [*text, *(repr(column(energy)) for column in columns), *map(repr, [*norm, *of_units])]


def energies(trained: TrainedModel, rows: Any) -> list[float]:
    """The energies of the rows of an array (N, D) in data units, in nats and double precision. Equal rows have bit-identical energies."""
    return per_row(trained, rows, lambda params, u, y: trained.model.energy(params, u).cpu() - trained.standardization.log_warp(y))


def score_norms(trained: TrainedModel, rows: Any) -> list[float]:
    """The norms of the scores at the rows of an array (N, D), in the coordinates of the model."""
    return per_row(trained, rows, lambda params, u, y: trained.model.score(params, u).flatten(1).norm(dim=-1))


def n_hidden(run: Run, trained: TrainedModel) -> int:
    """The number of hidden units. Refuses a model without them."""
    if not hasattr(trained.network.module, "hidden"):
        raise bad(
            f"features=hidden: the energy of {run.path.name} has no hidden units that are independent given a row",
            "leave out features, or train with energy=rbm",
        )
    return trained.network.module.n_hidden


def hidden_units(trained: TrainedModel, rows: Any) -> list[list[float]]:
    """P(h = 1 | row) of every hidden unit, for the rows of an array (N, D)."""
    return per_row(trained, rows, lambda params, u, y: trained.network.call(params, "hidden", u))


def per_row(trained: TrainedModel, rows: Any, function: Callable[[Params, Tensor, Tensor], Tensor]) -> list[Any]:
    """A function of each row of an array (N, D) in data units, in double precision. Equal rows have bit-identical values.

    The function gets the parameters, the rows in the coordinates of the model, and the rows in data units, both (n, *d). Rounding in a
    matrix product depends on the shapes of the matrices, so every chunk is padded to the same shape.
    """
    units, device = trained.standardization, trained.fit["mean"].device
    params = {name: value.double() for name, value in trained.params.items()}
    size, found = max(1, min(CHUNK, CHUNK * 64 // max(units.mean.numel(), 1))), []
    with torch.no_grad():
        for part in torch.from_numpy(rows).reshape(-1, *units.mean.shape).split(size):
            padded = part[torch.arange(size).clamp(max=len(part) - 1)]
            found += function(params, units.from_data(padded).to(device), padded)[: len(part)].tolist()
    return found

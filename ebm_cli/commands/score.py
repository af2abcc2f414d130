"""usage: ebm score RUN data=FILE [out=FILE] [model=K] [device=cpu]

The energy of every row of a file, low for likely rows, and its log-density where log Z is known, as CSV. Of a run that models principal
components of its columns (dataset.n_components) both are of the components of each row.

  RUN     an id, a unique prefix, a path, or `last`
  data    a CSV, TSV, NPY, NPZ or Parquet file; columns by name where the run has names, else by position
  out     the CSV to write; standard output where none is named
  model   which model of a stack (0)
  device  cpu, or cuda for large files (energies are in double precision)"""

import csv
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ebm_cli import config
from ebm_cli.commands import run_and_words
from ebm_cli.errors import bad

CHUNK = 8192  # rows scored at once


def main(words: Sequence[str]) -> int:
    run, overrides, _ = run_and_words(words, __doc__)
    given = config.amend({"data": None, "out": None, "model": 0, "device": "cpu"}, overrides)
    if given["data"] is None:
        raise bad("data: a file is needed", "data=points.csv")
    if not isinstance(given["model"], int):
        raise bad(f"model: must be a number, not {given['model']!r}")

    from ebm_cli import console, evaluation, schema, tables
    from ebm_cli.trained import Trained
    from ebm_cli.trainer import pick_device

    schema.check(run.config())
    trained = Trained.load(run, pick_device(given["device"])).one(given["model"])
    if "energy" not in trained.model.provides:
        raise bad(f"{run.path.name} has no energy: its network outputs the score", "train with energy=mlp to score rows")
    names, data = trained.column_names, str(given["data"])
    table = tables.read(data, names if run.read("dataset.json")["named"] and tables.names(data, key="data") else None, key="data")
    if table.values.shape[1] != len(names):
        raise bad(f"data: {data} has {table.values.shape[1]} columns, the run has {len(names)}: {', '.join(names)}")
    summary = run.read("summary.json")
    log_z, source = evaluation.of_model(summary, "log_z", given["model"]), "by quadrature"
    if log_z is None:
        log_z, source = evaluation.of_model(summary, "log_z_learned", given["model"]), "as learned by the objective"
    console.say(
        f"log Z = {log_z:.6g} nats, {source}"
        if log_z is not None
        else "log Z is not known: energies only (their differences are log-ratios)"
    )
    header = [*(table.header or names), "energy", *(["log_prob"] if log_z is not None else [])]
    rows = scored(trained, table, log_z)
    if given["out"] is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows([header, *rows])
        return 0
    out = Path(str(given["out"])).expanduser()
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with open(partial, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise bad(f"out: {out} cannot be written: {error.strerror}") from None
    print(f"Scores saved to {out}")
    return 0


def scored(trained: Any, table: Any, log_z: float | None) -> Iterator[list[str]]:
    """Each row's text with its energy, in nats and double precision, and log p in data units (or that of its components)."""
    import torch

    params = {name: value.double() for name, value in trained.params.items()}
    for first in range(0, len(table.values), CHUNK):
        u = trained.units.from_data(torch.from_numpy(table.values[first : first + CHUNK]))
        with torch.no_grad():
            energy = trained.model.energy(params, u.to(trained.fit["mean"].device)).tolist()
        for text, value in zip(table.text[first : first + CHUNK], energy, strict=True):
            yield [*text, repr(value), *([repr(-value - log_z)] if log_z is not None else [])]

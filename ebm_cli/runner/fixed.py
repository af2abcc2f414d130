"""Coordinates that are held fixed while a model is sampled: `fixed={0:1,5:0}`, or a row of a file with empty cells for the others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.held import Held
from ebm_cli.errors import MOST_NAMED, bad, nearest
from ebm_cli.io import file_contents, known_values
from ebm_cli.io.cells import is_missing
from ebm_cli.io.text_tables import is_number
from ebm_cli.runner.trained_model import TrainedModel

EXAMPLE = "'fixed={0:1,5:0}'"
WORKS = ("BlockGibbs", "Gibbs")  # the samplers that keep the values


def values_of(fixed: str | Mapping[Any, float], trained: TrainedModel) -> Tensor:
    """The values of all coordinates, (*d), nan where they are free."""
    names, shape = list(trained.column_names), trained.space.shape
    if trained.space.kind == "real":
        raise bad("fixed: coordinates are held in discrete events, but these are real", "leave out fixed")
    found = of_file(fixed, names) if isinstance(fixed, str) else {position(key, names): value for key, value in fixed.items()}
    found = {i: place(value, names[i], known) for i, value in found.items() for known in [trained.known_values[i]]}
    if not found or len(found) == len(names):
        raise bad(f"fixed: {'no' if not found else 'every'} coordinate is fixed", f"fix some of the {len(names)}: {EXAMPLE}")
    values = torch.full((len(names),), torch.nan)
    values[list(found)] = torch.tensor([float(value) for value in found.values()])
    return values.view(shape).to(trained.fit["mean"])


def position(key: Any, names: list[str]) -> int:
    """The position of a coordinate that is given by its name or position."""
    if str(key) in names:
        return names.index(str(key))
    if type(key) is int or str(key).isdecimal():
        if 0 <= int(key) < len(names):
            return int(key)
        raise bad(f"fixed: there is no coordinate {key}", f"positions are from 0 to {len(names) - 1}")
    raise bad(f"fixed: there is no coordinate {key!r}", nearest(str(key), names))


def place(value: float | str, name: str, known: Sequence[str]) -> int:
    """The position of a value of a coordinate, which is a number or, in a file, text."""
    cell = (np.zeros(1), [value.strip()]) if isinstance(value, str) else (np.array([float(value)]),)
    found = known_values.positions(known, *cell)[0]
    if np.isnan(found):
        one_of = "0 or 1" if [*known] == ["0", "1"] else f"one of {', '.join(known[:MOST_NAMED])}{', ...' * (len(known) > MOST_NAMED)}"
        raise bad(f"fixed: the value of {name} is {one_of}, not {value if isinstance(value, str) else f'{value:g}'}", EXAMPLE)
    return int(found)


def of_file(path: str, names: list[str]) -> dict[int, float | str]:
    """The values of the cells of a file with one row that are not empty, by position."""
    file = Path(path).expanduser()
    if not file.exists() and "." not in path and "/" not in path:
        raise bad(f"fixed: {path!r} is neither a list of values nor an existing file", f"{EXAMPLE}, in quotes, or fixed=FILE")
    content = file_contents.content(file, None, "fixed", "")
    if content.names and not {*content.names} <= {*names}:  # the row may look like a header
        content = file_contents.content(file, False, "fixed", "")
    if len(content.cells) != 1:
        raise bad(f"fixed: {file.name} has {len(content.cells)} rows of values", "a file with one row, whose empty cells are free")
    places = [position(name, names) for name in content.names] if content.names else range(len(names))
    if len(row := list(content.cells[0])) != len(places):
        raise bad(f"fixed: {file.name} has {len(row)} cells, but events have {len(names)}", "leave the cells of free coordinates empty")
    return {i: number(cell) for i, cell in zip(places, row, strict=True) if not is_missing(str(cell))}


def number(cell: Any) -> float | str:
    """The number in a cell, or else its text."""
    return float(cell) if not isinstance(cell, str) or is_number(cell) else cell


def put(x: Tensor, values: Tensor) -> Tensor:
    """x with the values, (n, *d)."""
    return torch.where(values.isnan(), x, values)


def holding(trained: TrainedModel, sampler: Sampler, values: Tensor) -> TrainedModel:
    """The model given these values. Refuses samplers that do not keep them."""
    name = type(sampler).__name__
    if name not in WORKS or (name == "BlockGibbs" and getattr(trained.model.module, "first_uniform", None) is None):
        raise bad(f"fixed: sampler {name} does not keep values fixed in this model", "sampler=gibbs")
    return replace(trained, model=Held(trained.model, values))

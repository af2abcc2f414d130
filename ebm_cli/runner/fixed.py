"""Coordinates that are held fixed while a model is sampled: `fixed={0:1,5:0}`, or a row of a file with empty cells for the others."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.held import Held
from ebm_cli.core.states import levels
from ebm_cli.errors import bad, nearest
from ebm_cli.io import file_contents
from ebm_cli.io.cells import is_missing
from ebm_cli.runner.trained_model import TrainedModel

EXAMPLE = "'fixed={0:1,5:0}'"
WORKS = ("BlockGibbs", "Gibbs")  # the samplers that keep the values


def values_of(fixed: str | Mapping[Any, float], trained: TrainedModel) -> Tensor:
    """The values of all coordinates, (*d), nan where they are free."""
    names, shape = list(trained.column_names), trained.space.shape
    if trained.space.kind == "real":
        raise bad("fixed: coordinates are held in discrete events, but these are real", "leave out fixed")
    found = of_file(fixed, names) if isinstance(fixed, str) else {position(key, names): value for key, value in fixed.items()}
    n_states = levels(trained.space, len(names))
    for i, value in found.items():
        if value not in range(n_states[i]):
            known = "0 or 1" if n_states[i] == 2 else f"from 0 to {n_states[i] - 1}"
            raise bad(f"fixed: the value of {names[i]} is {known}, not {value:g}", EXAMPLE)
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


def of_file(path: str, names: list[str]) -> dict[int, float]:
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
    return {i: number(cell, file, names[i]) for i, cell in zip(places, row, strict=True) if not is_missing(str(cell))}


def number(cell: Any, file: Path, name: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise bad(f"fixed: {file.name}, column {name}: {cell!r} is not a number", "leave the cells of free coordinates empty") from None


def put(x: Tensor, values: Tensor) -> Tensor:
    """x with the values, (n, *d)."""
    return torch.where(values.isnan(), x, values)


def holding(trained: TrainedModel, sampler: Sampler, values: Tensor) -> TrainedModel:
    """The model given these values. Refuses samplers that do not keep them."""
    name = type(sampler).__name__
    if name not in WORKS or (name == "BlockGibbs" and getattr(trained.model.module, "first_uniform", None) is None):
        raise bad(f"fixed: sampler {name} does not keep values fixed in this model", "sampler=gibbs")
    return replace(trained, model=Held(trained.model, values))

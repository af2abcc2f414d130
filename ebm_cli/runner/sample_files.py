"""Files of samples in data units: samples.npz of a run, or a CSV, NPY or NPZ file that the user names."""

import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from ebm_cli.console import say
from ebm_cli.errors import bad
from ebm_cli.io import array_files, atomic, inside, known_values, table_files
from ebm_cli.runner.trained_model import TrainedModel

CHUNK = 8192  # number of rows of a CSV file that are text at the same time


def _csv(file: BinaryIO, x: np.ndarray, columns: Sequence[str], models: Sequence[int], parameters: Sequence[str]) -> None:
    flat = x.reshape(len(x), -1)
    rows = (row for first in range(0, len(x), CHUNK) for row in flat[first : first + CHUNK].tolist())
    table_files.write_bytes(file, itertools.chain([columns], rows))


def _npy(file: BinaryIO, x: np.ndarray, columns: Sequence[str], models: Sequence[int], parameters: Sequence[str]) -> None:
    np.save(file, x)


def _npz(file: BinaryIO, x: np.ndarray, columns: Sequence[str], models: Sequence[int], parameters: Sequence[str]) -> None:
    np.savez(file, x=x, columns=np.array(columns), models=np.array(models), parameters=np.array(parameters))


Writer = Callable[[BinaryIO, np.ndarray, Sequence[str], Sequence[int], Sequence[str]], None]
WRITERS: dict[str, Writer] = {".csv": _csv, ".npy": _npy, ".npz": _npz}


def save(
    path: Path, trained: TrainedModel, samples: torch.Tensor, n_samples: int, models: Sequence[int], *, run: Path | None = None
) -> None:
    """Write the samples in data units, (*m, n_samples, *d), one chain after another. `run` is the folder of the run that `path` is in.

    An NPZ file holds them as `x`, with the column names, the indices of the models and the digests of their parameters. A CSV file, of one
    model, has a header with the column names and a row for each sample. A file of a discrete table has the values of its columns; in a run,
    and in columns of text of an array, these are their positions.
    """
    m = len(trained.rng.model_shape)
    x = trained.standardization.to_data(samples.flatten(m, m + 1)).numpy()[(slice(None),) * m + (slice(n_samples),)]
    if trained.states and run is None:
        x = known_values.numbers(trained.states, x) if path.suffix.lower() != ".csv" else np.array(known_values.texts(trained.states, x))
    with inside.replacing(run, path) if run else atomic.replacing(path) as file:
        WRITERS[path.suffix.lower()](
            file, x, trained.column_names, models, [trained.select(k).digest for k in range(trained.rng.model_shape[0] if m else 1)]
        )


def load(path: Path, trained: TrainedModel, model: int) -> torch.Tensor:
    """The stored samples of one model in its coordinates, as chains with one draw each, (n_samples, 1, *d).

    There are none if they were drawn with other parameters: if the newest checkpoint is damaged, an earlier one takes its place.
    """
    try:
        stored = array_files.load(io.BytesIO(inside.read(path.parent, path, inside.MOST_BINARY)))
        x, models = torch.from_numpy(stored["x"]).double(), stored["models"].tolist()
        drawn_with = stored["parameters"].tolist()
        shape = tuple(x.shape[-trained.standardization.mean.ndim :])
    except FileNotFoundError:
        raise bad(f"{path} does not exist", "ebm sample writes it") from None
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise bad(f"{path} is damaged: {error}", "ebm sample writes it again") from None
    if shape != trained.standardization.mean.shape or not isinstance(models, list) or not models:
        raise bad(f"{path} does not hold samples of this run", "ebm sample writes it again")
    if model not in models:
        raise bad(f"model={model}: {path.name} holds only samples of model {models[0]}", f"ebm sample RUN model={model}")
    if drawn_with[models.index(model) : models.index(model) + 1] != [trained.digest]:
        say(f"warning: {path.name} was drawn from another checkpoint and is not shown; `ebm sample RUN` draws new samples")
        return trained.fit["mean"].new_empty(0, 1, *shape)
    x = x[models.index(model)] if x.ndim > 1 + trained.standardization.mean.ndim else x
    return trained.standardization.from_data(x).unsqueeze(1).to(trained.fit["mean"])

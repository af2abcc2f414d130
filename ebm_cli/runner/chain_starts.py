"""The starting points of chains: draws from the reference, data, the replay buffer of training, or points of a file.

Chains that mix forget their starting points. If they do not mix, the starting points matter: chains from data show whether the model
retains the data, and chains from the reference show whether they find the modes.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ebm_cli.core import chain
from ebm_cli.core.contracts import Dataset
from ebm_cli.errors import bad, nearest
from ebm_cli.io import table_files
from ebm_cli.runner.trained_model import TrainedModel

NAMED = ("noise", "data", "buffer")
N_POINTS = 10_000  # minimum number of data points from which starting points are drawn


def starts(start: str | None, trained: TrainedModel, dataset: Callable[[], Dataset] | None, n: int, *, seed: int) -> Tensor | None:
    """n starting points in the model's coordinates, (n, *d); None if the sampler chooses them. `dataset` is None without data."""
    if start is None:
        return None
    if start == "noise":
        return trained.reference.draw(n, trained.rng.at("draw").at(seed))
    rng = trained.rng.at("start").at(seed)
    if start == "data":
        if dataset is None:
            raise bad("start=data: this energy has no data, because it was not trained", "start=noise, or start=FILE")
        points = dataset().split("train", max(n, N_POINTS), trained.rng).x
    elif start == "buffer":
        if "buffer" not in trained.carry:
            others = "start=noise or start=data" if dataset else "start=noise, or start=FILE"
            raise bad("start=buffer: there is no replay buffer (only runs of objective=pcd have one)", others)
        points = trained.carry["buffer"]
    else:
        points = _of_file(start, trained)
    return chain.pick(points.to(trained.fit["mean"]), n, rng)


def _of_file(path: str, trained: TrainedModel) -> Tensor:
    if not Path(path).expanduser().exists() and "." not in path and "/" not in path:
        raise bad(f"start: {path!r} is neither a known start nor an existing file", nearest(path, (*NAMED, "FILE")))
    table = table_files.events(path, trained.column_names, key="start", named=False, known=trained.known_values)
    rows = torch.from_numpy(table.values).reshape(-1, *trained.standardization.mean.shape)
    return trained.standardization.from_data(rows).reshape(-1, *trained.fit["mean"].shape)

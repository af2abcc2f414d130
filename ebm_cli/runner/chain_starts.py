"""Where the chains of a drawn sample start: at the reference, at data, in the replay buffer of training, or at points of a file.

Chains that mix forget their start. Those that do not mix show by their start what the model holds: from data, whether it keeps them;
from the reference, whether chains find them.
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
N_POINTS = 10_000  # data points from which starts are taken, at least


def starts(start: str, trained: TrainedModel, dataset: Callable[[], Dataset] | None, n: int, *, seed: int) -> Tensor | None:
    """(n, *d) in the model's coordinates; None for `noise`, the reference. `dataset` is None where there is none."""
    if start == "noise":
        return None
    rng = trained.rng.at("start").at(seed)
    if start == "data":
        if dataset is None:
            raise bad("start=data: this energy was not trained: it has no data", "start=noise, or start=FILE")
        points = dataset().split("train", max(n, N_POINTS), trained.rng).x
    elif start == "buffer":
        if "buffer" not in trained.carry:
            others = "start=noise or start=data" if dataset else "start=noise, or start=FILE"
            raise bad("start=buffer: there is no replay buffer (runs of objective=pcd have one)", others)
        points = trained.carry["buffer"]
    else:
        points = _of_file(start, trained)
    return chain.pick(points.to(trained.fit["mean"]), n, rng)


def _of_file(path: str, trained: TrainedModel) -> Tensor:
    if not Path(path).expanduser().exists() and "." not in path and "/" not in path:
        raise bad(f"start: there is no start {path!r}, and no such file", nearest(path, (*NAMED, "FILE")))
    table = table_files.events(path, trained.column_names, key="start", named=False)
    rows = torch.from_numpy(table.values).reshape(-1, *trained.standardization.mean.shape)
    return trained.standardization.from_data(rows).reshape(-1, *trained.fit["mean"].shape)

"""Where the chains of a drawn sample start: in noise, at data, in the replay buffer of training, or at points of a file.

Chains that mix forget it. Those that do not show by their start what the model holds: from data, whether it keeps them; from noise,
whether it leads there.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ebm_cli.core import chain
from ebm_cli.errors import bad, nearest
from ebm_cli.io import table_files
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.types import Dataset

NAMED = ("noise", "data", "buffer")


def points(start: str, trained: TrainedModel, dataset: Callable[[], Dataset] | None, n: int, *, seed: int) -> Tensor | None:
    """(n, *d) in the units of the model, drawn from the points that there are; None for `noise`. `dataset` is None where there is none."""
    if start == "noise":
        return None
    rng = trained.rng.at("start").at(seed)
    if start == "data":
        if dataset is None:
            raise bad("start=data: this energy was not trained: it has no data", "start=noise, or start=FILE")
        found = dataset().split("train", max(n, 10_000), trained.rng)
    elif start == "buffer":
        if "buffer" not in trained.carry:
            there = "start=noise or start=data" if dataset else "start=noise, or start=FILE"
            raise bad("start=buffer: there is no replay buffer (runs of objective=pcd have one)", there)
        found = trained.carry["buffer"]
    else:
        found = _of_file(start, trained)
    return chain.starts(n, rng, **{name: trained.fit[name] for name in ("mean", "scale")}, points=found.to(trained.fit["mean"]))


def _of_file(path: str, trained: TrainedModel) -> Tensor:
    if not Path(path).expanduser().exists() and "." not in path and "/" not in path:
        raise bad(f"start: there is no start {path!r}, and no such file", nearest(path, (*NAMED, "FILE")))
    names = trained.column_names
    table = table_files.events(path, names, key="start", named=False)
    return trained.standardization.from_data(torch.from_numpy(table.values)).reshape(-1, *trained.fit["mean"].shape)

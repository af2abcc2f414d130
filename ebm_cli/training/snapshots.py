"""Snapshots of training: the averaged parameters at some steps, with points that the objective used there. Films are made from them.

The steps are as even on a logarithmic scale as distinct whole numbers allow, because a model changes most in its first steps. Snapshots
stay on the device until they are written with the next checkpoint, into a file `snapshots/<step>.safetensors` for each checkpoint that had
new ones. They are functions of the config and the step, so a run that was killed and continued has the same snapshots, bit by bit, as a run
that was not. A stack keeps the snapshots of all its models. They are kept for points in the plane only, which films can show.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError

from ebm_cli.errors import bad
from ebm_cli.io import inside
from ebm_cli.runs.content import SNAPSHOT
from ebm_cli.runs.run import RUN_AGAIN
from ebm_cli.training.snapshot_buffer import SnapshotBuffer
from ebm_cli.training.trainer import Trainer
from ebm_cli.types import Params

MOST = 1 << 23  # numbers in all snapshots of a run, 34 MB: sixty snapshots of eight default networks


class Snapshot(NamedTuple):
    """The state of a model after a step."""

    step: int
    params: Params  # averaged over the steps before, (*m, ...)
    points: Params  # by their name, (*m, n, *d) in the coordinates of the model: what the objective used in this step


def plan(trainer: Trainer) -> None:
    """Choose the steps of the snapshots. Call it when the first and the last step of the schedule are known.

    A run that continues another keeps snapshots of the added steps. A refit keeps none: the film is that of the run with the selection.
    """
    first, settings = trainer.first_step, trainer.settings
    keeps = is_plane(trainer) and not trainer.refitted and not too_many(trainer)
    planned = spaced(settings.n_snapshots, settings.n_steps - first) if keeps else []
    trainer.snapshots = SnapshotBuffer(frozenset(first + step for step in planned))


def spaced(n: int, last: int) -> list[int]:
    """At most n whole numbers from 1 to `last`, which they include, with ratios as equal as possible: [1, 2, 4, 8] for (4, 8)."""
    steps = [1] if n and last else []
    while len(steps) < min(n, last):
        before, left = steps[-1], n - len(steps)
        steps.append(max(before + 1, round(before * (last / before) ** (1 / left))))
    return [*steps[:-1], last] if steps else []


def is_plane(trainer: Trainer) -> bool:
    """Whether the events are points in the plane."""
    data = trainer.dataset
    return data.space.kind == "real" and len(data.column_names) == 2 and data.standardization.matrix is None


def too_many(trainer: Trainer) -> str:
    """Why a run keeps no snapshots although they were asked for, with the number that would fit; "" if it keeps them."""
    n, size = trainer.settings.n_snapshots, trainer.state.theta.numel()
    if not is_plane(trainer) or n * size <= MOST:
        return ""
    fits = f"trainer.n_snapshots={MOST // size} would keep some" if size <= MOST else "the network is too large for any"
    return f"no snapshots are kept for films: {n} of {size} parameters are more than {MOST} numbers; {fits}"


def write(run: Path, trainer: Trainer) -> None:
    """Write what was taken since the last checkpoint, before the checkpoint of the current step is written."""
    taken = trainer.snapshots.taken
    if not taken:
        return
    steps, thetas, points = zip(*taken, strict=True)
    params = trainer.named(torch.stack(thetas))
    tensors = {f"params.{name}": params[name] for name in trainer.shapes}
    tensors |= {f"points.{name}": torch.stack([of[name] for of in points]) for name in points[0]}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()} | {"steps": torch.tensor(steps)}
    folder = inside.make_folder(run, run / "snapshots")
    with inside.replacing(run, folder / f"{trainer.state.step:08d}.safetensors") as file:
        file.write(safetensors.torch.save(tensors))
    trainer.snapshots.taken = []


def cut(run: Path, step: int) -> None:
    """Remove the files of later steps, which will be trained again, and what a killed process left."""
    for path in _files(run):
        if path.name.startswith(".") or int(path.name.partition(".")[0]) > step:
            path.unlink()


def read(run: Path) -> Sequence[Snapshot]:
    """The snapshots of a run in the order of their steps, on the CPU. Raises `InputError` for a damaged file."""
    found = []
    for path in _files(run):
        if path.name.startswith("."):
            continue
        try:
            stored = safetensors.torch.load(inside.read(run, path, inside.MOST_BINARY))
            steps = stored.pop("steps").tolist()
            for i, step in enumerate(steps):
                groups: dict[str, Params] = {"params": {}, "points": {}}
                for key in sorted(stored):
                    group, _, name = key.partition(".")
                    groups[group][name] = stored[key][i]
                found.append(Snapshot(int(step), **groups))
        except (OSError, KeyError, IndexError, TypeError, ValueError, AttributeError, SafetensorError) as error:
            raise bad(f"{path} is damaged: {error}", RUN_AGAIN) from None
    return sorted(found, key=lambda snapshot: snapshot.step)


def _files(run: Path) -> list[Path]:
    """The files of snapshots, and those with the temporary name of one."""
    folder = run / "snapshots"
    if not folder.is_dir() or inside.fault(folder, folder=True):
        return []
    return sorted(path for path in folder.iterdir() if SNAPSHOT.fullmatch(path.name) and not inside.fault(path))

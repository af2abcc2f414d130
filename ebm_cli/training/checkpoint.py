"""Checkpoints. Each is a folder `<step>/` with a safetensors file and a JSON manifest with its sha256. No pickle is ever read.

A checkpoint holds the parameters, their moving average, the state of the optimizer, the carry of the objective, the mean and scale of the
data, and the step. Its content depends only on the config and the step; it contains no times. A folder is written under another name,
synced to the disk and then renamed, so a folder with its final name is complete. If it is damaged later, `newest` reports it and returns
the previous checkpoint.
"""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ebm_cli.training.trainer import Trainer
from ebm_cli.types import Params

KEPT = 2  # the number of checkpoints that are kept; older ones are removed


def save(folder: Path, trainer: Trainer) -> Path:
    """Write `folder/<step>/`, and keep only it and the checkpoint before it."""
    state = trainer.state
    groups = {
        "params": trainer.named(state.theta),
        "ema": trainer.named(state.ema),
        "optimizer": state.optimizer,
        "carry": state.carry,
        "fit": trainer.fit,
        "trainer": {"alive": state.alive, "n_good": state.n_good, "loss_sum": state.loss_sum, "n_summed": torch.tensor(state.n_summed)},
    }
    tensors = {
        f"{group}.{name}": value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for group, part in groups.items()
        for name, value in part.items()
    }
    path, partial = folder / f"{state.step:08d}", folder / f".partial-{state.step:08d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(tensors, partial / "state.safetensors")
    digest = sha256((partial / "state.safetensors").read_bytes()).hexdigest()
    (partial / "manifest.json").write_text(json.dumps({"step": state.step, "sha256": {"state.safetensors": digest}}, indent=1) + "\n")
    for file in (*partial.iterdir(), partial):
        sync(file)
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)
    sync(folder)
    past = [found for found in steps(folder) if found.name <= path.name]
    for stale in {*steps(folder)} - {*past[-KEPT:]}:  # later checkpoints were damaged, and their steps are trained again
        shutil.rmtree(stale)
    return path


def load(path: Path, trainer: Trainer) -> None:
    """Load a checkpoint into a trainer of the same config. Parameters are written in place, so that views of theta stay valid."""
    state, groups = trainer.state, read(path)
    for target, group in ((state.theta, "params"), (state.ema, "ema")):
        for name, view in trainer.named(target).items():
            view.copy_(groups[group][name])
    device = state.theta.device
    state.optimizer = {name: value.to(device) for name, value in groups["optimizer"].items()}
    state.carry = {name: value.to(device) for name, value in groups["carry"].items()}
    state.alive, state.n_good, state.loss_sum = (groups["trainer"][name].to(device) for name in ("alive", "n_good", "loss_sum"))
    state.n_summed, state.step = int(groups["trainer"]["n_summed"]), int(path.name)


def read(path: Path) -> dict[str, Params]:
    """The tensors of a checkpoint by group: params, ema, optimizer, carry, fit, trainer."""
    groups: dict[str, Params] = defaultdict(dict)
    with safe_open(path / "state.safetensors", "pt") as file:
        for key in file.keys():  # noqa: SIM118, the file is not a mapping
            group, _, name = key.partition(".")
            groups[group][name] = file.get_tensor(key)
    return groups


def drop(folder: Path, step: int) -> None:
    """Remove the checkpoints from this step on. They belong to a diverged model, whose loss is not finite from there on."""
    for path in steps(folder):
        if int(path.name) >= max(step, 1):
            shutil.rmtree(path)


def dead(path: Path, seeds: list[int]) -> dict[int, int]:
    """The seeds whose training had diverged, each with the first step at which its loss or gradient was not finite."""
    trainer = read(path)["trainer"]
    alive, n_good = (trainer[name].reshape(-1).tolist() for name in ("alive", "n_good"))
    return {seed: n for seed, ok, n in zip(seeds, alive, n_good, strict=True) if not ok}


def newest(folder: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest intact checkpoint, or None. Damaged ones are skipped and reported to `warn`."""
    for path in reversed(steps(folder)):
        fault = damage(path)
        if not fault:
            return path
        warn(f"checkpoint {path.name} is damaged ({fault}) and is not used")
    return None


def damage(path: Path) -> str:
    """A description of the damage of a checkpoint; "" if it is intact."""
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        for name, digest in manifest["sha256"].items():
            if sha256((path / name).read_bytes()).hexdigest() != digest:
                return f"the sha256 of {name} differs from the manifest"
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if "state.safetensors" in manifest["sha256"] else "the manifest does not name state.safetensors"


def steps(folder: Path) -> list[Path]:
    """The checkpoint folders, the oldest first."""
    return sorted(path for path in folder.glob("*") if path.name.isdigit()) if folder.is_dir() else []


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Checkpoints. Each is a folder `<step>/` with a safetensors file and a JSON manifest with its sha256. No pickle is ever read.

A checkpoint holds the parameters, their moving average, the state of the optimizer, the carry of the objective, the mean and scale of the
data, and the step. Its content depends only on the config and the step; it contains no times. A folder is written under another name,
synced to the disk and then renamed, so a folder with its final name is complete. If it is damaged later, `newest` reports it and returns
the previous checkpoint. A checkpoint may come from somebody else: only its own two files are read, and no link is followed.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from ebm_cli.errors import MOST_NAMED, InputError, bad
from ebm_cli.io import inside
from ebm_cli.io.atomic import naming
from ebm_cli.runs.content import STEP
from ebm_cli.training.trainer import Trainer
from ebm_cli.types import Params

KEPT = 2  # the number of checkpoints that are kept; older ones are removed
STATE, MANIFEST = "state.safetensors", "manifest.json"
GROUPS = ("params", "ema", "selected", "optimizer", "carry", "fit", "trainer")
LONGEST_MANIFEST = 1 << 16  # bytes


def save(folder: Path, trainer: Trainer) -> Path:
    """Write `folder/<step>/`, and keep only it and the checkpoint before it."""
    state = trainer.state
    groups = {
        "params": trainer.named(state.theta),
        "ema": trainer.named(state.ema),
        "selected": {} if state.selected is None else trainer.named(state.selected),
        "optimizer": state.optimizer,
        "carry": state.carry,
        "fit": trainer.fit,
        "trainer": {"alive": state.alive, "n_good": state.n_good, "loss_sum": state.loss_sum, "limit": state.limit}
        | {f"selection.{name}": value for name, value in state.selection.items()}
        | {"n_summed": torch.tensor(state.n_summed), "origin": torch.tensor(trainer.origin)},
    }
    tensors = {
        f"{group}.{name}": value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for group, part in groups.items()
        for name, value in part.items()
    }
    path, partial = folder / f"{state.step:08d}", folder / f".partial-{state.step:08d}"
    with naming(path):
        inside.make_folder(folder.parent, folder)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        content = safetensors.torch.save(tensors)
        (partial / STATE).write_bytes(content)
        manifest = {"step": state.step, "sha256": {STATE: sha256(content).hexdigest()}}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
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
    """Load a checkpoint into a trainer of the same config. Parameters are written in place, so that views of theta stay valid.

    Raises `InputError` if the checkpoint has other parameters than the trainer.
    """
    groups = read(path)
    of_trainer = {name: value.to(trainer.state.theta.device) for name, value in groups["trainer"].items()}
    selection = {name.removeprefix("selection."): value for name, value in of_trainer.items() if name.startswith("selection.")}
    if of_trainer["origin"] > 0 and not trainer.refitted:
        trainer.refit(int(of_trainer["origin"]), selection)
    state = trainer.state
    if differ := differing(groups, trainer):
        raise bad(f"checkpoint {path} has other parameters: {', '.join(differ[:MOST_NAMED])}", "force=true trains the run again")
    for target, group in ((state.theta, "params"), (state.ema, "ema"), (state.selected, "selected")):
        for name, view in trainer.named(target).items() if groups[group] and target is not None else ():
            view.copy_(groups[group][name])
    device = state.theta.device
    state.optimizer = {name: value.to(device) for name, value in groups["optimizer"].items()}
    state.carry = {name: value.to(device) for name, value in groups["carry"].items()}
    state.alive, state.n_good, state.loss_sum, state.limit = (of_trainer[name] for name in ("alive", "n_good", "loss_sum", "limit"))
    state.n_summed, state.step, state.selection = int(of_trainer["n_summed"]), int(path.name), selection
    trainer.last_step = int(state.limit.max())


def read(path: Path) -> dict[str, Params]:
    """The tensors of an intact checkpoint by group: params, ema, selected, optimizer, carry, fit, trainer."""
    groups: dict[str, Params] = {group: {} for group in GROUPS}
    for key, value in sorted(safetensors.torch.load(_content(path, STATE)).items()):  # its own order differs from process to process
        group, _, name = key.partition(".")
        groups[group][name] = value
    return groups


def differing(groups: Mapping[str, Params], trainer: Trainer) -> list[str]:
    """The names of the parameters that a checkpoint and a trainer do not have in common, or have in different shapes."""
    here = {name: value.shape for name, value in trainer.named(trainer.state.theta).items()}
    there = [{name: value.shape for name, value in groups[group].items()} for group in ("params", "ema")]
    return sorted({name for found in there for name in here.keys() | found.keys() if here.get(name) != found.get(name)})


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
        manifest = json.loads(_content(path, MANIFEST, LONGEST_MANIFEST))
        content = _content(path, STATE)
        if manifest["sha256"] != {STATE: sha256(content).hexdigest()}:
            return f"the sha256 of {STATE} differs from the manifest"
        names = safetensors.torch.load(content).keys()
    except SafetensorError:
        return f"{STATE} is not in the safetensors format"
    except InputError as error:
        return str(error)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    lacking = {*GROUPS[:2], "fit", "trainer"} - {name.partition(".")[0] for name in names}
    unknown = {name.partition(".")[0] for name in names} - {*GROUPS}
    return f"{STATE} has other tensors than a checkpoint" if lacking or unknown else ""


def steps(folder: Path) -> list[Path]:
    """The checkpoint folders, the oldest first."""
    if not folder.is_dir() or inside.fault(folder, folder=True):
        return []
    return sorted(path for path in folder.iterdir() if STEP.fullmatch(path.name) and not inside.fault(path, folder=True))


def _content(path: Path, name: str, most: int = inside.MOST_BINARY) -> bytes:
    """The content of a file of a checkpoint."""
    return inside.read(path.parents[1], path / name, most)


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

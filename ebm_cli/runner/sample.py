"""Draw from an energy that is known as it stands, with no run: into outputs/samples/ENERGY-SAMPLER-sSEED-ID/.

The folder holds config.yaml, samples.npz, summary.json and figures/. It is made under another name and renamed into place when all is in
it; the same line typed again makes it anew. ID is a hash of all that is read.
"""

import json
import math
import os
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import yaml

from ebm_cli import console
from ebm_cli.config import compatibility, compose, schema
from ebm_cli.core.chain import Draws
from ebm_cli.errors import InputError, Problem, bad
from ebm_cli.io import atomic
from ebm_cli.metrics import quadrature
from ebm_cli.metrics.quadrature import Grid
from ebm_cli.runner import chain_starts, plots, results, sample_files
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs.run import find, outputs
from ebm_cli.training.trainer import pick_device
from ebm_cli.types import Dataset

TOLERANCE = 0.001  # nats by which doubling may move log Z
NATS = ("log_z", "log_z_quadrature", "log_z_error", "mean_energy", "mean_energy_quadrature", "mean_energy_data", "mean_energy_data_error")
UNITS = dict.fromkeys(NATS, "nats") | {"seconds": "s"}
MAYBE = {"box": ": it may be no density at all, and samples then say nothing"}
WIDENED = 3  # boxes that are tried, each twice as wide as the one before


def check(settings: Mapping[str, Any], chosen: Mapping[str, str], signature: Any) -> dict[str, Any]:
    """The typed config. Raises `InputError` with every problem."""
    problems: list[Problem] = []
    nodes = {}
    for group in ("energy", "sampler"):
        target = schema.resolve(str((settings[group] or {}).get("_target_")), group, schema.KINDS[group], problems)
        if group == "energy" and target is not None and getattr(target, "trainable", True):
            raise bad(
                f"energy={chosen['energy']} is to be trained: without a run there is nothing to draw from",
                f"ebm train energy={chosen['energy']}, and then ebm sample last; {known()} need no training",
            )
        if target is not None:
            nodes[group] = schema.check_node(settings[group], group, schema.KINDS[group], problems)
    if "dataset" not in (settings["energy"] or {}) and any(key.partition(".")[0] == "dataset" for key in chosen):
        problems.append(Problem(f"dataset: energy={chosen['energy']} reads no data", "energy=exact takes a dataset's own density"))
    plain = {key: value for key, value in settings.items() if key not in ("energy", "sampler", "dataset")}
    typed = schema.check_signature(signature, plain | {"model": 0}, "", problems)
    if problems:
        raise InputError(*problems)
    typed.pop("model")
    if "runs" in nodes["energy"]:  # `last` and prefixes mean something else tomorrow
        nodes["energy"]["runs"] = [
            str(one.path) if "/" in name else one.path.name for name in nodes["energy"]["runs"] for one in [find(name)]
        ]
    return nodes | typed


def draw(settings: Mapping[str, Any], chosen: Mapping[str, str], words: Sequence[str], signature: Any) -> int:
    typed = check(settings, chosen, signature)
    out = sample_files.place(typed.pop("out"))
    device, started = pick_device(typed["device"]), time.perf_counter()
    energy, sampler = schema.build(typed["energy"]), schema.build(typed["sampler"])
    trained = TrainedModel.of_analytic(energy, typed["seed"], device)
    results.check_sampler(sampler, trained)
    draws = Draws(typed["n_samples"], typed["n_chains"], typed["n_steps"])
    data = getattr(energy, "dataset", None)
    start = chain_starts.points(typed["start"], trained, data and (lambda: data), draws.starts(sampler, trained.model), seed=0)
    if start is None:
        start = possible(trained, draws.starts(sampler, trained.model))
    with console.waiting("drawing samples"):
        samples, info = trained.draw(sampler, draws, start=start)
    for line in results.warnings_of(info):
        console.say(f"warning: {line}")
    summary = {"energy": chosen["energy"], "sampler": chosen["sampler"], "seed": typed["seed"], "n_samples": draws.n_samples}
    summary |= numbers(energy, trained, samples, data) | {"sampling": {name: value.tolist() for name, value in info.items()}}
    summary["seconds"], summary["line"] = time.perf_counter() - started, shlex.join(["ebm", "sample", *words])
    log_z = summary["log_z"] if summary["log_z"] is not None else summary.get("log_z_quadrature")
    path = place(typed, chosen)
    scene = plots.Scene(trained, data, samples, log_z, [], path.name, None if data is not None else frame(energy, samples))
    drawn = save(path, typed, trained, samples, summary, scene)
    shown = {key: value for key, value in summary.items() if isinstance(value, float)} | {
        name: value.item() for name, value in info.items()
    }
    console.table(["", "value", "unit"], [[key, console.text(value), UNITS.get(key, "")] for key, value in shown.items()])
    for key, reason in summary["reasons"].items():
        print(f"no {key}: {reason}")
    if out is not None:
        with atomic.told(out, "out"):
            sample_files.save(out, trained, samples, draws.n_samples, [0])
    print(f"Samples saved to {path / 'samples.npz'}" + (f" and {out}" if out else ""))
    for name in drawn:
        print(f"Picture saved to {path / name}")
    return 0


def possible(trained: TrainedModel, n: int) -> torch.Tensor:
    """n starts from noise, (n, *d), those where p = 0 put where it is not: there is nothing that would lead them out."""
    start = trained.start(n, trained.rng.at("draw").at(0))
    inside = trained.model.energy(trained.params, start).isfinite()
    if not inside.any():
        raise bad("start=noise: p is 0 at all of the starts", "start=data, or start=FILE")
    return start if inside.all() else start[inside][torch.arange(n, device=start.device) % int(inside.sum())]


def frame(energy: Any, samples: torch.Tensor) -> list[list[float]]:
    """What a picture shows, in data units; of a composition, whose mass may be elsewhere than its runs', the samples too."""
    inside = torch.tensor(energy.frame, dtype=torch.double).T
    if energy.log_z is None:
        flat = samples.flatten(0, 1).flatten(1).cpu().double()
        flat = flat[:: 1 + len(flat) // 2**24]  # torch's quantile takes no more
        low, high = (flat.nanquantile(level, 0) for level in (0.005, 0.995))
        inside = torch.stack([torch.minimum(inside[0], low), torch.maximum(inside[1], high)])
    return energy.standardization.to_data(inside.reshape(2, *energy.shape)).reshape(2, -1).T.tolist()


def numbers(energy: Any, trained: TrainedModel, samples: torch.Tensor, data: Dataset | None) -> dict[str, Any]:
    """log Z in closed form and by quadrature, mean energies of samples, grid and data; null with its reason where there is none."""
    params = {name: value.double() for name, value in trained.params.items()}
    at_samples = quadrature.energy_of(trained.model, params, samples.flatten(0, 1).cpu())
    found, reasons = {"log_z": energy.log_z, "mean_energy": at_samples.mean().item()}, {}
    if energy.log_z is None:
        reasons["log_z"] = "it has no closed form"
    if data is not None:  # the energy is the data's own: draws say what its mean is in any dimension
        at_data = quadrature.energy_of(trained.model, params, data.split("test", quadrature.N_DATA, trained.rng))
        found |= {"mean_energy_data": at_data.mean().item(), "mean_energy_data_error": at_data.std().item() / len(at_data) ** 0.5}
    if len(energy.shape) == 1 and energy.shape[0] <= quadrature.MOST_COORDINATES:
        found |= integrals(energy, trained.model, params, trained.standardization.log_det, reasons)
    for key, value in found.items():
        if value is not None and not math.isfinite(value):
            found[key], reasons[key] = None, f"the value is {value}"
    return found | {"reasons": reasons}


def integrals(energy: Any, model: Any, params: Any, log_det: float, reasons: dict[str, str]) -> dict[str, float | None]:
    """log Z and the mean energy on a grid; `log_z_error` is what doubling the resolution and the box changes."""
    box = tuple(energy.box)
    for _ in range(WIDENED):
        spacing = max(energy.length_scale, (math.prod(high - low for low, high in box) / quadrature.FIRST) ** (1 / len(box)))
        coarse = Grid.of(model, params, None, box, spacing).log_z
        wide, inner = quadrature.widen(box, 2.0), box
        wider = Grid.of(model, params, None, wide, spacing).log_z
        if abs(wider - coarse) <= TOLERANCE / 2:
            break
        box = wide
    fine = Grid.of(model, params, None, inner, spacing / 2)
    changes = {"resolution": abs(fine.log_z - coarse), "box": abs(wider - coarse)}
    if not sum(changes.values()) <= TOLERANCE:
        worst = max(changes, key=lambda name: changes[name])
        reasons["log_z_quadrature"] = f"doubling the {worst} of the grid moves log Z by {changes[worst]:.2g} nats" + MAYBE.get(worst, "")
        return {"log_z_quadrature": None}
    p = fine.mass
    mean = torch.where(p > 0, p * fine.energy, 0).sum().item()
    return {"log_z_quadrature": fine.log_z + log_det, "log_z_error": sum(changes.values()), "mean_energy_quadrature": mean}


def place(typed: Mapping[str, Any], chosen: Mapping[str, str]) -> Path:
    """The folder of these samples."""
    read = {key: value for key, value in typed.items() if key != "device"}
    digest = sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:10]
    return outputs() / "samples" / f"{chosen['energy']}-{chosen['sampler']}-s{typed['seed']}-{digest}"


def save(path: Path, typed: Any, trained: TrainedModel, samples: torch.Tensor, summary: Any, scene: plots.Scene) -> list[str]:
    """The folder, whole or not at all. Returns the pictures in it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        (partial / "config.yaml").write_text(yaml.safe_dump(dict(typed), sort_keys=False))
        sample_files.save(partial / "samples.npz", trained, samples, typed["n_samples"], [0])
        (partial / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
        drawn = [str(one.relative_to(partial)) for one in plots.save(partial / "figures", scene)]
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
    except OSError as error:
        raise bad(f"{path} cannot be written: {error.strerror}", "EBM_OUTPUTS names another place for results") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return drawn


def known() -> str:
    """The options of the group that need no training."""
    options = compose.groups()["energy"]
    return ", ".join(option for option, one in options.items() if not compatibility.trainable(yaml.safe_load(one.path.read_text())))

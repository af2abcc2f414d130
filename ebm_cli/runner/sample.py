"""Samples of a trained run, or of an analytic energy without a run, with their pictures.

Samples of a run are written to its folder. Samples of an analytic energy are written to outputs/samples/ENERGY-SAMPLER-sSEED-ID/ with
config.yaml, samples.npz, summary.json and figures/. The folder is written under a temporary name and renamed when it is complete. ID is a
hash of everything that the samples depend on, so the same command writes the same folder.
"""

import json
import os
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from ebm_cli import console
from ebm_cli.config import compatibility, schema
from ebm_cli.config.text_values import as_typed
from ebm_cli.core.chain import Draws
from ebm_cli.core.contracts import Dataset
from ebm_cli.core.device import pick_device
from ebm_cli.core.figure import Scene
from ebm_cli.errors import InputError, Problem, bad
from ebm_cli.io import out_files, yaml_text
from ebm_cli.io.atomic import reporting
from ebm_cli.runner import analytic_numbers, energy_files, estimators, evaluate, fixed, sample_files
from ebm_cli.runner.chain_starts import starts
from ebm_cli.runner.draw import Drawn, check_memory, draw
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runner.plot import chosen, save_figures
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs import catalog
from ebm_cli.runs.run import Run, outputs
from ebm_cli.types import Count, Natural

DRAWS = tuple(field.name for field in fields(Draws))


def keys(
    *,
    n_samples: Count,
    n_chains: Count,
    n_steps: Count,
    reference_every: Count | None,
    start: str | None,
    fixed: str | dict[int | str, float] | None,
    out: str | None,
    model: Natural,
    seed: Natural,
    device: str,
) -> None:
    """A signature that declares the keys of `ebm sample` and their types."""


def sample_run(run: Run, settings: Mapping[str, Any]) -> None:
    """Draw samples from a trained run. They are saved in its folder, with pictures, or in the file `out`."""
    problems: list[Problem] = []
    node = schema.check_node(settings["sampler"], "sampler", schema.KINDS["sampler"], problems)
    given = schema.check_signature(keys, {key: value for key, value in settings.items() if key != "sampler"}, "", problems)
    if problems:
        raise InputError(*problems)
    out = out_files.check(given["out"], sample_files.WRITERS)
    out_files.keep_inputs(out, run.config())
    if out is None:
        run.check_writable("sample")
    experiment = Experiment.load(run, pick_device(given["device"]))
    trained, sampler = TrainedModel.load(run, experiment.device).select(given["model"]), schema.build(node)
    draws = Draws(**{key: given[key] for key in DRAWS})
    check_memory(draws, len(trained.column_names), 1)

    def dataset() -> Dataset:
        experiment.check_data()
        return experiment.dataset

    n = draws.starts(sampler, trained.model)
    start = starts(given["start"], trained, dataset, n, seed=given["seed"])
    if given["fixed"] is not None:
        if out is None:
            raise bad(
                "fixed: these samples are not those of the model, and the folder of the run has its samples",
                "out=FILE, for example out=given.npz",
            )
        values = fixed.values_of(given["fixed"], trained)
        start = trained.starting_points(sampler, n, seed=given["seed"]) if start is None else start
        trained, start = fixed.holding(trained, sampler, values), fixed.put(start, values)
    labeled = dataset() if trained.model.takes_labels else None
    drawn = draw(trained, sampler, draws, seed=given["seed"], start=start, dataset=labeled)
    drawn.check(complete=out is None)
    path = out or run.path / "samples.npz"
    with reporting(path, "out"):
        sample_files.save(path, trained, drawn.samples, draws.n_samples, [given["model"]], run=None if out else run.path)
    pictures = []
    if out is None:  # pictures show only samples that are stored in the run
        log_z = estimators.of_model(evaluate.stored_numbers(run, trained, given["model"]), "log_z", given["model"])
        scene = trained.scene(experiment.data_if_available(), drawn.samples, log_z, run.path.name, rows=run.rows(), sampler=sampler)
        figures = {name: figure for name, figure in experiment.figures().items() if figure.shows_samples}
        pictures = save_figures(run.figures, figures, scene).saved
    show([[name, f"{value.item():.4g}", ""] for name, value in drawn.info.items()], [path], pictures, drawn)


def sample_energy(settings: Mapping[str, Any], chosen: Mapping[str, str], words: Sequence[str]) -> None:
    """Draw samples from an analytic energy. `chosen` holds the options of the groups on the command line."""
    typed = check(as_typed(settings, words, keys), chosen)
    figures = {name: schema.build(node) for name, node in typed.pop("figure").items()}
    out, device, started = out_files.check(typed.pop("out"), sample_files.WRITERS), pick_device(typed["device"]), time.perf_counter()
    out_files.keep_inputs(out, typed)
    energy, sampler = schema.build(typed["energy"], at="energy", space=None), schema.build(typed["sampler"])
    for note in getattr(energy, "notes", ()):
        console.say(f"note: {note}")
    trained = TrainedModel.of_target(energy, typed["seed"], device)
    draws = Draws(**{key: typed[key] for key in DRAWS})
    check_memory(draws, len(trained.column_names), 1)
    values = None if typed["fixed"] is None else fixed.values_of(typed["fixed"], trained)
    if values is not None:
        typed["fixed"] = {i: value for i, value in enumerate(values.flatten().tolist()) if value == value}
    data, n = getattr(energy, "dataset", None), draws.starts(sampler, trained.model)
    start = starts(typed["start"], trained, data and (lambda: data), n, seed=0)
    start = trained.starting_points(sampler, n, seed=0) if start is None else start
    if values is not None:
        trained, start = fixed.holding(trained, sampler, values), fixed.put(start, values)
    drawn = draw(trained, sampler, draws, start=possible(trained, start, data is not None) if typed["start"] in (None, "noise") else start)
    drawn.check(complete=False)
    summary = {"energy": chosen["energy"], "sampler": chosen["sampler"], "seed": typed["seed"], "n_samples": draws.n_samples}
    summary |= analytic_numbers.numbers(energy, trained, drawn.samples, data)
    summary |= {"sampling": {name: value.tolist() for name, value in drawn.info.items()}}
    summary |= {"seconds": time.perf_counter() - started, "line": shlex.join(["ebm", "sample", *words])}
    log_z = summary["log_z"] if summary["log_z"] is not None else summary.get("log_z_quadrature")
    path = folder_of(typed, chosen)
    own_data = data if chosen["energy"] == "exact" else None
    of_plane = own_data is None and trained.space.kind == "real"
    frame = analytic_numbers.frame(energy, drawn.samples) if of_plane else None
    scene = trained.scene(own_data, drawn.samples, log_z, path.name, frame=frame, sampler=sampler)
    pictures = save_folder(path, typed, trained, drawn, summary, figures, scene)
    if out is not None:
        with reporting(out, "out"):
            sample_files.save(out, trained, drawn.samples, draws.n_samples, [0])
    shown = {key: value for key, value in summary.items() if isinstance(value, float)}
    rows = [[key, console.text(value), analytic_numbers.UNITS.get(key, "")] for key, value in shown.items()]
    if "log_z_by" in summary:
        rows[0][2] += f", by {summary['log_z_by']}"
    rows += [[name, console.text(value.item()), ""] for name, value in drawn.info.items()]
    show(rows, [path / "samples.npz", *([out] if out else [])], pictures, drawn, summary["reasons"])


def show(
    rows: Sequence[Sequence[str]], files: Sequence[Path], pictures: Sequence[Path], drawn: Drawn, reasons: Mapping[str, str] | None = None
) -> None:
    """Print warnings, the table of numbers, and the paths of the files."""
    for line in drawn.warnings:
        console.say(f"warning: {line}")
    console.table(["", "value", "unit"], rows)
    for key, reason in (reasons or {}).items():
        console.show(f"no {key}: {reason}")
    console.show(f"Samples saved to {' and '.join(map(str, files))}")
    for picture in pictures:
        console.show(f"Picture saved to {picture}")


def check(settings: Mapping[str, Any], chosen: Mapping[str, str]) -> dict[str, Any]:
    """The typed settings. Raises `InputError` with every problem."""
    problems: list[Problem] = []
    typed, energy = {}, settings["energy"] or {}
    for group in ("energy", "sampler"):
        target = schema.resolve(str((settings[group] or {}).get("_target_")), group, schema.KINDS[group], problems)
        needs_run = getattr(target, "trainable", True) and not getattr(target, "stands_alone", False)
        if group == "energy" and target is not None and needs_run:
            message = f"energy={chosen['energy']} must be trained before it can be sampled, and no run is given"
            analytic = ", ".join(name for name, node in compatibility.options("energy", ()).items() if compatibility.stands_alone(node))
            raise bad(message, f"ebm train energy={chosen['energy']}, then ebm sample last; these need no training: {analytic}")
        if target is not None:
            typed[group] = schema.check_node(settings[group], group, schema.KINDS[group], problems)
    if chosen["energy"] != "exact" and any(key.partition(".")[0] == "dataset" for key in chosen):
        problems.append(Problem(f"dataset: energy={chosen['energy']} reads no data", "energy=exact samples the density of a dataset"))
    plain = {key: value for key, value in settings.items() if key not in ("energy", "sampler", "dataset", "figure")}
    typed |= schema.check_signature(keys, plain | {"model": 0}, "", problems)
    kind = schema.KINDS_OF_LISTS["figure"]
    typed["figure"] = {name: schema.check_node(node, f"figure.{name}", kind, problems) for name, node in settings["figure"].items()}
    if problems:
        raise InputError(*problems)
    typed.pop("model")
    if "runs" in energy:  # `last` and prefixes may name another run later
        runs = [(name, catalog.find(name)) for name in typed["energy"]["runs"]]
        typed["energy"]["runs"] = [str(run.path) if "/" in name else run.path.name for name, run in runs]
    return typed


def possible(trained: TrainedModel, start: torch.Tensor, has_data: bool) -> torch.Tensor:
    """The starting points, (n, *d). Those where p = 0 are replaced by others, because chains would not leave them."""
    inside = trained.model.energy(trained.params, start).isfinite()
    if not inside.any():
        others = "start=data, or start=FILE" if has_data else "start=FILE, or an energy that is finite there"
        raise bad("start=noise: p(x) = 0 at all starting points", others)
    return start if inside.all() else start[inside][torch.arange(len(start), device=start.device) % int(inside.sum())]


def folder_of(typed: Mapping[str, Any], chosen: Mapping[str, str]) -> Path:
    """The folder of the samples, with a name that follows from the settings."""
    relevant = {key: value for key, value in typed.items() if key != "device"}
    relevant["energy"] = typed["energy"] | energy_files.hashes_of(typed["energy"])  # another content of a file is another model
    digest = sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:10]
    return outputs() / "samples" / f"{chosen['energy']}-{chosen['sampler']}-s{typed['seed']}-{digest}"


def save_folder(
    path: Path,
    typed: Mapping[str, Any],
    trained: TrainedModel,
    drawn: Drawn,
    summary: Mapping[str, Any],
    figures: Mapping[str, Any],
    scene: Scene,
) -> list[Path]:
    """Write the folder, either completely or not at all. Returns the paths of its pictures."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        (partial / "config.yaml").write_text(yaml_text.dump(dict(typed)))
        sample_files.save(partial / "samples.npz", trained, drawn.samples, typed["n_samples"], [0])
        (partial / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
        pictures = save_figures(partial / "figures", figures, scene, chosen(figures)).saved
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
    except OSError as error:
        raise bad(f"{path} cannot be written: {error.strerror}", "set EBM_OUTPUTS to another folder, or free disk space") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [path / picture.relative_to(partial) for picture in pictures]

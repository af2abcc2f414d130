"""Make the film of a run, or of an analytic energy, from what is stored: nothing is trained."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Le

from ebm_cli import console
from ebm_cli.config import compatibility, schema
from ebm_cli.config.text_values import as_typed
from ebm_cli.core import style
from ebm_cli.core.device import pick_device
from ebm_cli.core.figure import Scene
from ebm_cli.errors import InputError, Problem, bad
from ebm_cli.films import sampling, training, video
from ebm_cli.films.canvas import thinned
from ebm_cli.io import atomic, inside
from ebm_cli.runner import analytic_numbers, sample_files
from ebm_cli.runner.chain_starts import starts
from ebm_cli.runner.draw import check_sampler
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runner.sample import check, folder_of
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs.run import Run, outputs
from ebm_cli.training import snapshots
from ebm_cli.types import Count, Natural

N_CANDIDATES = 1000  # points from which starting points that lie far apart are chosen
Frames = Annotated[int, Ge(2), Le(600)]
Chains = Annotated[int, Ge(1), Le(100)]


def keys_of_training(*, out: str | None, model: Natural, n_frames: Frames) -> None:
    """A signature that declares the keys of a film of training."""


def keys_of_sampling(
    *, out: str | None, model: Natural, n_frames: Frames, n_chains: Chains, n_steps: Count, start: str | None, seed: Natural
) -> None:
    """A signature that declares the keys of a film of sampling."""


def film_of_training(run: Run, settings: Mapping[str, Any]) -> Path:
    """Write the film of the training of a run. Returns the path of its file."""
    given = _typed(keys_of_training, settings)
    out = _target(run, "training", given["out"])
    experiment, trained = _loaded(run, settings, given["model"])
    scene = _scene(run, experiment, trained, given["model"])
    _check_plane(scene, "training")
    kept = snapshots.read(run.path)
    if not kept:
        raise _without_snapshots(run, experiment)
    model = given["model"] if experiment.config["seeds"] else None
    shown = [_of_model(run, snapshot, trained, model) for snapshot in kept]
    shown = [shown[i] for i in thinned(np.arange(len(shown)), given["n_frames"])]
    return _write(out, run, training.pictures(scene, shown, kept[-1].step, model), training.KEPT)


def film_of_sampling(run: Run, settings: Mapping[str, Any]) -> Path:
    """Write a film of chains that sample a trained run. Returns the path of its file."""
    problems: list[Problem] = []
    node = schema.check_node(settings["sampler"], "sampler", schema.KINDS["sampler"], problems)
    given = _typed(keys_of_sampling, {key: value for key, value in settings.items() if key != "sampler"}, problems)
    out = _target(run, "sampling", given["out"])
    experiment, trained = _loaded(run, settings, given["model"])
    scene = _scene(run, experiment, trained, given["model"])
    _check_plane(scene, "sampling")

    def dataset() -> Any:
        experiment.check_data()
        return experiment.dataset

    start = starts(given["start"], trained, dataset, N_CANDIDATES, seed=given["seed"])
    return _write(out, run, _chains(trained, schema.build(node), scene, given, start), sampling.COLORS)


def film_of_energy(settings: Mapping[str, Any], own: Mapping[str, Any], chosen: Mapping[str, str], words: Sequence[str]) -> Path:
    """Write a film of chains that sample an analytic energy. `own` has the keys that only films have."""
    frames = _typed(keys_of_sampling, {**settings, **own}, only=("out", "n_frames", "n_chains"))
    typed = check(as_typed(settings, words), chosen)
    out = video.check_out(frames["out"])
    energy, sampler = schema.build(typed["energy"], at="energy", space=None), schema.build(typed["sampler"])
    trained = TrainedModel.of_target(energy, typed["seed"], torch.device("cpu"))
    if trained.space.kind != "real" or len(trained.column_names) != 2:
        raise _of_plane("sampling")
    data = getattr(energy, "dataset", None)
    start = starts(typed["start"], trained, data and (lambda: data), N_CANDIDATES, seed=typed["seed"])
    candidates = trained.reference.draw(N_CANDIDATES, trained.rng.at("draw").at(0))
    frame = analytic_numbers.frame(energy, candidates.unsqueeze(1))
    scene = trained.scene(None, candidates.unsqueeze(1), None, f"{chosen['energy']}, {chosen['sampler']}", frame=frame)
    shown = _chains(trained, sampler, scene, typed | frames, start)
    return _write(out or outputs() / "films" / f"{folder_of(typed, chosen).name}.gif", None, shown, sampling.COLORS)


def _typed(keys: Any, settings: Mapping[str, Any], problems: Sequence[Problem] = (), only: Sequence[str] | None = None) -> dict[str, Any]:
    """The typed settings. Raises `InputError` with every problem."""
    found: list[Problem] = list(problems)
    given = {key: value for key, value in settings.items() if key != "dataset"}
    if only is not None:
        given = {"model": 0, "n_steps": 1, "start": None, "seed": 0} | {key: given[key] for key in only}
    typed = schema.check_signature(keys, given, "", found)
    if found:
        raise InputError(*found)
    return typed if only is None else {key: typed[key] for key in only}


def _target(run: Run, name: str, given: str | None) -> Path:
    """The file of a film of a run."""
    out = video.check_out(given)
    if out is None:
        run.check_writable("animate")
    return out or run.figures / f"{name}.gif"


def _loaded(run: Run, settings: Mapping[str, Any], model: int) -> tuple[Experiment, TrainedModel]:
    changed = {"dataset": {**run.config()["dataset"], **settings["dataset"]}} if settings.get("dataset") else {}
    experiment = Experiment.load(run, pick_device("cpu"), changed)
    return experiment, TrainedModel.load(run, experiment.device).select(model)


def _scene(run: Run, experiment: Experiment, trained: TrainedModel, model: int) -> Scene:
    """The scene of a run; its samples are needed only to find the box of a picture without data."""
    data = experiment.data_if_available()
    samples = trained.fit["mean"].new_empty(0, 1, *trained.fit["mean"].shape)
    if (run.path / "samples.npz").exists() or data is None:
        samples = sample_files.load(run.path / "samples.npz", trained, model)
    title = run.path.name + (f" (model {model})" if experiment.config["seeds"] else "")
    return trained.scene(data, samples, None, title, rows=run.rows())


def _check_plane(scene: Scene, name: str) -> None:
    """Refuse a scene that the films cannot show."""
    if not scene.is_plane or scene.projected:
        raise _of_plane(name)
    if reason := compatibility.lacking(frozenset({"unconditional"}), scene.model.provides | {scene.kind}):
        raise bad(f"figure={name} cannot be drawn: {reason}", "`ebm plot RUN` draws the pictures that apply")
    if scene.data is None and not len(scene.samples):
        raise bad(f"figure={name} cannot be drawn: there are neither data nor finite samples", "dataset.path=FILE names the data file")


def _of_plane(name: str) -> InputError:
    fault = f"figure={name} does not apply: it shows points in the plane, two real columns, and these events are of another kind"
    return bad(fault, "`ebm plot RUN` draws the pictures that apply; `ebm animate energy=four_wells` shows a film")


def _without_snapshots(run: Run, experiment: Experiment) -> InputError:
    """The error of a run that has no snapshots."""
    line = run.read("environment.json").get("reproduce", "")
    if run.state() not in ("finished", "diverged"):
        return bad(f"{run.path.name} has no snapshots yet", "they are written with its checkpoints, every trainer.checkpoint_every steps")
    if experiment.config["trainer"]["n_snapshots"] == 0:
        line = shlex.join(word for word in shlex.split(line) if not word.startswith("trainer.n_snapshots="))
    few = " trainer.n_snapshots=N" if any("no snapshots are kept" in text for text in _log(run)) else ""
    return bad(f"{run.path.name} has no snapshots of its training, and force=true trains it again with them", f"{line}{few} force=true")


def _log(run: Run) -> list[str]:
    try:
        return inside.read(run.path, run.path / "train.log").decode(errors="replace").splitlines()
    except OSError:
        return []


def _of_model(run: Run, snapshot: snapshots.Snapshot, trained: TrainedModel, model: int | None) -> snapshots.Snapshot:
    """The snapshot of one model. Refuses tensors that do not have the shapes of the run."""
    try:
        params, points = ({name: value if model is None else value[model] for name, value in part.items()} for part in snapshot[1:])
        fits = all(value.shape == trained.params[name].shape for name, value in params.items())
        fits &= all(value.shape[1:] == trained.fit["mean"].shape for value in points.values())
    except (IndexError, KeyError):
        fits = False
    if not fits or not params:
        raise bad(f"{run.path.name}: the snapshot of step {snapshot.step} is not one of this run", "put the original files back")
    return snapshot._replace(params=params, points=points)


def _chains(trained: TrainedModel, sampler: Any, scene: Scene, given: Mapping[str, Any], start: torch.Tensor | None) -> Any:
    """The pictures of chains that start far from each other inside the picture."""
    check_sampler(sampler, trained)
    if start is None:
        start = trained.reference.draw(N_CANDIDATES, trained.rng.at("draw").at(given["seed"]))
    low, high = torch.tensor(scene.box, dtype=torch.double).T
    y = trained.standardization.to_data(start).reshape(len(start), 2)
    fits = ((y > low) & (y < high)).all(1)
    if scene.has_energy:
        fits &= torch.from_numpy(np.isfinite(scene.energy(y)))
    if not fits.any():
        raise bad("start: no starting point with a finite energy lies inside the picture", "start=data, or start=FILE")
    n_steps = sampler.length(trained.model) or given["n_steps"]
    found = sampling.run(trained, sampler, sampling.far_apart(start[fits], given["n_chains"]), n_steps, given["seed"])
    return sampling.pictures(scene, found, given["n_frames"])


def _write(path: Path, run: Run | None, pictures: Iterator[np.ndarray], kept: Sequence[str]) -> Path:
    """Write the file of a film, completely or not at all. A film in the folder of its run is written like the other files of the run."""
    with console.waiting("drawing the film"), style.applied():
        content = video.encode(list(pictures), path.suffix, kept)
    if run is not None and path.parent == run.figures:
        inside.make_folder(run.path, run.figures)
        with inside.replacing(run.path, path) as file:
            file.write(content)
        return path
    with atomic.reporting(path, "out"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(path) as file:
            file.write(content)
    return path

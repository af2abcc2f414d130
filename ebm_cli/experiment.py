"""One experiment, from a composed config to a finished run folder: check, build, lock, train or go on, measure, picture."""

import math
import os
import shlex
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from ebm_cli import checkpoint, console, environment, evaluation, matching, pictures, schema
from ebm_cli.chain import Draws
from ebm_cli.config import Composed
from ebm_cli.errors import InputError, Interrupted, RunFailed, bad
from ebm_cli.run import Run, write
from ebm_cli.signals import Stop
from ebm_cli.trained import Trained
from ebm_cli.trainer import Settings, Stopwatch, Trainer, pick_device
from ebm_cli.types import Dataset, Metric, Sampler

DIVERGED = "a smaller optimizer.lr or trainer.max_grad_norm, or optimizer.n_warmup_steps=500, are the usual cures"


@dataclass(frozen=True)
class Experiment:
    """A typed config, what was built from it, and the folder where it stands."""

    config: dict[str, Any]
    dataset: Dataset
    device: torch.device
    run: Run

    @classmethod
    def of(cls, composed: Composed, dirs: Sequence[Path] = ()) -> "Experiment":
        """Checked, and the data opened. Raises `InputError` with every problem; writes nothing."""
        typed = check(composed, dirs)
        device, dataset = pick_device(typed["device"]), schema.build(typed["dataset"])
        _ = dataset.units  # a table is read, and refused where it must be
        return cls(typed, dataset, device, Run.of(typed, composed.choices["dataset"], composed.choices["objective"], dataset.fingerprint))

    @classmethod
    def load(cls, run: Run, device: torch.device, changed: Mapping[str, Any] | None = None) -> "Experiment":
        """Of a run that is there, with the parts of its config that were changed. The fence stands before it as before a new one."""
        typed = schema.check({**run.config(), **(changed or {})})
        return cls(typed, schema.build(typed["dataset"]), device, run)

    def trainer(self) -> Trainer:
        parts = {key: schema.build(self.config[key]) for key in ("objective", "optimizer")}
        regularizers = [schema.build(node) for node in self.config["regularizer"].values()]
        return Trainer(
            Settings(**self.config["trainer"]),
            self.dataset,
            lambda **data: schema.build(self.config["energy"], **data),
            parts["objective"],
            regularizers,
            parts["optimizer"],
            seeds=seeds(self.config),
            device=self.device,
        )

    def check_data(self) -> None:
        """Refuse a data file that is not the one the run was trained on."""
        trained_on = self.run.read("dataset.json").get("sha256", "")
        if self.dataset.fingerprint != trained_on:
            raise bad(
                f"dataset.path: {self.config['dataset']['path']} has changed since the run was trained on it",
                "dataset.path=FILE names another",
            )

    def data_if_there(self) -> Dataset | None:
        """The data, or None where their file is gone or has changed."""
        try:
            self.check_data()
        except InputError as error:
            console.say(f"the picture is drawn without data: {error}")
            return None
        return self.dataset

    def metrics(self) -> dict[str, Metric]:
        return {name: schema.build(node) for name, node in self.config["metric"].items()}


def check(composed: Composed, dirs: Sequence[Path] = ()) -> dict[str, Any]:
    """The typed config. Raises `InputError` with every problem: keys, types, ranges, targets, and what does not go together."""
    return schema.check(composed.config, [*composed.problems, *matching.problems(composed, dirs)])


def seeds(config: Mapping[str, Any]) -> int | tuple[int, ...]:
    """One seed, or the seeds of a stack."""
    return tuple(range(config["seed"], config["seed"] + config["seeds"])) if config["seeds"] else config["seed"]


def train(composed: Composed, words: Sequence[str], dirs: Sequence[Path] = (), *, wait: bool = False) -> dict[str, Any]:
    """Train a run to its end, or go on with it, or return what it has found already: its summary, printed."""
    experiment = Experiment.of(composed, dirs)
    run, force = experiment.run, experiment.config["force"]
    if run.state() in ("finished", "diverged") and not force:
        return stored(experiment)
    trainer = experiment.trainer()
    counts = trainer.count()  # a first step, so that what cannot run leaves nothing behind
    with run.lock(wait=wait), Stop().listening() as stop:
        if force and run.state() != "new":
            run.replace()
        elif run.state() in ("finished", "diverged"):  # by another process, while this one waited
            return stored(experiment)
        try:
            if not (run.path / "environment.json").exists():
                create(experiment, composed, words, dirs)
            resume(trainer, run)
            run.set_status("running")
            fit(experiment, trainer, stop)
            summary = finish(experiment, trainer, counts)
        except Interrupted as interrupt:
            run.set_status("interrupted", f"signal {interrupt.signal} at step {trainer.state.step}")
            run.log(f"interrupted by signal {interrupt.signal} at step {trainer.state.step}")
            raise Interrupted(interrupt.signal, f"the same line again goes on from step {_newest_step(run)}") from None
        except RunFailed as failure:
            run.set_status("diverged", str(failure))
            run.log(f"diverged: {failure}")
            raise
        except Exception as error:
            fail(run, error)
    show(experiment.run, summary)
    return summary


def create(experiment: Experiment, composed: Composed, words: Sequence[str], dirs: Sequence[Path]) -> None:
    """The folder's first files: config, data, environment."""
    run, dataset = experiment.run, experiment.dataset
    write(run.path / "config.yaml", yaml.safe_dump(experiment.config, sort_keys=False))
    data = {"shape": list(dataset.shape), "columns": list(dataset.column_names), "named": dataset.named, **dataset.units.to_json()}
    run.write("dataset.json", data | {"sha256": dataset.fingerprint})
    line = ["ebm", "train", *(f"--config-dir={path}" for path in dirs), *words]
    allow = os.environ.get("EBM_ALLOW")
    reproduce = (f"EBM_ALLOW={shlex.quote(allow)} " if allow else "") + shlex.join(line)
    facts = {"id": run.id, "created": time.time(), "reproduce": reproduce, "differs": composed.differs, "choices": composed.choices}
    run.write("environment.json", facts | environment.facts(experiment.device) | {"seed": experiment.config["seed"], "command": sys.argv})
    run.log(f"new run: {reproduce}")


def resume(trainer: Trainer, run: Run) -> None:
    """Go on from the newest whole checkpoint, if there is one."""

    def warn(line: str) -> None:
        run.log(line)
        console.say(f"warning: {line}")

    path = checkpoint.newest(run.checkpoints, warn)
    if path is None:
        return
    checkpoint.load(path, trainer)
    if trainer.state.step:
        run.log(f"going on from step {trainer.state.step}")
        console.say(f"going on from step {trainer.state.step}")


def fit(experiment: Experiment, trainer: Trainer, stop: Stop) -> None:
    """Train to the last step, with rows, evaluations and checkpoints at their intervals."""
    run, settings, metrics = experiment.run, trainer.settings, experiment.metrics()
    rows = run.cut(trainer.state.step)
    if trainer.state.step == 0:
        checkpoint.save(run.checkpoints, trainer)
    watch = Stopwatch(rows[-1]["seconds"] if rows else 0.0)
    stop.deferred = True
    with console.Progress(run.path.name, settings.n_steps, trainer.state.step) as progress:
        for step in trainer.steps():
            last = step == settings.n_steps
            log, evaluate = step % settings.log_every == 0 or last, step % settings.evaluate_every == 0 or last
            save = step % settings.checkpoint_every == 0 or last or bool(stop.signal)
            if not (log or evaluate or save):
                continue
            row = trainer.read() if log else {"step": step}
            seconds = watch.pause()
            dead = trainer.dead()
            if evaluate:
                measured = evaluation.measure(Trained.of(trainer), experiment.dataset, metrics, None, final=False)
                row |= _row(measured, stacked=bool(trainer.rng.model_shape))
            if log or evaluate:
                run.append({key: _finite(value) for key, value in row.items()} | {"seconds": round(seconds, 3)})
                progress.show(row)
            if len(dead) == len(trainer.rng.seed_list):
                first = min(dead.values())
                kept = checkpoint.newest(run.checkpoints, run.log)
                message = (
                    f"diverged: loss or gradient was not finite from step {first + 1} on; the checkpoint of step {int(kept.name)} is kept"
                )
                raise RunFailed(message, DIVERGED)
            if save:
                checkpoint.save(run.checkpoints, trainer)
            if stop.signal:
                raise Interrupted(stop.signal)
            watch.go_on()
    stop.deferred = False


def finish(experiment: Experiment, trainer: Trainer, counts: Mapping[str, float]) -> dict[str, Any]:
    """Draw, measure, picture, sum up."""
    run, settings, stacked = experiment.run, trainer.settings, bool(trainer.rng.model_shape)
    rows = run.rows()
    seconds = rows[-1]["seconds"]
    n_samples = settings.n_steps * settings.batch_size
    cost = {"n_steps": settings.n_steps, "train_seconds": seconds, "steps_per_second": settings.n_steps / max(seconds, 1e-9)}
    cost |= {f"n_{name}_evaluations": round(count * n_samples) for name, count in counts.items()}
    summary = measure(experiment, Trained.of(trainer), trainer.dead(), cost)
    run.write("summary.json", summary)
    dead = trainer.dead()
    if dead:
        which = ", ".join(f"seed {seed} at step {step + 1}" for seed, step in dead.items())
        run.set_status("diverged", f"{len(dead)} of {len(trainer.rng.seed_list)} models diverged: {which}")
    else:
        run.set_status("finished")
    run.log(f"finished, {'with diverged models' if dead and stacked else 'all well'}")
    return summary


def measure(experiment: Experiment, trained: Trained, dead: Mapping[int, int], cost: Mapping[str, Any]) -> dict[str, Any]:
    """Draws, final numbers and pictures of a trained run; samples.npz and figures/ are written."""
    run, config, stacked = experiment.run, experiment.config, bool(trained.rng.model_shape)
    samples, info = trained.draw(schema.build(config["sampler"]), Draws(**config["draws"]))
    rows = evaluation.measure(trained, experiment.dataset, experiment.metrics(), samples, final=True)
    losses = evaluation.test_loss(trained, experiment.dataset, schema.build(config["objective"]))
    rows = [row | loss for row, loss in zip(rows, losses, strict=True)]
    rows = [
        row if seed not in dead else dict.fromkeys(row, f"seed {seed} diverged at step {dead[seed] + 1}")
        for seed, row in zip(trained.rng.seed_list, rows, strict=True)
    ]
    save_samples(run.path / "samples.npz", trained, samples, config["draws"]["n_samples"])
    summary = {"id": run.id, "seed": config["seed"], **({"seeds": config["seeds"]} if stacked else {})}
    summary |= evaluation.summarise(rows, stacked=stacked) | dict(cost) | {"metrics": list(config["metric"])}
    summary["sampling"] = {name: value.tolist() for name, value in info.items()}
    log_z = evaluation.of_model(summary, "log_z", 0)
    one = samples[0] if stacked else samples
    pictures.save(run.figures, pictures.Scene(trained.one(0), experiment.dataset, one, log_z, run.rows(), _title(experiment, stacked)))
    return summary


def check_sampler(sampler: Sampler, trained: Trained) -> None:
    """Refuse a sampler that needs an energy where there is none."""
    if sampler.requires - trained.model.provides:
        raise bad(f"{type(sampler).__name__} needs an energy, but the run's network outputs the score", "sampler=langevin")


def save_samples(path: Path, trained: Trained, samples: torch.Tensor, n_samples: int) -> None:
    """`x` in data units, (*m, n_samples, *d), the draws of a chain side by side, and the names of the columns."""
    m = len(trained.rng.model_shape)
    x = trained.units.to_data(samples.flatten(m, m + 1)).numpy()[(slice(None),) * m + (slice(n_samples),)]
    partial = path.with_name(f".{path.name}")
    with open(partial, "wb") as file:
        np.savez(file, x=x, columns=np.array(trained.column_names))
    partial.replace(path)


def stored(experiment: Experiment) -> dict[str, Any]:
    """The result of a run that has ended: its table at once. A metric that was not there yet is computed and added."""
    run = experiment.run
    status, facts, summary = run.read("status.json"), run.read("environment.json"), run.read("summary.json")
    if facts.get("source") != environment.source_hash():
        console.say("warning: the code has changed since this run was trained")
    if not summary:
        raise RunFailed(f"{status['reason']} (a stored result: {run.path})", f"{DIVERGED}; force=true trains it anew")
    console.say(f"{status['state']} before; force=true trains it anew")
    new = {name: node for name, node in experiment.config["metric"].items() if name not in summary["metrics"]}
    if new:
        stored_metrics = {name: node for name, node in run.config()["metric"].items() if name in summary["metrics"]}
        experiment.config["metric"] = stored_metrics | experiment.config["metric"]
        summary = measure_again(experiment)
    show(run, summary)
    return summary


def measure_again(experiment: Experiment) -> dict[str, Any]:
    """The metrics of a run that is there, from its checkpoint; its summary is written anew."""
    run, old = experiment.run, experiment.run.read("summary.json")
    experiment.check_data()
    trained = Trained.load(run, experiment.device)
    check_sampler(schema.build(experiment.config["sampler"]), trained)
    kept = ("n_steps", "train_seconds", "steps_per_second", "n_energy_evaluations", "n_score_evaluations", "n_hvp_evaluations")
    dead = checkpoint.dead(checkpoint.newest(run.checkpoints, run.log), trained.rng.seed_list)
    summary = measure(experiment, trained, dead, {key: old[key] for key in kept if key in old})
    run.write("summary.json", summary)
    return summary


def show(run: Run, summary: Mapping[str, Any]) -> None:
    """The table, the line that makes it again, and where everything is."""
    console.results(summary)
    print(run.read("environment.json")["reproduce"])
    print(f"Results saved to {run.path}")
    status = run.read("status.json")
    if status.get("state") == "diverged":
        raise RunFailed(status["reason"], DIVERGED)


def fail(run: Run, error: Exception) -> None:
    """Record what went wrong, as far as the disk takes it, and end the run."""
    try:
        run.log(traceback.format_exc())
        run.set_status("failed", f"{type(error).__name__}: {error}")
    except OSError as second:
        raise RunFailed(f"{type(error).__name__}: {error}; and the run folder cannot be written: {second}") from error
    if os.environ.get("EBM_DEBUG"):
        raise error
    hint = f"the traceback is in {run.path / 'train.log'}; the same line again goes on from step {_newest_step(run)}"
    raise RunFailed(f"{type(error).__name__}: {error}", hint) from None


def _newest_step(run: Run) -> int:
    path = checkpoint.newest(run.checkpoints, run.log)
    return int(path.name) if path else 0


def _row(measured: Sequence[evaluation.Numbers], *, stacked: bool) -> dict[str, Any]:
    """Interval metrics as a row has them: numbers only, a list per model for a stack."""
    keys = [key for key in measured[0] if not isinstance(measured[0][key], str)]
    return {key: [row[key] for row in measured] if stacked else measured[0][key] for key in keys}


def _finite(value: Any) -> Any:
    """JSON has no NaN: null."""
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None


def _title(experiment: Experiment, stacked: bool) -> str:
    return experiment.run.path.name + (" (seed " + str(experiment.config["seed"]) + ")" if stacked else "")

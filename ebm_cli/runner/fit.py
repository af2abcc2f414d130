"""Train the models of a run to the last step, and write rows, evaluations and checkpoints at their intervals."""

import math
from collections.abc import Sequence
from typing import Any

from ebm_cli import console
from ebm_cli.core.contracts import Follower
from ebm_cli.errors import Interrupted, RunFailed
from ebm_cli.runner import evaluate
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runner.results import DIVERGED
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs.run import Run
from ebm_cli.training import checkpoint, snapshots
from ebm_cli.training.signals import Stop
from ebm_cli.training.trainer import Stopwatch, Trainer


def fit(experiment: Experiment, trainer: Trainer, stop: Stop, followers: Sequence[Follower]) -> None:
    """Train to the last step, with rows, evaluations and checkpoints at their intervals."""
    run, settings, metrics = experiment.run, trainer.settings, experiment.metrics()
    rows = run.cut(trainer.state.step)
    snapshots.cut(run.path, trainer.state.step)
    snapshots.plan(trainer)
    if trainer.selection and trainer.state.step == trainer.first_step:
        trainer.select()  # a network that starts at the reference is a candidate before it is trained
    if not checkpoint.steps(run.checkpoints):
        checkpoint.save(run.checkpoints, trainer)
    watch, warned = Stopwatch(rows[-1]["seconds"] if rows else 0.0), False
    stop.deferred = True
    for step in trainer.steps():
        evaluation = not trainer.refitted and (step % settings.evaluate_every == 0 or step == trainer.last_step)
        number = trainer.select() if trainer.selection and evaluation else None  # this may change the last step
        last = step == trainer.last_step
        log = step % settings.log_every == 0 or last
        stopping = bool(stop.signal)  # read once: a later signal takes effect at the next step, with its checkpoint
        save = step % settings.checkpoint_every == 0 or last or stopping or stop.save
        if not (log or evaluation or save):
            continue
        row, dead = trainer.read() if log else {"step": step}, trainer.dead()
        seconds = watch.pause()  # after values were read: before that, a GPU may still be busy with the steps
        if log and not warned and (warning := trainer.objective.warning(row)):
            warned = True
            run.log(warning)
            console.say(f"warning: {warning}")
        if evaluation:
            measured = evaluate.evaluate_models(TrainedModel.of(trainer), experiment.dataset, metrics, None, final=False)
            row |= _numbers(measured, stacked=bool(trainer.rng.model_shape))
            row |= {} if number is None else {f"validation_{trainer.selection.rule}": number.tolist()}
        if log or evaluation:
            row = {key: _finite(value) for key, value in row.items()} | {"seconds": round(seconds, 3)}
            run.append(row)
            for follower in followers:
                follower.row(row)
        if len(dead) == len(trainer.rng.seed_list):
            raise _diverged(run, min(dead.values()))
        if save:
            asked, stop.save = stop.save, False
            snapshots.write(run.path, trainer)
            checkpoint.save(run.checkpoints, trainer)
            if asked:
                run.log(f"saved a checkpoint at step {step}, as requested by a signal")
        if stopping:
            raise Interrupted(stop.signal)
        watch.go_on()
    stop.deferred = False
    if stop.signal:
        raise Interrupted(stop.signal)
    if settings.refit and trainer.learns and not trainer.refitted:
        trainer.refit(trainer.state.step, trainer.state.selection)
        run.log(f"training again on the training and validation events, to step {trainer.last_step}")
        checkpoint.save(run.checkpoints, trainer)
        fit(experiment, trainer, stop, followers)


def _diverged(run: Run, first: int) -> RunFailed:
    """The error of a run whose models have all diverged, the first at step `first` + 1. Later checkpoints are removed."""
    checkpoint.drop(run.checkpoints, first)
    kept = checkpoint.newest(run.checkpoints, run.log)
    message = f"diverged: loss or gradient was not finite from step {first + 1} on; the checkpoint of step {int(kept.name)} is kept"
    return RunFailed(message, DIVERGED)


def _numbers(measured: Sequence[evaluate.Numbers], *, stacked: bool) -> dict[str, Any]:
    """Metrics in the form of a row of the log: numbers only, and a list with an entry for each model of a stack."""
    columns = evaluate.columns(measured)
    return {key: values if stacked else values[0] for key, values in columns.items() if any(value is not None for value in values)}


def _finite(value: Any) -> Any:
    """The value with None for numbers that are not finite, because JSON has no NaN."""
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None

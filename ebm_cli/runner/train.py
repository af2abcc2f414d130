"""Train a run to its end: build, lock, continue from the newest checkpoint, fit, measure, and record the outcome."""

import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from ebm_cli import console
from ebm_cli.config import schema
from ebm_cli.config.compose import Composed
from ebm_cli.config.roles import DRAWS, MEASURES, new_labels, with_role
from ebm_cli.core.contracts import Follower
from ebm_cli.errors import Interrupted, RunFailed, bad, described, is_memory
from ebm_cli.io import yaml_text
from ebm_cli.runner import energy_files, marks, results
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runner.fit import fit
from ebm_cli.runner.line import command_of
from ebm_cli.runner.results import DIVERGED
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs import provenance
from ebm_cli.runs.run import SCHEMA, Run, write
from ebm_cli.training import checkpoint, snapshots
from ebm_cli.training.resume import Parent
from ebm_cli.training.signals import Stop
from ebm_cli.training.trainer import Trainer
from ebm_cli.training.trial_step import trial_step

ENDED = ("finished", "diverged")


def train(experiment: Experiment, composed: Composed, followers: Sequence[Follower] = (), *, wait: bool = False) -> None:
    """Train a run to its end, continue it, or show its stored result. If another process holds it, wait or refuse."""
    run, force, followers = experiment.run, experiment.config["force"], [*experiment.loggers(), *followers]
    if run.path.exists() and not run.path.is_dir():
        raise bad(f"{run.path} is not a folder, but it has the name of the folder of this run", "move it to another place")
    if not force and ((run.path / "environment.json").exists() or run.state() == "damaged"):
        check_folder(run)
    if run.state() in ENDED and not force:
        return show_stored(experiment, composed)
    trainer, parent = experiment.trainer(), Parent.of(experiment.config)
    if parent:
        parent.check(trainer)
        trainer.first_step = parent.step
    counts = trial_step(trainer)  # a run that cannot be trained writes nothing
    with run.lock(wait=wait), Stop().listening() as stop:
        if force and not run.is_empty():
            run.replace()
        elif run.state() in ENDED:  # another process finished it while this one waited
            return show_stored(experiment, composed)
        summary = None
        try:
            create(experiment, composed)
            of_films = filter(None, [snapshots.too_many(trainer)])
            for note in (*getattr(trainer.model.module, "notes", ()), *trainer.reference.notes, *of_films):
                console.say(f"note: {note}")
                run.log(note)
            resume(trainer, run, parent)
            run.set_status("running")
            (run.path / "summary.json").unlink(missing_ok=True)  # it describes an earlier step, at which the run was evaluated
            for follower in followers:
                follower.start(run, experiment.config, trainer.state.step)
            fit(experiment, trainer, stop, followers)
            summary = finish(experiment, trainer, counts)
        except Interrupted as interrupt:
            run.set_status("interrupted", f"signal {interrupt.signal} at step {trainer.state.step}")
            run.log(f"interrupted by signal {interrupt.signal} at step {trainer.state.step}")
            raise Interrupted(interrupt.signal, f"the same command continues from step {_newest_step(run)}") from None
        except RunFailed as failure:
            run.set_status("diverged", str(failure))
            run.log(f"diverged: {failure}")
            raise
        except (Exception, SystemExit) as error:  # a component may call sys.exit
            fail(run, error)
        finally:
            for follower in reversed(followers):  # the live view closes before the others print
                follower.end(run.state(), summary)
    results.show(run, summary)


def check_folder(run: Run) -> None:
    """Refuse an existing run folder that is damaged, that does not belong to this line, or in which this user may not write."""
    if problem := run.damage():
        raise bad(f"{run.path.name} is damaged: {problem.message}", "force=true trains the run again and keeps the old folder")
    marks.check(run)
    if not os.access(run.path, os.W_OK | os.X_OK):
        raise bad(f"the run folder {run.path} is not writable", "set EBM_OUTPUTS to another folder")


def show_stored(experiment: Experiment, composed: Composed) -> None:
    """Show the result of a run that has ended. New metrics and figures are added."""
    run = experiment.run
    status, facts, summary = run.read("status.json"), run.read("environment.json"), run.read("summary.json")
    if changed := changed_code(experiment, facts):
        console.say(f"warning: the code of {changed} has changed since this run began")
    facts = relabel(experiment, facts)
    if not summary and status["state"] == "diverged":
        log_again(experiment, summary)
        raise RunFailed(f"{status.get('reason', 'diverged')} (stored in {run.path})", f"{DIVERGED}; force=true trains it again")
    console.say(f"this run is {status['state']}: its stored result is shown; force=true trains it again")
    now, measured_with = experiment.config, summary.get("measured_with", {})
    now["metric"] = measured_with.get("metric", {}) | now["metric"]
    wanted, stored = with_role(now, DRAWS, MEASURES), run.config()
    figures, again = stored["figure"] | now["figure"], measured_with != wanted
    if again:
        differ = "the metrics or draws differ from the stored ones" if summary else "its summary.json is missing"
        console.say(f"{differ}: measuring again")
        now["figure"] = figures
        summary = results.remeasure_run(experiment)
    else:
        results.add_figures(experiment, summary)
    if again or figures != stored["figure"]:
        write(run.path / "config.yaml", yaml_text.dump(stored | wanted | {"figure": figures}))
        choices = facts["choices"] | {"sampler": composed.choices["sampler"]}
        command = {"reproduce": command_of(composed.words, composed.dirs), "differs": composed.differs}
        run.write("environment.json", facts | command | {"choices": choices})
    log_again(experiment, summary)
    results.show(run, summary)


def relabel(experiment: Experiment, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Store the labels that are given now in a run that has ended. Returns the new content of its environment.json."""
    run, stored = experiment.run, experiment.run.config()
    given = new_labels(experiment.config, stored)
    if not given:
        return facts
    console.say(f"the run now has {', '.join(f'{key}={value}' for key, value in given.items())}")
    write(run.path / "config.yaml", yaml_text.dump(stored | given))
    facts = {**facts, "group": given.get("group", stored["group"])}
    run.write("environment.json", facts)
    return facts


def changed_code(experiment: Experiment, facts: Mapping[str, Any]) -> str:
    """The packages whose code differs from that with which the run began, according to its environment.json."""
    now = provenance.sources(schema.packages(experiment.config))
    return ", ".join(name for name, source in now.items() if facts.get("source", {}).get(name) != source)


def log_again(experiment: Experiment, summary: Mapping[str, Any]) -> None:
    """Send a stored run, as it was trained, to loggers that do not have it."""
    for logger in experiment.loggers():
        logger.again(experiment.run, experiment.run.config(), summary)


def create(experiment: Experiment, composed: Composed) -> None:
    """Write the config, the facts about the data and the environment. They are written again when a run continues."""
    run, dataset = experiment.run, experiment.dataset
    before = run.read("environment.json")
    if before and before["device"].partition(":")[0] != experiment.device.type:
        console.say(f"warning: this run began on {before['device']}: {experiment.device.type} generates different random numbers")
    if before and (changed := changed_code(experiment, before)):
        console.say(f"warning: the code of {changed} has changed since this run began; force=true trains it from the start")
    write(run.path / "config.yaml", yaml_text.dump(experiment.config))
    for note in dataset.notes:
        console.say(f"note: {note}")
    data = {**dataset.space._asdict(), "shape": list(dataset.shape), "columns": list(dataset.column_names), "named": dataset.named}
    data["notes"] = list(dataset.notes)
    run.write("dataset.json", data | dict(dataset.facts) | dataset.standardization.to_json() | {"sha256": dataset.fingerprint})
    facts = {
        "schema": SCHEMA,
        "source": before.get("source") or provenance.sources(schema.packages(experiment.config)),
        "id": run.id,
        "created": before.get("created", time.time()),
        "reproduce": command_of(composed.words, composed.dirs),
        "differs": composed.differs,
        "choices": composed.choices,
        "group": experiment.config["group"],
        "files": energy_files.store(run, experiment.config["energy"]),
    }
    made_by = provenance.facts(experiment.device) | {"seed": experiment.config["seed"], "command": ["ebm", *sys.argv[1:]]}
    run.write("environment.json", facts | made_by)
    if not before:
        run.log(f"new run: {facts['reproduce']}")


def resume(trainer: Trainer, run: Run, parent: Parent | None) -> None:
    """Continue from the newest intact checkpoint if there is one, else from the checkpoint of the parent."""

    def warn(line: str) -> None:
        run.log(line)
        console.say(f"warning: {line}")

    path = checkpoint.newest(run.checkpoints, warn)
    if path:
        checkpoint.load(path, trainer)
    elif parent:
        parent.begin(trainer, run)
    if trainer.state.step:
        run.log(f"continuing from step {trainer.state.step}")
        console.say(f"continuing from step {trainer.state.step}")


def finish(experiment: Experiment, trainer: Trainer, counts: Mapping[str, int]) -> dict[str, Any]:
    """Draw samples, measure, write the summary, and plot."""
    run, dead = experiment.run, trainer.dead()
    cost = results.costs(run, trainer.state.step, counts)
    summary = results.finalize_run(experiment, TrainedModel.of(trainer), dead, cost)
    if dead:
        which = ", ".join(f"seed {seed} at step {step + 1}" for seed, step in dead.items())
        run.set_status("diverged", f"{len(dead)} of {len(trainer.rng.seed_list)} models diverged: {which}")
    else:
        run.set_status("finished")
    run.log("finished")
    return summary


def fail(run: Run, error: BaseException) -> None:
    """Record the failure, if the disk permits it, and raise `RunFailed`."""
    cause = _cause(error)
    try:
        run.log(traceback.format_exc())
        run.set_status("failed", cause)
    except OSError as second:
        raise RunFailed(f"{cause}; the failure cannot be recorded in the run folder: {second}") from error
    if os.environ.get("EBM_DEBUG"):
        raise error
    less = f"{described(error).hint}; " if is_memory(error) else ""
    hint = f"{less}the traceback is in {run.path / 'train.log'}; the same command continues from step {_newest_step(run)}"
    raise RunFailed(cause, hint) from None


def _cause(error: BaseException) -> str:
    """The message of an exception, in one line."""
    text = str(error).partition("\n")[0]
    if isinstance(error, SystemExit):
        return f"a component called sys.exit({text})"
    return described(error).message


def _newest_step(run: Run) -> int:
    path = checkpoint.newest(run.checkpoints, run.log)
    return int(path.name) if path else 0

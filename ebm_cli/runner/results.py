"""What a trained run yields: samples, numbers, pictures and the table that shows them."""

from collections.abc import Mapping
from typing import Any

from ebm_cli import console
from ebm_cli.config import schema
from ebm_cli.core.chain import Draws
from ebm_cli.errors import RunFailed, bad
from ebm_cli.metrics.quadrature import Quadrature
from ebm_cli.runner import evaluate, plots, sample_files
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs.run import Run
from ebm_cli.training import checkpoint
from ebm_cli.types import Info, Metric, Sampler

DIVERGED = "a smaller optimizer.lr or trainer.max_grad_norm, or optimizer.n_warmup_steps=500, are the usual cures"
COSTS = {  # with their units
    **{"n_steps": "", "train_seconds": "s", "steps_per_second": "1/s"},
    **{"n_energy_evaluations": "", "n_score_evaluations": "", "n_hvp_evaluations": ""},
}
MEASURED_WITH = ("draws", "sampler", "metric")  # the parts of a config that measure, and train nothing
CHEAPEST = {key: "greatest" if key == "steps_per_second" else "least" for key in COSTS}


def finalize_run(experiment: Experiment, trained: TrainedModel, dead: Mapping[int, int], cost: Mapping[str, Any]) -> dict[str, Any]:
    """Draws, final numbers and pictures of a trained run; samples.npz and figures/ are written."""
    run, config, stacked = experiment.run, experiment.config, bool(trained.rng.model_shape)
    with console.waiting("drawing samples"):
        samples, info = trained.draw(schema.build(config["sampler"]), Draws(**config["draws"]))
    metrics, warnings = experiment.metrics(), warnings_of(info)
    with console.waiting("measuring"):
        rows = evaluate.evaluate_models(trained, experiment.dataset, metrics, samples, final=True, warn=warnings.append)
    for line in warnings:
        console.say(f"warning: {line}")
    losses = evaluate.test_loss(trained, experiment.dataset, schema.build(config["objective"]))
    absent = dict.fromkeys(Quadrature.units, "metric=quadrature was not asked for")  # these are in every summary
    rows = [absent | row | loss for row, loss in zip(rows, losses, strict=True)]
    rows = [
        row if seed not in dead else dict.fromkeys(row, f"seed {seed} diverged at step {dead[seed] + 1}")
        for seed, row in zip(trained.rng.seed_list, rows, strict=True)
    ]
    sample_files.save(run.path / "samples.npz", trained, samples, config["draws"]["n_samples"], range(len(rows)))
    summary = {"id": run.id, "seed": config["seed"], **({"seeds": config["seeds"]} if stacked else {})}
    unaveraged = list(dict.fromkeys(key for metric in (*metrics.values(), Quadrature) for key in metric.unaveraged))
    summary |= evaluate.summarise(rows, stacked=stacked, unaveraged=unaveraged) | dict(cost) | {"metrics": list(config["metric"])}
    if trained.model.temperature != 1:
        summary["temperature"] = trained.model.temperature
    summary["warnings"] = warnings
    summary["measured_with"] = {key: config[key] for key in MEASURED_WITH}
    summary |= {"units": numbers(metrics), "best": best(metrics), "unaveraged": unaveraged}
    summary["headline"] = [key for metric in metrics.values() for key in metric.headline]
    summary["sampling"] = {name: value.tolist() for name, value in info.items()}
    log_z = evaluate.of_model(summary, "log_z", 0)
    one = samples[0] if stacked else samples
    scene = plots.Scene(trained.select(0), experiment.dataset, one, log_z, run.rows(), _title(experiment, stacked))
    with console.waiting("drawing pictures"):
        plots.save(run.figures, scene)
    return summary


def remeasure_run(experiment: Experiment) -> dict[str, Any]:
    """The metrics of a run that is there, from its checkpoint; its summary is written anew."""
    run = experiment.run
    if run.state() == "diverged" and not run.read("summary.json"):  # what the checkpoint holds is not what was to be trained
        raise bad(f"{run.path.name} {run.read('status.json')['reason']}: there is nothing to measure", DIVERGED)
    experiment.check_data()
    trained = TrainedModel.load(run, experiment.device)
    check_sampler(schema.build(experiment.config["sampler"]), trained)
    path = checkpoint.newest(run.checkpoints, run.log)
    dead, step = checkpoint.dead(path, trained.rng.seed_list), int(path.name)
    summary = finalize_run(experiment, trained, dead, costs(run, step, experiment.trainer().count()))
    run.write("summary.json", summary)
    return summary


def costs(run: Run, step: int, counts: Mapping[str, int]) -> dict[str, Any]:
    """What it took to come to a step, of which each asks for `counts` evaluations; `train_seconds` as of the last row until then."""
    seconds = max((row["seconds"] for row in run.rows() if row["step"] <= step), default=0.0)
    cost = {"n_steps": step, "train_seconds": seconds, "steps_per_second": step / max(seconds, 1e-9)}
    return cost | {f"n_{name}_evaluations": count * step for name, count in counts.items()}


def numbers(metrics: Mapping[str, Metric]) -> dict[str, str]:
    """What a run's summary holds with these metrics, each with its unit, in the order shown."""
    own = {key: unit for metric in metrics.values() for key, unit in metric.units.items()}
    return own | Quadrature.units | evaluate.LOSS | COSTS


def best(metrics: Mapping[str, Metric]) -> dict[str, str | float]:
    """Of the numbers that rank runs, which is best: the least, the greatest, or the one nearest to a value."""
    own = {key: one for metric in metrics.values() for key, one in metric.best.items()}
    return own | Quadrature.best | evaluate.BEST | CHEAPEST


def warnings_of(info: Info) -> list[str]:
    """What is to be said of chains that stood still."""
    if "acceptance_rate" in info and info["acceptance_rate"].min() < 0.02:
        return ["the chains hardly move: the samples, and what is measured on them, say little; try another sampler.step_size"]
    return []


def check_sampler(sampler: Sampler, trained: TrainedModel) -> None:
    """Refuse a sampler that needs an energy, or a ladder of noise levels, where there is none."""
    for lacking in sampler.requires - trained.model.provides:
        cause, hint = {
            "energy": ("an energy, but the run's network outputs the score", "sampler=langevin"),
            "noise_level": (
                "a ladder of noise levels, which this energy was not trained on",
                "sampler=mala; runs of objective=dsm_multi and objective=recovery have such a ladder",
            ),
        }[lacking]
        raise bad(f"sampler: {type(sampler).__name__} needs {cause}", hint)


def show(run: Run, summary: Mapping[str, Any]) -> None:
    """The table, the line that makes it again, and where everything is."""
    console.results(summary)
    print(run.read("environment.json")["reproduce"])
    print(f"Results saved to {run.path}")
    status = run.read("status.json")
    if status.get("state") == "diverged":
        raise RunFailed(status["reason"], DIVERGED)


def _title(experiment: Experiment, stacked: bool) -> str:
    return experiment.run.path.name + (" (seed " + str(experiment.config["seed"]) + ")" if stacked else "")

"""The results of a trained run: samples, numbers, pictures, and the table that shows them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from ebm_cli import console
from ebm_cli.config import schema
from ebm_cli.config.roles import DRAWS, MEASURES, with_role
from ebm_cli.core.chain import Draws
from ebm_cli.core.contracts import Dataset
from ebm_cli.core.figure import Figure
from ebm_cli.core.metric import Metric
from ebm_cli.errors import RunFailed, bad
from ebm_cli.metrics.bridge import Bridge
from ebm_cli.metrics.quadrature import Quadrature
from ebm_cli.runner import estimators, evaluate, sample_files
from ebm_cli.runner.draw import check_memory, check_sampler, draw
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runner.plot import chosen, save_figures
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs.run import Run
from ebm_cli.training import checkpoint
from ebm_cli.training.trial_step import trial_step
from ebm_cli.types import Best

DIVERGED = "try a smaller optimizer.lr, a smaller trainer.max_grad_norm, or optimizer.n_warmup_steps=500"
COSTS = {  # the costs of training, with their units
    **{"n_steps": "", "train_seconds": "s", "steps_per_second": "1/s"},
    **{"n_energy_evaluations": "", "n_score_evaluations": "", "n_hvp_evaluations": ""},
}
CHEAPEST: dict[str, Best] = {key: "max" if key == "steps_per_second" else "min" for key in COSTS}


def finalize_run(
    experiment: Experiment, trained: TrainedModel, dead: Mapping[int, int], cost: Mapping[str, Any], *, replaces: bool = False
) -> dict[str, Any]:
    """Draw samples, measure, and write samples.npz, summary.json and then figures/. Returns the summary.

    `replaces`: the samples replace others that were drawn with other settings. This is refused if none of them is finite.
    """
    run, config, stacked, metrics = experiment.run, experiment.config, bool(trained.rng.model_shape), experiment.metrics()
    drawn = draw(trained, schema.build(config["sampler"]), Draws(**config["draws"]), dataset=experiment.dataset)
    if replaces:
        drawn.check(complete=False)
    samples, warnings = drawn.samples, drawn.warnings
    with console.waiting("measuring") as tell:
        rows = evaluate.evaluate_models(trained, experiment.dataset, metrics, samples, final=True, warn=warnings.append, tell=tell)
    for line in warnings:
        console.say(f"warning: {line}")
    losses = evaluate.test_loss(trained, experiment.dataset, schema.build(config["objective"]))
    adopted = [estimators.adopt(row, evaluate.exact(metrics, trained, experiment.dataset)) for row in rows]
    absent = dict.fromkeys((key for key in Quadrature.units if key not in estimators.COMMON), "metric=quadrature was not selected")
    given = {key for row, _ in adopted for key in row}
    rows = [absent | row | loss for (row, _), loss in zip(adopted, losses, strict=True)]  # every summary has the keys of a quadrature
    by = [name for _, name in adopted]
    rows = [
        row if seed not in dead else dict.fromkeys(row, f"seed {seed} diverged at step {dead[seed] + 1}")
        for seed, row in zip(trained.rng.seed_list, rows, strict=True)
    ]
    sample_files.save(run.path / "samples.npz", trained, samples, config["draws"]["n_samples"], range(len(rows)), run=run.path)
    unaveraged = list(dict.fromkeys(key for metric in (*metrics.values(), Quadrature) for key in metric.unaveraged))
    unaveraged += [key for key in ("log_z_error", "nll_error") if key not in unaveraged]
    summary = {
        **{"id": run.id, "seed": config["seed"]} | ({"seeds": config["seeds"]} if stacked else {}),
        **evaluate.summarize(rows, stacked=stacked, unaveraged=unaveraged),
        **cost,
        "metrics": list(config["metric"]),
        "parameters": [trained.select(k).digest for k in range(len(rows))],
        "log_z_by": by,
        "not_shown": not_shown(metrics, experiment.dataset, absent, given, by),
        **({"temperature": trained.model.temperature} if trained.model.temperature != 1 else {}),
        "warnings": warnings,
        "measured_with": with_role(config, DRAWS, MEASURES),
        **{"units": units_of(metrics, dequantized=experiment.dataset.dequantized), "best": best_of(metrics), "unaveraged": unaveraged},
        "headline": [key for metric in metrics.values() for key in metric.headline],
        "sampling": {name: value.tolist() for name, value in drawn.info.items()},
    }
    run.write("summary.json", summary)  # before the figures, so that a mistake in one of them does not cost the results
    shown = samples[0] if stacked else samples
    draw_figures(experiment, experiment.figures(), trained.select(0), shown, experiment.dataset, summary)
    return summary


def not_shown(
    metrics: Mapping[str, Metric], dataset: Dataset, absent: Collection[str], given: Collection[str], by: Sequence[str]
) -> list[str]:
    """The numbers that tables leave out: those that were not asked for or not given, and those that `log_z` and `nll` repeat.

    Bridge sampling has a KL divergence only if the true density is known.
    """
    bridging = [metric for metric in metrics.values() if isinstance(metric, Bridge)]
    asked = {key for metric in metrics.values() for key in (metric.expected(dataset) if metric in bridging else metric.units)}
    unasked = [key for key in absent if key not in asked or key not in given]
    if not {*estimators.SOURCES} & {*metrics}:
        unasked += estimators.COMMON
    return unasked + [f"{name}_{key}" for name in {*by} for key in estimators.COMMON if {*by} == {name}]


def draw_figures(
    experiment: Experiment,
    figures: Mapping[str, Figure],
    trained: TrainedModel,
    samples: Tensor,
    data: Dataset | None,
    summary: Mapping[str, Any],
) -> None:
    """Draw figures of the first model of a run."""
    run, log_z = experiment.run, estimators.of_model(summary, "log_z", 0)
    known = {"rows": run.rows(), "tracked": experiment.tracked(), "sampler": schema.build(experiment.config["sampler"])}
    scene = trained.scene(data, samples, log_z, experiment.title(), **known)
    with console.waiting("plotting"):
        pictures = save_figures(run.figures, figures, scene, chosen(experiment.config["figure"]))
    for name in pictures.failed:
        console.say(f"note: after a correction, draw it with: ebm plot {run.id} figure={name}")


def add_figures(experiment: Experiment, summary: Mapping[str, Any]) -> None:
    """Draw the figures of a config that a stored run does not have."""
    run, wanted, stored = experiment.run, experiment.config["figure"], experiment.run.config()["figure"]
    figures = {
        name: figure
        for name, figure in experiment.figures().items()
        if stored.get(name) != wanted[name] or (name in chosen(wanted) and not (run.figures / f"{name}{figure.suffix}").exists())
    }
    if figures:
        trained = TrainedModel.load(run, experiment.device).select(0)
        samples = sample_files.load(run.path / "samples.npz", trained, 0)
        draw_figures(experiment, figures, trained, samples, experiment.data_if_available(), summary)


def remeasure_run(experiment: Experiment) -> dict[str, Any]:
    """Measure an existing run from its checkpoint, and replace its summary."""
    run = experiment.run
    if run.state() == "diverged" and not run.read("summary.json"):  # its checkpoint precedes the divergence and is not the trained model
        raise bad(f"{run.path.name} cannot be measured: it {run.read('status.json')['reason']}", DIVERGED)
    experiment.check_data()
    trained = TrainedModel.load(run, experiment.device)
    check_memory(Draws(**experiment.config["draws"]), len(trained.column_names), len(trained.rng.seed_list))
    check_sampler(schema.build(experiment.config["sampler"]), trained)
    path = checkpoint.newest(run.checkpoints, lambda _: None)  # the one that has just been loaded, with warnings
    dead, step = checkpoint.dead(path, trained.rng.seed_list), int(path.name)
    cost = costs(run, step, trial_step(experiment.trainer()))
    drawn_with = with_role(run.read("summary.json").get("measured_with", {}), DRAWS)
    return finalize_run(experiment, trained, dead, cost, replaces=drawn_with not in ({}, with_role(experiment.config, DRAWS)))


def costs(run: Run, step: int, counts: Mapping[str, int]) -> dict[str, Any]:
    """The cost of the steps up to `step`, with `counts` evaluations per step. `train_seconds` is read from the last row up to that step."""
    seconds = max((row["seconds"] for row in run.rows() if row["step"] <= step), default=0.0)
    cost = {"n_steps": step, "train_seconds": seconds, "steps_per_second": step / max(seconds, 1e-9)}
    return cost | {f"n_{name}_evaluations": count * step for name, count in counts.items()}


def units_of(metrics: Mapping[str, Metric], *, dequantized: bool = False) -> dict[str, str]:
    """The units of the numbers in the summary of a run with these metrics, in display order.

    `dequantized` marks negative log-likelihoods, whose names contain the word nll, as those of data with noise.
    """
    own = {key: unit for metric in metrics.values() for key, unit in metric.units.items()}
    units = dict.fromkeys(("kl", "kl_error"), "nats") | estimators.UNITS | own | Quadrature.units | evaluate.LOSS | COSTS
    noisy = [key for key in units if dequantized and "nll" in key.split("_") and not key.endswith("_error")]
    return units | {key: f"{units[key]}, dequantized" for key in noisy}


def best_of(metrics: Mapping[str, Metric]) -> dict[str, Best]:
    """Which value is best, for each of the numbers that rank runs."""
    own = {key: best for metric in metrics.values() for key, best in metric.best.items()}
    return own | Quadrature.best | evaluate.BEST | CHEAPEST


def show(run: Run, summary: Mapping[str, Any]) -> None:
    """Print the table of results, the command that reproduces the run, and its folder. Raises `RunFailed` if the run diverged."""
    console.results(summary)
    console.show(run.read("environment.json")["reproduce"])
    console.show(f"Results saved to {run.path}")
    status = run.read("status.json")
    if status.get("state") == "diverged":
        raise RunFailed(status["reason"], DIVERGED)

"""usage: ebm plot RUN|NAME [figure=NAME] [model=K] [dataset.path=FILE] [--config-dir DIR] [--metric METRIC]

Draw the pictures of a run again, from its checkpoint and its stored samples; or pictures of a group of runs or of a sweep: curves with
intervals over the seeds (curves), a heat map over two settings (heat_map), parallel coordinates over more (parallel).

  RUN               an id, a unique prefix, a path, or `last`
  figure            an option of `ebm list figure` or of the run's config, or several: [density,energy]; by default the figures of the run
  model             the index of a model in a stack (default: 0)
  dataset.path      the new path of the data file, if it has moved
  --config-dir DIR  a folder with options of your own
  NAME              a group or the id of a sweep; its pictures are in outputs/figures/NAME
  --metric METRIC   for a group: a number of the summaries; by default the one by which `ebm compare` orders the runs"""

from collections.abc import Sequence

from ebm_cli import console
from ebm_cli.commands._words import check_whole, dirs_of, run_and_words
from ebm_cli.config import compose, option_files
from ebm_cli.errors import OWN, InputError, Problem, RunFailed, bad, nearest
from ebm_cli.runs import catalog


def main(words: Sequence[str]) -> int:
    dirs, words = dirs_of(words)
    if words and words[0] != "last" and "/" not in words[0] and words[0] in catalog.groups():
        from ebm_cli.commands._group_pictures import plot_group

        return plot_group(words)
    run, overrides, _ = run_and_words(words, __doc__, ["--config-dir"])
    run.check_writable("plot")
    stored = run.config()
    path = {"dataset": {"path": stored["dataset"]["path"]}} if "path" in stored["dataset"] else {}
    typed = [word for word in overrides if word.startswith("figure=")]
    names = typed[0].partition("=")[2].strip("[]").split(",") if typed else []
    options = option_files.groups(dirs)["figure"]
    known = stored["figure"] | {name: option_files.node_of(options[name].path) for name in names if name in options}
    for name in names:
        if name not in known:
            raise bad(f"figure: there is no figure {name!r}", nearest(name, {**known, **options}, more=OWN))
        if name in options:
            option_files.check(options[name].path)
    figures = {name: known[name] for name in names}
    given = compose.amend({"model": 0, **path}, [word for word in overrides if word not in typed])
    check_whole("model", given["model"])

    from ebm_cli.config import schema
    from ebm_cli.core.device import pick_device
    from ebm_cli.runner import estimators, evaluate, sample_files
    from ebm_cli.runner.experiment import Experiment
    from ebm_cli.runner.plot import save_figures
    from ebm_cli.runner.trained_model import TrainedModel

    changed = {"dataset": stored["dataset"] | given.get("dataset", {}), "figure": figures or stored["figure"]}
    experiment = Experiment.load(run, pick_device("cpu"), changed)
    trained = TrainedModel.load(run, experiment.device).select(given["model"])
    samples = sample_files.load(run.path / "samples.npz", trained, given["model"])
    log_z = estimators.of_model(evaluate.stored_numbers(run, trained, given["model"]), "log_z", given["model"])
    data, rows = experiment.data_if_available(), run.rows()
    known = {"rows": rows, "tracked": experiment.tracked(), "sampler": schema.build(experiment.config["sampler"])}
    scene = trained.scene(data, samples, log_z, run.path.name, **known)
    pictures = save_figures(run.figures, experiment.figures(), scene)
    for picture in pictures.saved:
        console.show(f"Picture saved to {picture}")
    if pictures.failed:
        raise RunFailed(f"figures failed: {', '.join(pictures.failed)}", "EBM_DEBUG=1 shows the traceback")
    reasons = [f"figure={name} cannot be drawn: {reason}" for name, reason in pictures.lacking.items()]
    if not pictures.saved:
        *others, last = reasons or ["figure: the config of this run has no figure"]
        raise InputError(*map(Problem, others), Problem(last, "figure=NAME chooses another; `ebm list figure` describes them"))
    for reason in reasons if figures else ():
        console.say(f"note: {reason}")
    return 0

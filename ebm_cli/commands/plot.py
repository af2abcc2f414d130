"""usage: ebm plot RUN [figure=NAME] [model=K] [dataset.path=FILE]

Draw the pictures of a run again, from its checkpoint and its samples.npz.

  RUN     an id, a unique prefix, a path, or `last`
  figure  density, energy, marginals, samples or training; all that apply where none is named
  model   which model of a stack (0)"""

import pkgutil
from collections.abc import Sequence

from ebm_cli import figures
from ebm_cli.commands import run_and_words
from ebm_cli.config import compose
from ebm_cli.errors import bad, nearest


def main(words: Sequence[str]) -> int:
    run, overrides, _ = run_and_words(words, __doc__)
    stored = run.config()
    path = {"dataset": {"path": stored["dataset"]["path"]}} if "path" in stored["dataset"] else {}
    given = compose.amend({"figure": None, "model": 0, **path}, overrides)
    names = [module.name for module in pkgutil.iter_modules(figures.__path__)]
    if given["figure"] not in (None, *names):
        raise bad(f"figure: there is no figure {given['figure']!r}", nearest(str(given["figure"]), names))
    if not isinstance(given["model"], int):
        raise bad(f"model: must be a number, not {given['model']!r}")

    from ebm_cli.runner import evaluate, experiment, plots, sample_files
    from ebm_cli.runner.trained_model import TrainedModel
    from ebm_cli.training.trainer import pick_device

    opened = experiment.Experiment.load(run, pick_device("cpu"), {"dataset": stored["dataset"] | given.get("dataset", {})})
    trained = TrainedModel.load(run, opened.device).select(given["model"])
    samples = sample_files.load(run.path / "samples.npz", trained, given["model"])
    log_z = evaluate.of_model(run.read("summary.json"), "log_z", given["model"])
    scene = plots.Scene(trained, opened.data_if_there(), samples, log_z, run.rows(), run.path.name)
    drawn = plots.save(run.figures, scene, given["figure"])
    for picture in drawn:
        print(f"Picture saved to {picture}")
    if not drawn:
        raise bad(f"figure: {given['figure']} does not apply to this run", "ebm plot RUN draws what does")
    return 0

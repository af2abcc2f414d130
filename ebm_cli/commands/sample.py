"""usage: ebm sample RUN [n_samples=10000] [n_steps=1000] [n_chains=1000] [sampler=OPTION] [sampler.KEY=VALUE] [model=K] [seed=S]

Draw samples from a trained run into its samples.npz, in the data's own units, with their picture.

  RUN             an id, a unique prefix, a path, or `last`
  n_samples       samples in all
  n_chains        chains that they come from, started from a Gaussian as wide as the data
  n_steps         transitions of each chain, half of them warm-up (in which the step size of mala adapts)
  sampler         the transition kernel; the run's own where none is named
  model           which model of a stack (0)
  seed            other draws from the same model (0)
  device          auto, cpu, cuda, cuda:1 or mps"""

from collections.abc import Sequence

from ebm_cli import config
from ebm_cli.commands import run_and_words
from ebm_cli.errors import InputError, Problem
from ebm_cli.types import Count, Natural


def main(words: Sequence[str]) -> int:
    run, overrides, _ = run_and_words(words, __doc__)
    stored = run.config()
    settings = config.amend(
        {**stored["draws"], "sampler": stored["sampler"], "model": 0, "seed": 0, "device": "auto"}, overrides, ("sampler",)
    )

    from ebm_cli import console, evaluation, experiment, pictures, results, schema
    from ebm_cli.chain import Draws
    from ebm_cli.trained import Trained
    from ebm_cli.trainer import pick_device

    problems: list[Problem] = []
    sampler_node = schema.check_node(settings.pop("sampler"), "sampler", schema.KINDS["sampler"], problems)
    typed = schema.check_signature(draw_settings, settings, "", problems)
    if problems:
        raise InputError(*problems)
    opened = experiment.Experiment.load(run, pick_device(typed["device"]))
    trained = Trained.load(run, opened.device).one(typed["model"])
    sampler = schema.build(sampler_node)
    results.check_sampler(sampler, trained)
    draws = Draws(typed["n_samples"], typed["n_chains"], typed["n_steps"])
    samples, info = trained.draw(sampler, draws, seed=typed["seed"])
    results.save_samples(run.path / "samples.npz", trained, samples, draws.n_samples, [typed["model"]])
    log_z = evaluation.of_model(run.read("summary.json"), "log_z", typed["model"])
    scene = pictures.Scene(trained, opened.data_if_there(), samples, log_z, run.rows(), run.path.name)
    drawn = [path for name in ("density", "samples", "marginals") for path in pictures.save(run.figures, scene, name)]
    console.table(["", "value"], [[name, f"{value.item():.4g}"] for name, value in info.items()])
    print(f"Samples saved to {run.path / 'samples.npz'}")
    for path in drawn:
        print(f"Picture saved to {path}")
    return 0


def draw_settings(*, n_samples: Count, n_chains: Count, n_steps: Count, model: Natural, seed: Natural, device: str) -> None:
    """The keys of `ebm sample`."""

"""usage: ebm sample RUN [n_samples=10000] [n_steps=1000] [n_chains=1000] [sampler=OPTION] [sampler.KEY=VALUE] [out=FILE] [model=K] [seed=S]
       ebm sample energy=OPTION [energy.KEY=VALUE] [dataset=OPTION] [start=FILE] [out=FILE]

Draw samples from a trained run into its samples.npz, in the data's own units, with their picture. Without a run: from an energy that
is known as it stands (energy=four_wells; `ebm list energy`), from a dataset's own density (energy=exact dataset=moons), or from runs
composed (energy=compose energy.runs=[A,B] energy.how=mixture), into a folder under outputs/samples/.

  RUN             an id, a unique prefix, a path, or `last`
  energy          what to draw from without a run
  dataset         of energy=exact, whose density is taken
  n_samples       samples in all
  n_chains        chains that they come from
  n_steps         transitions of each chain, half of them warm-up (in which the step size of mala adapts)
  sampler         the transition kernel; the run's own where none is named, mala without a run
  out             a .csv, .npy or .npz file for the samples; those in the run's folder, and their picture, then stay as they are
  start           where chains start: noise (a Gaussian as wide as the data), data, buffer (of a run with chains of its own), or a FILE
  model           which model of a stack (0)
  seed            other draws from the same model (0)
  device          auto, cpu, cuda, cuda:1 or mps"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ebm_cli.commands import run_and_words, words_of
from ebm_cli.config import compose
from ebm_cli.errors import InputError, Problem, bad
from ebm_cli.types import Count, Natural


def main(words: Sequence[str]) -> int:
    _, rest = words_of(words)
    if rest and "=" in rest[0]:
        return without_a_run(rest)
    if not rest:
        hint = "ebm sample last, or ebm sample energy=four_wells"
        raise bad("a run is needed (an id, a unique prefix, a path, or `last`), or an energy that is known as it stands", hint)
    return of_a_run(words)


def of_a_run(words: Sequence[str]) -> int:
    if words[0] in compose.groups()["energy"] and not Path(words[0]).exists():
        raise bad(f"{words[0]} is no run, it is an energy", f"ebm sample energy={words[0]}")
    run, overrides, _ = run_and_words(words, __doc__)
    if any(word.startswith(("energy=", "energy.")) for word in overrides):
        raise bad(f"energy: the energy of {run.path.name} is the one that was trained", "without a run: ebm sample energy=OPTION")
    stored = run.config()
    settings = compose.amend(
        {**stored["draws"], "sampler": stored["sampler"], "start": "noise", "out": None, "model": 0, "seed": 0, "device": "auto"},
        overrides,
        ("sampler",),
    )

    from ebm_cli import console
    from ebm_cli.config import schema
    from ebm_cli.core.chain import Draws
    from ebm_cli.io import atomic
    from ebm_cli.runner import chain_starts, evaluate, experiment, plots, results, sample_files
    from ebm_cli.runner.trained_model import TrainedModel
    from ebm_cli.training.trainer import pick_device

    problems: list[Problem] = []
    sampler_node = schema.check_node(settings.pop("sampler"), "sampler", schema.KINDS["sampler"], problems)
    typed = schema.check_signature(draw_settings, settings, "", problems)
    if problems:
        raise InputError(*problems)
    out = sample_files.place(typed["out"])
    opened = experiment.Experiment.load(run, pick_device(typed["device"]))
    trained = TrainedModel.load(run, opened.device).select(typed["model"])
    sampler = schema.build(sampler_node)
    results.check_sampler(sampler, trained)
    draws = Draws(typed["n_samples"], typed["n_chains"], typed["n_steps"])

    def dataset() -> Any:
        opened.check_data()
        return opened.dataset

    start = chain_starts.points(typed["start"], trained, dataset, draws.starts(sampler, trained.model), seed=typed["seed"])
    with console.waiting("drawing samples"):
        samples, info = trained.draw(sampler, draws, seed=typed["seed"], start=start)
    path = out or run.path / "samples.npz"
    with atomic.told(path, "out"):
        sample_files.save(path, trained, samples, draws.n_samples, [typed["model"]])
    drawn = []
    if out is None:  # the pictures are of the run's own samples
        log_z = evaluate.of_model(run.read("summary.json"), "log_z", typed["model"])
        scene = plots.Scene(trained, opened.data_if_there(), samples, log_z, run.rows(), run.path.name)
        drawn = [picture for name in ("density", "samples", "marginals") for picture in plots.save(run.figures, scene, name)]
    console.table(["", "value"], [[name, f"{value.item():.4g}"] for name, value in info.items()])
    print(f"Samples saved to {path}")
    for picture in drawn:
        print(f"Picture saved to {picture}")
    return 0


def without_a_run(words: Sequence[str]) -> int:
    chosen = {key: value for key, _, value in (word.partition("=") for word in words)}
    if "energy" not in chosen:
        raise bad("an energy is needed where no run is named", "ebm sample last, or ebm sample energy=four_wells")
    settings = compose.amend(base(), words, ("energy", "sampler", "dataset"))

    from ebm_cli.runner import sample

    return sample.draw(settings, {"sampler": "mala", **chosen}, words, draw_settings)


def base() -> dict[str, Any]:
    """What holds where the line says nothing: the draws, the sampler and the dataset of `ebm train`."""
    import yaml

    train, groups = yaml.safe_load((compose.conf_dir() / "train.yaml").read_text()), compose.groups()
    defaults = {group: option for entry in train["defaults"] if isinstance(entry, dict) for group, option in entry.items()}
    nodes = {group: yaml.safe_load(groups[group][defaults[group]].path.read_text()) for group in ("sampler", "dataset")}
    return {"energy": None, **nodes, **train["draws"], "start": "noise", "out": None, "seed": 0, "device": "auto"}


def draw_settings(
    *, n_samples: Count, n_chains: Count, n_steps: Count, start: str, out: str | None, model: Natural, seed: Natural, device: str
) -> None:
    """The keys of `ebm sample`."""

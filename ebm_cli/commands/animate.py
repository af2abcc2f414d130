"""usage: ebm animate RUN [figure=training|sampling] [n_frames=60] [out=FILE] [model=K] [dataset.path=FILE] [--config-dir DIR]
                   [n_chains=6] [n_steps=1000] [sampler=OPTION] [sampler.KEY=VALUE] [start=FILE] [seed=S]
       ebm animate energy=OPTION [energy.KEY=VALUE] [dataset=OPTION] [n_frames=60] [out=FILE] [seed=S] [--config-dir DIR]

Make a film of a run in the plane. figure=training shows its snapshots: the data with the negatives, the noise points or the score field,
and the density of the model. figure=sampling shows chains over the energy landscape. Nothing is trained. Without a run, chains sample an
analytic energy (energy=four_wells; see `ebm list energy`), or the exact density of a dataset (energy=exact dataset=moons). These films
are written to outputs/films/, and those of a run to its figures/.

  RUN               an id, a unique prefix, a path, or `last`
  figure            training (default) or sampling
  n_frames          number of pictures, at most (default: 60)
  out               a .gif or .mp4 file; .mp4 needs the extra `video`, or ffmpeg
  model             the index of a model in a stack (default: 0)
  dataset.path      the new path of the data file, if it has moved
  energy            the energy to sample without a run
  dataset           the dataset of energy=exact
  n_chains          of figure=sampling: number of chains (default: 6)
  n_steps           of figure=sampling: transitions of each chain (default: 1000)
  sampler           of figure=sampling: the transition kernel; by default that of the run, or mala without a run
  start             of figure=sampling: noise (the run's reference, by default), data, buffer or a FILE; points far apart are chosen from it
  seed              of figure=sampling: the seed of the random numbers (default: 0)
  --config-dir DIR  a folder with options of your own"""

from collections.abc import Sequence
from pathlib import Path

from ebm_cli import console
from ebm_cli.commands._words import dirs_of, run_and_words, words_of
from ebm_cli.config import compose
from ebm_cli.errors import bad, nearest

FILMS = ("training", "sampling")
GROUPS = ("energy", "sampler", "dataset")  # the groups that a line without a run may choose
OWN = {"out": None, "n_frames": 60}
SAMPLING = {"n_chains": 6, "n_steps": 1000, "start": None, "seed": 0}


def main(words: Sequence[str]) -> int:
    dirs, rest = dirs_of(words)
    _, rest = words_of(rest, ["--config-dir"], keys=True)
    if rest and "=" in rest[0]:
        return without_a_run(rest, dirs)
    return of_a_run(rest, dirs)


def of_a_run(words: Sequence[str], dirs: Sequence[Path]) -> int:
    run, overrides, _ = run_and_words(words, __doc__, ["--config-dir"])
    name, overrides = film_of(overrides, "training")
    stored = run.config()
    base = {**OWN, "model": 0} | ({"dataset": {"path": stored["dataset"]["path"]}} if "path" in stored["dataset"] else {})
    if name == "sampling":
        base |= {**SAMPLING, "sampler": stored["sampler"]}
    settings = compose.amend(base, overrides, ("sampler",) if name == "sampling" else (), dirs)

    from ebm_cli.films import animate

    film = animate.film_of_training if name == "training" else animate.film_of_sampling
    console.show(f"Film saved to {film(run, settings)}")
    return 0


def without_a_run(words: Sequence[str], dirs: Sequence[Path]) -> int:
    name, words = film_of(words, "sampling")
    chosen = {key: value for key, _, value in (word.partition("=") for word in words)}
    if "energy" not in chosen:
        raise bad("an energy is needed if no run is named", "ebm animate last, or ebm animate energy=four_wells")
    if name == "training":
        raise bad(f"figure=training: energy={chosen['energy']} is not a run, and only runs are trained", "ebm animate last")
    of_groups = [word for word in words if word.lstrip("+~").partition("=")[0].partition(".")[0] in GROUPS]
    composed = compose.compose(of_groups, dirs)
    own = compose.amend(OWN | SAMPLING, [word for word in words if word not in of_groups], problems=composed.problems)
    settings = {group: composed.config.get(group, {}) for group in GROUPS} | composed.config["draws"] | {"fixed": None, "device": "cpu"}
    settings |= {"figure": {}, "out": None} | {key: own[key] for key in SAMPLING}
    line = {**chosen, "sampler": composed.choices["sampler"]}

    from ebm_cli.films.animate import film_of_energy

    console.show(f"Film saved to {film_of_energy(settings, {key: own[key] for key in OWN}, line, words)}")
    return 0


def film_of(words: Sequence[str], default: str) -> tuple[str, list[str]]:
    """The film that `figure=` names, and the other words."""
    typed = [word.partition("=")[2] for word in words if word.startswith("figure=")]
    if typed and typed[-1] not in FILMS:
        still = "; `ebm plot RUN figure=...` draws pictures"
        raise bad(f"figure: there is no film {typed[-1]!r}", (nearest(typed[-1], FILMS) or "figure=training or figure=sampling") + still)
    return (typed or [default])[-1], [word for word in words if not word.startswith("figure=")]

"""usage: ebm sample RUN [n_samples=10000] [n_steps=1000] [n_chains=1000] [sampler=OPTION] [sampler.KEY=VALUE]
                  [start=FILE] [fixed=FILE] [out=FILE] [model=K] [seed=S] [--config-dir DIR]
       ebm sample energy=OPTION [energy.KEY=VALUE] [dataset=OPTION] [start=FILE] [fixed=FILE] [out=FILE] [seed=S] [--config-dir DIR]

Draw samples from a trained run, in data units. They are written to its samples.npz, with a picture. Without a run, the samples are
drawn from an analytic energy (energy=four_wells; see `ebm list energy`), from the exact density of a dataset (energy=exact
dataset=moons), or from composed runs (energy=compose energy.runs=[A,B] energy.how=mixture). They are then written to a folder under
outputs/samples/.

  RUN               an id, a unique prefix, a path, or `last`
  energy            the energy to sample without a run
  dataset           the dataset of energy=exact
  n_samples         number of samples
  n_chains          number of chains that the samples come from
  n_steps           transitions of each chain; the first half is warm-up, in which the step size of exact samplers is adapted
  reference_every   transitions after which a draw from the run's reference is proposed, so that chains change modes; null: never
  sampler           the transition kernel; by default that of the run, or mala without a run
  out               a .csv, .npy or .npz file for the samples; the run's own samples and pictures are then left unchanged
  start             where chains start: noise (the run's reference), data, buffer (of a run with persistent chains), or a FILE; by
                    default noise, but with sampler=wolff equal spins
  fixed             bits or categories that keep their values, the others being drawn given them: 'fixed={0:1,5:0}' by position or name (in
                    quotes), or a FILE with one row, in which the cells of the others are empty. The samplers block_gibbs and gibbs keep
                    them; of a run, the samples are written to out=FILE only
  model             the index of a model in a stack (default: 0)
  seed              the seed of the draws (default: 0)
  device            auto, cpu, cuda, cuda:1 or mps
  --config-dir DIR  a folder with options of your own"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ebm_cli.commands._words import dirs_of, run_and_words, words_of
from ebm_cli.config import compose, option_files
from ebm_cli.errors import bad

GROUPS = ("energy", "sampler", "dataset", "figure")  # the groups that a line without a run may choose
OWN = {"start": None, "fixed": None, "out": None, "seed": 0, "device": "auto"}


def main(words: Sequence[str]) -> int:
    dirs, rest = dirs_of(words)
    _, rest = words_of(rest, ["--config-dir"], keys=True)
    if rest and "=" in rest[0]:
        return without_a_run(rest, dirs)
    if not rest:
        hint = "ebm sample last, or ebm sample energy=four_wells"
        raise bad("a run is needed (an id, a unique prefix, a path, or `last`), or an analytic energy", hint)
    return of_a_run(rest, dirs)


def of_a_run(words: Sequence[str], dirs: Sequence[Path]) -> int:
    if words[0] in option_files.groups(dirs)["energy"] and not Path(words[0]).exists():
        raise bad(f"{words[0]} is an energy, not a run", f"ebm sample energy={words[0]}")
    run, overrides, _ = run_and_words(words, __doc__, ["--config-dir"])
    if any(word.startswith(("energy=", "energy.")) for word in overrides):
        raise bad(
            f"energy: the energy of {run.path.name} is the one that was trained",
            "ebm sample energy=OPTION samples another energy, without a run",
        )
    stored = run.config()
    settings = compose.amend({**stored["draws"], "sampler": stored["sampler"], **OWN, "model": 0}, overrides, ("sampler",), dirs)

    from ebm_cli.runner.sample import sample_run

    sample_run(run, settings)
    return 0


def without_a_run(words: Sequence[str], dirs: Sequence[Path]) -> int:
    chosen = {key: value for key, _, value in (word.partition("=") for word in words)}
    if "energy" not in chosen:
        raise bad("an energy is needed if no run is named", "ebm sample last, or ebm sample energy=four_wells")
    settings, sampler = settings_of(words, dirs)
    line = [*(f"--config-dir={folder}" for folder in dirs), *words]

    from ebm_cli.runner.sample import sample_energy

    sample_energy(settings, {**chosen, "sampler": sampler}, line)
    return 0


def settings_of(words: Sequence[str], dirs: Sequence[Path]) -> tuple[dict[str, Any], str]:
    """Components and draws as in the config of `ebm train`, with the keys of `ebm sample`; and the option of the sampler."""
    of_groups = [word for word in words if word.lstrip("+~").partition("=")[0].partition(".")[0] in GROUPS]
    composed = compose.compose(of_groups, dirs)
    base = {**composed.config["draws"], **OWN}
    own = compose.amend(base, [word for word in words if word not in of_groups], problems=composed.problems)
    components = {group: composed.config.get(group, {}) for group in GROUPS}  # an empty list of figures is left out
    return components | own, composed.choices["sampler"]

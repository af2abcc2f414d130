"""`ebm train`: train one run, or a sweep with -m."""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ebm_cli import console
from ebm_cli.commands._flags import split
from ebm_cli.config import compose, option_files
from ebm_cli.config.overrides import quoted
from ebm_cli.config.roles import OPTIONAL
from ebm_cli.errors import InputError, Problem, bad
from ebm_cli.runner import line
from ebm_cli.runs import run
from ebm_cli.training.signals import at_once

FLAGS = {"--help": False, "-h": False, "--multirun": False, "-m": False, "--cfg": True, "-c": True, "--config-dir": True, "-cd": True}
NULLS = [f"{group}=null" for group in OPTIONAL]  # Hydra reads them only in the lines of the jobs

# the launchers whose jobs run on this machine
HERE = ("hydra_plugins.ebm.GpuLauncher", "hydra._internal.core_plugins.basic_launcher.BasicLauncher")


def main(words: Sequence[str]) -> int:
    with at_once():
        return _main(words)


def _main(words: Sequence[str]) -> int:
    flags, overrides = split(words, FLAGS, keys=True)
    dirs = [Path(folder) for name in ("--config-dir", "-cd") for folder in flags.get(name, [])]
    for folder in dirs:
        if not folder.is_dir():
            raise bad(f"--config-dir: there is no folder {str(folder)!r}")
    if flags.keys() & {"--help", "-h"}:
        from ebm_cli.commands._help import train_help

        console.show(train_help(dirs))
        return 0
    for shown in (*flags.get("--cfg", []), *flags.get("-c", [])):
        if shown != "job":
            raise bad(f"--cfg: {shown!r} cannot be printed", "use --cfg job")
    if flags.keys() & {"--cfg", "-c"}:
        console.show(compose.to_yaml(line.compose_line(overrides, dirs)), end="")
        return 0
    run.check_outputs()
    if flags.keys() & {"--multirun", "-m"}:
        return sweep(line.pinned(overrides), dirs)
    composed = line.compose_line(overrides, dirs)
    from ebm_cli.runner.experiment import Experiment
    from ebm_cli.runner.progress import Progress
    from ebm_cli.runner.train import train

    experiment = Experiment.of(composed)
    train(experiment, composed, [Progress(experiment.tracked())])
    return 0


def sweep(overrides: Sequence[str], dirs: Sequence[Path]) -> int:
    """Train one run per combination through a launcher. All values are checked first; a failed run does not stop the others."""
    from ebm_cli import console
    from ebm_cli.config import hydra_section

    hydra = hydra_section.of_hydra(overrides, dirs)
    words, problems = hydra.words, dict.fromkeys(hydra.problems)
    if not problems and hydra.launcher["_target_"].endswith(".GpuLauncher"):
        from ebm_cli.sweeps import processes

        processes.warm()  # the server imports what the jobs need while this process checks the line
    from ebm_cli.config.text_values import with_quotes
    from ebm_cli.sweeps import search
    from ebm_cli.sweeps.jobs import GOOD, Job
    from ebm_cli.sweeps.lines import Lines, id_of
    from ebm_cli.sweeps.sweep import Sweep

    if not problems:
        words, overrides = (with_quotes(found, dirs) for found in (words, overrides))
    problems |= dict.fromkeys(search.problems(hydra.sweeper, compose.sweep_space(words, dirs)))
    good = search.GOOD if hydra.sweeper.get("_target_") == search.TARGET else GOOD
    lines = Lines(tuple(dirs), here=hydra.launcher.get("_target_") in HERE, launcher=hydra.launcher)
    for tried in compose.one_at_a_time(words, dirs):
        problems |= dict.fromkeys(lines.check(tried))
    note, missing = lines.ranking.choose(search=good is search.GOOD)
    problems |= dict.fromkeys(missing)
    if problems:
        raise InputError(*problems)
    if note:
        console.say(f"note: {note}")
    first, sweep_id = lines.first, id_of([*words, *(word for word in overrides if word not in words)], dirs)
    job = Job(tuple(dirs), sweep_id, first["group"] or sweep_id, good, lines.ranking.metric, lines.ranking.best)
    whole = Sweep(tuple(overrides), job)
    with whole.stored(), tempfile.TemporaryDirectory() as folder:  # for the multirun.yaml that Hydra writes
        place = quoted(f"hydra.sweep.dir={folder.replace('${', chr(92) + '${')}")  # not an interpolation
        _through_hydra(["-m", *overrides, place, "hydra.sweep.subdir=."], dirs, job)
    whole.show()
    return 0


def _through_hydra(words: Sequence[str], dirs: Sequence[Path], task: Any) -> None:
    """Run the sweeper and the launcher through the main function of Hydra."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors, and they are reported in our form
    quiet = ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    flags, overrides = split(words, FLAGS)
    spread = [part for name, values in flags.items() if name not in ("--config-dir", "-cd") for part in (name, *values)]
    readable = [f"++hydra.sweeper.params.{word[:-5]}='null'" if word in NULLS else word for word in overrides]
    typed, sys.argv = sys.argv, ["ebm train", *spread, *readable, *quiet]
    try:
        with compose.searching(dirs):
            hydra.main(version_base="1.3", config_path=str(option_files.conf_dir()), config_name="train")(task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(Problem(str(error).splitlines()[0])) from None
    finally:
        sys.argv = typed

"""`ebm train`: one run, or with -m a sweep."""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ebm_cli.commands._flags import split
from ebm_cli.config import compose, hydra_section
from ebm_cli.errors import InputError, Problem, bad
from ebm_cli.runs import run
from ebm_cli.training.signals import at_once

FLAGS = {"--help": False, "-h": False, "--multirun": False, "-m": False, "--cfg": True, "-c": True, "--config-dir": True, "-cd": True}

HERE = ("hydra_plugins.ebm.GpuLauncher", "hydra._internal.core_plugins.basic_launcher.BasicLauncher")  # their jobs are on this machine

HELP = """usage: ebm train [group=option ...] [key=value ...] [-m] [--cfg job] [--config-dir DIR]

Train one energy-based model; with -m and values separated by commas, one for each combination. The same line typed again
shows the stored result, or goes on where it was interrupted.

Groups (group=option):
{groups}

Keys (key=value; the keys of an option are in its file, `--cfg job` prints them all):
{keys}

Flags:
  -m, --multirun      a sweep: objective=ssm,nce seed=0,1,2
  --cfg job           print the config, run nothing
  --config-dir DIR    a folder with options of your own, DIR/GROUP/OPTION.yaml
  EBM_OUTPUTS         the folder for results, in the environment (default: outputs)
  EBM_ALLOW           packages of your own that a config may name, separated by commas

Examples:
  ebm train objective=ssm dataset=moons
  ebm train objective=nce dataset=table dataset.path=data.csv seeds=4
  ebm train -m objective=ssm,nce,pcd optimizer.lr=0.001,0.003
  ebm train -m experiment=search_lr objective=nce"""


def main(words: Sequence[str]) -> int:
    with at_once():
        return _main(words)


def _main(words: Sequence[str]) -> int:
    flags, overrides = split(words, FLAGS)
    dirs = [Path(folder) for name in ("--config-dir", "-cd") for folder in flags.get(name, [])]
    for folder in dirs:
        if not folder.is_dir():
            raise bad(f"--config-dir: there is no folder {str(folder)!r}")
    if flags.keys() & {"--help", "-h"}:
        print(help_text(dirs))
        return 0
    for shown in (*flags.get("--cfg", []), *flags.get("-c", [])):
        if shown != "job":
            raise bad(f"--cfg: there is no {shown!r} to print", "--cfg job")
    if flags.keys() & {"--cfg", "-c"}:
        print(compose.to_yaml(overrides, dirs), end="")
        return 0
    run.check_outputs()
    if flags.keys() & {"--multirun", "-m"}:
        return sweep(compose.pinned(overrides), dirs)
    composed = compose.compose(overrides, dirs)
    from ebm_cli import console
    from ebm_cli.runner import experiment, train

    train.train(experiment.Experiment.of(composed), composed, [console.Progress()])
    return 0


def sweep(overrides: Sequence[str], dirs: Sequence[Path]) -> int:
    """One run per combination, by a launcher. Every value is checked before the first run; a run that fails leaves the rest alone."""
    hydra = hydra_section.of_hydra(overrides, dirs)
    words, problems = hydra.words, dict.fromkeys(hydra.problems)
    if not problems and hydra.launcher["_target_"].endswith(".GpuLauncher"):
        from ebm_cli.sweeps import processes

        processes.warm()  # it imports what the jobs need while this process checks the line
    from ebm_cli.sweeps import search
    from ebm_cli.sweeps.jobs import GOOD, Job
    from ebm_cli.sweeps.sweep import Lines, Sweep, id_of

    problems |= dict.fromkeys(search.problems(hydra.sweeper, compose.space(words, dirs)))
    good = search.GOOD if hydra.sweeper.get("_target_") == search.TARGET else GOOD
    lines = Lines(tuple(dirs), here=hydra.launcher.get("_target_") in HERE)
    for line in compose.one_at_a_time(words, dirs):
        problems |= dict.fromkeys(lines.check(line))
    if problems:
        raise InputError(*problems)
    first, sweep_id = lines.first, id_of([*words, *(word for word in overrides if word not in words)], dirs)
    job = Job(tuple(dirs), sweep_id, first["group"] or sweep_id, good, first["sweep"]["metric"], lines.best)
    whole = Sweep(tuple(overrides), job)
    with whole.kept(), tempfile.TemporaryDirectory() as folder:  # Hydra writes multirun.yaml somewhere: not where the user stands
        _through_hydra(["-m", *overrides, f"hydra.sweep.dir='{folder}'", "hydra.sweep.subdir=."], dirs, job)
    whole.show()
    return 0


def _through_hydra(words: Sequence[str], dirs: Sequence[Path], task: Any) -> None:
    """What Hydra's own main does: sweepers and launchers."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, and the one form of errors is ours
    quiet = ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    flags, overrides = split(words, FLAGS)
    spread = [part for name, values in flags.items() if name not in ("--config-dir", "-cd") for part in (name, *values)]
    typed, sys.argv = sys.argv, ["ebm train", *spread, *overrides, *compose.search(dirs), *quiet]
    try:
        hydra.main(version_base="1.3", config_path=str(compose.conf_dir()), config_name="train")(task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(Problem(str(error).splitlines()[0])) from None
    finally:
        sys.argv = typed


def help_text(dirs: Sequence[Path]) -> str:
    """Groups and keys as the files of the configs describe them."""
    lines = []
    for group, options in compose.groups(dirs).items():
        lines.append(f"  {group}")
        lines += [f"    {name:20} {option.description}" for name, option in options.items()]
    text = (compose.conf_dir() / "train.yaml").read_text()
    keys = text[text.index("\nseed:") + 1 :].rstrip().splitlines()
    return HELP.format(groups="\n".join(lines), keys="\n".join(f"  {line}".rstrip() for line in keys))

"""The `ebm` command: it dispatches to the module of a verb, and turns errors into messages and exit codes.

It uses only the standard library, so that help is printed without delay. Exit codes: 0 done; 1 the run failed; 2 bad input (nothing was
started); 130 / 143 / 129 interrupted by SIGINT / SIGTERM / SIGHUP with the state saved.
"""

import atexit
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from signal import Signals
from typing import NoReturn

from ebm_cli.errors import InputError, Interrupted, Problem, RunFailed, described, nearest, report
from ebm_cli.io import streams

COMMANDS = {
    "train": "train one model, a stack of seeds (seeds=8), or a sweep (-m)",
    "sample": "draw samples from a trained run, or from an analytic energy",
    "evaluate": "measure a trained run again, or with other metrics",
    "score": "write the energy and log-density of every row of a file",
    "export": "write the couplings and fields of a run for other programs",
    "runs": "list runs and their results",
    "compare": "compare runs side by side, as means over seeds: final results, or results at equal cost",
    "show": "print a run's config, environment and results",
    "plot": "draw the pictures of a run or of a group again",
    "animate": "make a film of training or of sampling",
    "list": "describe the options of every config group",
    "rm": "remove runs",
    "completion": "print the completion script of a shell: bash, zsh or fish",
    "doctor": "check the installation, and say how to repair it",
}

SAVING = (
    "train",
    "sample",
    "evaluate",
    "export",
    "plot",
    "rm",
)  # commands whose results are in files: their exit code is that of their work

USAGE = """ebm: train, sample and measure energy-based models, p(x) = exp(-E(x)) / Z

usage: ebm COMMAND ...

{commands}

  ebm train objective=ssm dataset=moons     train a first model
  ebm COMMAND --help                        print the arguments of a command
  ebm --version                             print the version

Results are written to outputs/, or to the folder that the environment variable EBM_OUTPUTS names."""


def run() -> NoReturn:
    """Run the command and end the process. It skips the finalization of the interpreter, which takes a third of a second with torch."""
    streams.prepare()
    code = main()
    atexit._run_exitfuncs()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    if failed := sys.stdout.failed:  # the disk is full, for example
        code = report((Problem(f"standard output cannot be written: {failed.strerror}"),), code or int(not {*sys.argv[1:2]} & {*SAVING}))
    sys.stderr.flush()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        code = dispatch(argv)
        sys.stdout.flush()
        return code
    except InputError as error:
        return report(error.problems, 2)
    except RunFailed as error:
        return report(error.problems, 1)
    except Interrupted as stop:
        return report((Problem(f"interrupted by {Signals(stop.signal).name}", stop.hint),), 128 + stop.signal)
    except KeyboardInterrupt:
        return report((Problem("interrupted by SIGINT"),), 130)
    except BrokenPipeError:  # the reader has closed the pipe, as in `ebm runs | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("EBM_DEBUG"):
            raise
        return report((described(error),), 1)


def dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(USAGE.format(commands="\n".join(f"  {name:12}{line}" for name, line in COMMANDS.items())))
        return 0
    command, rest = argv[0], argv[1:]
    if command == "--version":
        from importlib.metadata import version

        print(f"ebm {version('ebm-cli')}")
        return 0
    if command not in COMMANDS:
        raise InputError(Problem(f"ebm has no command {command!r}", nearest(command, COMMANDS)))
    if {"-h", "--help"} & {*rest} and command != "train":
        print(import_module(f"ebm_cli.commands.{command}").__doc__)
        return 0
    return import_module(f"ebm_cli.commands.{command}").main(rest)


if __name__ == "__main__":
    run()

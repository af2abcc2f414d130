"""The `ebm` command: a table of verbs, did-you-mean, exit codes. Standard library only, so that help is instant.

Exit codes: 0 done; 1 the run failed; 2 bad input (nothing was started); 130 / 143 interrupted with the state saved.
"""

import atexit
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from signal import Signals
from typing import NoReturn

from ebm_cli.errors import InputError, Interrupted, Problem, RunFailed, nearest, report

COMMANDS = {
    "train": "train one model, a stack of seeds (seeds=8), or a sweep (-m)",
    "sample": "draw samples from a trained run, or from an energy that needs no training",
    "evaluate": "measure a trained run again",
    "score": "energy and log-density of the rows of a file",
    "runs": "list runs and their results",
    "compare": "runs side by side, over their seeds, at their ends or at equal cost",
    "show": "a run's config, environment and results",
    "plot": "draw the pictures of a run again",
    "list": "the options of every config group",
    "rm": "remove runs",
    "completion": "what makes TAB complete all this, for bash, zsh or fish",
    "doctor": "what works here, and how to mend what does not",
}

USAGE = """ebm: train, sample and measure energy-based models, p(x) = exp(-E(x)) / Z

usage: ebm COMMAND ...

{commands}

  ebm train objective=ssm dataset=moons     the first run
  ebm COMMAND --help                        what a command takes
  ebm --version

Results go to outputs/, or to the folder that EBM_OUTPUTS names."""


def run() -> NoReturn:
    """The process. It ends at once: that Python takes torch apart at its end would cost every command a third of a second."""
    code = main()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody listens any more
            stream.flush()
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
    except BrokenPipeError:  # `ebm runs | head -1`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("EBM_DEBUG"):
            raise
        return report((Problem(f"{type(error).__name__}: {error}", "EBM_DEBUG=1 shows the traceback"),), 1)


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

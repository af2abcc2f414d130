"""ebm: a config-driven command-line experiment runner for energy-based models, p(x) = exp(-E(x)) / Z.

From Python, `load_run` opens a trained run:

    from ebm_cli import load_run

    run = load_run("last")
    run.energy(x), run.score(x), run.log_prob(x), run.sample(1000)
"""

from typing import Any

__all__ = ["load_run"]


def __getattr__(name: str) -> Any:
    """`load_run` is imported when it is used: the command must start without torch."""
    if name != "load_run":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ebm_cli.runner.loaded_run import load_run

    return load_run

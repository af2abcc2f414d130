"""ebm: a config-driven command-line runner for experiments with energy-based models, p(x) = exp(-E(x)) / Z.

`load_run` opens a trained run from Python:

    from ebm_cli import load_run

    run = load_run("last")
    run.energy(x), run.score(x), run.log_prob(x), run.sample(1000)
"""

from typing import Any

__all__ = ["load_run"]


def __getattr__(name: str) -> Any:
    """Import `load_run` on first use: it imports torch, without which the command must start."""
    if name != "load_run":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ebm_cli.runner.loaded_run import load_run

    return load_run

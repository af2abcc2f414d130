"""Rank the values of a metric."""

from ebm_cli.types import Best


def badness(number: float, best: Best) -> float:
    """A number that is smaller for better values. `best` is "min", "max", or the target value."""
    if isinstance(best, str):
        return -number if best == "max" else number
    return abs(number - best)

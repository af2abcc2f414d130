"""The smallest standard deviation that single precision resolves at a distance from the origin."""

from ebm_cli.errors import bad

RATIO = 1e5  # at this distance, in standard deviations, neighboring numbers of single precision are 0.01 standard deviations apart


def check_resolved(key: str, *, farthest: float, smallest: float) -> None:
    """Refuse a distribution with the smallest standard deviation `smallest` whose mass reaches the coordinate `farthest`.

    Models and chains use single precision: draws would collapse to few values. A grid that resolves the distribution would also be huge.
    """
    if not farthest <= RATIO * smallest:
        fault = f"a standard deviation of {smallest:.3g} cannot be resolved in single precision at coordinates of {farthest:.3g}"
        raise bad(f"{key}: {fault}", f"keep coordinates below {RATIO:g} times the smallest standard deviation")

"""Means over seeds and their 95 % Student t intervals. Student 1908; Abramowitz & Stegun 1964, 26.7.3 and 26.7.4.

With n degrees of freedom, theta = atan(t / sqrt n), s = sin theta and c = cos theta, the distribution is a finite sum:

    P(|T| < t) = s (1 + 1/2 c^2 + 1.3/2.4 c^4 + ... up to c^(n-2))                           n even
               = 2/pi (theta + s (c + 2/3 c^3 + 2.4/3.5 c^5 + ... up to c^(n-2)))            n odd, n = 1 without the sum

The quantile is found by bisection, to the last digit. (scipy is not used because its import takes longer than the rest of
`ebm compare`.) The cost is n terms per bisection step. It is not suited to millions of values.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

LARGEST = 12.8  # an upper bound of the quantile, which decreases from 12.706, at one degree of freedom, to 1.960


def mean(values: Any) -> float | None:
    """The mean of a list with one number per model; None if a number is missing, since a mean over the others would be biased.

    A single number is returned unchanged.
    """
    if isinstance(values, list):
        return None if not values or None in values else sum(values) / len(values)
    return values


def interval(values: Sequence[float]) -> list[float] | None:
    """The 95 % interval of the mean of independent values; None for a single value."""
    n = len(values)
    if n < 2:
        return None
    center = sum(values) / n
    half = quantile(n - 1) * math.sqrt(sum((value - center) ** 2 for value in values) / (n - 1) / n)
    return [center - half, center + half]


@cache
def quantile(n: int) -> float:
    """The t with P(|T| < t) = 0.95 at n degrees of freedom."""
    low, high = 0.0, LARGEST
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if within(middle, n) < 0.95 else (low, middle)
    return high


def within(t: float, n: int) -> float:
    """P(|T| < t) at n degrees of freedom, t >= 0."""
    theta = math.atan(t / math.sqrt(n))
    cosine, odd = math.cos(theta), n % 2
    term, total = (cosine if odd else 1.0), 0.0
    for power in range(odd, n - 1, 2):
        total += term
        term *= (power + 1) / (power + 2) * cosine**2
    total *= math.sin(theta)
    return 2 / math.pi * (theta + total) if odd else total

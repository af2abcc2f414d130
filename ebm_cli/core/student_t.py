"""The 95 % Student t interval of a mean. Student 1908; the distribution in finite sums: Abramowitz & Stegun 1964, 26.7.3 and 26.7.4.

With n degrees of freedom, theta = atan(t / sqrt n), s = sin theta and c = cos theta,

    P(|T| < t) = s (1 + 1/2 c^2 + 1.3/2.4 c^4 + ... up to c^(n-2))                           n even
               = 2/pi (theta + s (c + 2/3 c^3 + 2.4/3.5 c^5 + ... up to c^(n-2)))            n odd, n = 1 without the sum

and the quantile by bisection, to the last digit. (scipy has it too; to import that takes longer than all the rest of `ebm compare`.)
Cost: n terms for each of the bisections. Not for millions of values.
"""

import math
from collections.abc import Sequence
from functools import cache

WIDEST = 12.8  # the quantile falls from 12.706, at one degree of freedom, to 1.960


def interval(values: Sequence[float]) -> list[float] | None:
    """Of the mean of independent values; of a single value there is none."""
    n = len(values)
    if n < 2:
        return None
    mean = sum(values) / n
    half = quantile(n - 1) * math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)
    return [mean - half, mean + half]


@cache
def quantile(n: int) -> float:
    """The t that |T| stays below with a probability of 95 %, at n degrees of freedom."""
    low, high = 0.0, WIDEST
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

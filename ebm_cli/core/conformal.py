"""Split conformal threshold: a new value exceeds it with probability at most q.

Vovk et al. 2005; for densities: Lei et al. 2013, arXiv:1111.1418.

    t = the k-th smallest of n held-out values,    k = ceil((n + 1)(1 - q)),    P(value > t) = 1 - k / (n + 1) <= q

This holds for a new value that is exchangeable with the n held-out values, if no two values are equal (with ties, t is exceeded less
often). The probability is over both the held-out values and the new one. Conditional on the held-out values it varies around
1 - k / (n + 1) with a standard deviation of about sqrt(q (1 - q) / n). The guarantee holds for any energy; a poor energy only accepts
more than necessary. Equal rows must have bitwise equal energies: if many rows are equal, t can be the energy of these rows,
and a rounding error could reject all of them. The cost is one sort. The guarantee does not cover rows from another distribution, nor
held-out values that were used in training.
"""

import math
from collections.abc import Sequence
from fractions import Fraction


def fewest(q: Fraction) -> int:
    """The smallest number of held-out values for which a threshold at q exists."""
    return math.ceil(1 / q) - 1


def threshold(values: Sequence[float], q: Fraction) -> float:
    """The threshold t for n >= fewest(q) values."""
    n = len(values)
    return sorted(values)[n - math.floor((n + 1) * q)]  # k = n + 1 - floor((n + 1) q), counted from 1

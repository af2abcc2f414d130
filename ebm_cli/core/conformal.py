"""A bound that a new draw exceeds with probability q at most. Vovk et al. 2005; of densities: Lei et al. 2013, arXiv:1111.1418.

    t = the k-th smallest of n held-out values,    k = ceil((n + 1)(1 - q)),    P(value > t) = 1 - k / (n + 1) <= q

for a new value from the same law, exchangeable with the n, if no two are equal (with ties it exceeds t less often still). The probability
is over both, the held-out values and the new one: given these values it varies about 1 - k / (n + 1) with a standard deviation of about
sqrt(q (1 - q) / n). Nothing is asked of the energy: a poor one only accepts more than it need. It has to be one function for all of them,
to the last bit: where many rows are equal, t is the energy of one of these, and rounding would reject them all. Cost: one sorting. Not
for rows of another law, whose rejections say nothing about q, nor for values that training has seen.
"""

import math
from collections.abc import Sequence
from fractions import Fraction


def fewest(q: Fraction) -> int:
    """The held-out values that q needs: with fewer nothing is rejected for sure."""
    return math.ceil(1 / q) - 1


def threshold(values: Sequence[float], q: Fraction) -> float:
    """t, of n >= fewest(q) values."""
    n = len(values)
    return sorted(values)[n - math.floor((n + 1) * q)]  # k = n + 1 - floor((n + 1) q), counted from 1

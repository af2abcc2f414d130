"""Split conformal thresholds: the rank by hand, and the coverage by simulation. Seeded; the false-alarm rate is 1e-6 each."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binomtest

from ebm_cli.core.conformal import fewest, threshold


@pytest.mark.parametrize(
    ("n", "q", "k"),  # k = ceil((n + 1)(1 - q)), counted from 1
    [
        (99, "0.01", 99),
        (100, "0.01", 100),
        (198, "0.01", 198),
        (199, "0.01", 198),
        (9, "0.5", 5),
        (10, "0.5", 6),
        (99, "0.29", 71),
        (4, "0.2", 4),
    ],
)
def test_the_rank_by_hand(n, q, k):
    """0.29 as a float is slightly smaller than 29/100, which must not change the rank."""
    values = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    assert threshold(values.tolist(), Fraction(q)) == k


@pytest.mark.parametrize(("q", "n"), [("0.01", 99), ("0.3", 3), ("0.5", 1), ("0.003", 333), ("1e-06", 999_999)])
def test_fewest_is_the_smallest_sufficient_number(q, n):
    """With n values, k = ceil((n + 1)(1 - q)) is at most n; with n - 1 values, k exceeds their number."""
    assert fewest(Fraction(q)) == n
    assert math.ceil((n + 1) * (1 - Fraction(q))) <= n
    assert math.ceil(n * (1 - Fraction(q))) > n - 1


@pytest.mark.parametrize(("n", "q"), [(99, "0.01"), (150, "0.02"), (40, "0.25")])
def test_a_new_draw_is_rejected_as_often_as_promised(n, q):
    """The probability is floor((n + 1) q) / (n + 1), at most q. A two-sided test uses 40,000 held-out sets with one new draw each."""
    draws = np.random.default_rng(1).exponential(size=(40_000, n + 1))
    rejected = sum(new > threshold(values, Fraction(q)) for *values, new in draws.tolist())
    promised = Fraction(math.floor((n + 1) * Fraction(q)), n + 1)
    assert promised <= Fraction(q)
    assert binomtest(int(rejected), len(draws), float(promised)).pvalue > 1e-6


def test_ties_are_accepted():
    """If most values are equal, a new draw exceeds the threshold less often."""
    draws = np.random.default_rng(2).integers(0, 3, size=(20_000, 20))
    rejected = sum(new > threshold(values, Fraction("0.4")) for *values, new in draws.tolist())
    assert binomtest(int(rejected), len(draws), 0.4, alternative="greater").pvalue > 1e-6
    assert threshold([1.0] * 9, Fraction("0.5")) == 1.0

"""Student t intervals, by hand and compared with scipy."""

import math

import pytest
from scipy import stats

from ebm_cli.core.student_t import interval, quantile, within


def test_interval_by_hand():
    """1, 2, 6 have mean 3 and standard deviation sqrt 7; t = 4.30265 at 2 degrees of freedom."""
    half = 4.302652729911275 * math.sqrt(7 / 3)
    assert interval([1.0, 2.0, 6.0]) == pytest.approx([3 - half, 3 + half])
    assert interval([5.0]) is None
    assert interval([2.0, 2.0]) == [2.0, 2.0]


@pytest.mark.parametrize("values", [[0.1, 0.7], [3.0, -1.0, 2.5, 2.25, 10.0]])
def test_interval_agrees_with_scipy(values):
    expected = stats.t.interval(0.95, len(values) - 1, loc=sum(values) / len(values), scale=stats.sem(values))
    assert interval(values) == pytest.approx(list(expected))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 12, 31, 100, 501])
def test_the_quantile_and_the_probability_agree_with_scipy(n):
    assert quantile(n) == pytest.approx(stats.t.ppf(0.975, n), rel=1e-12)
    for t in (0.0, 0.3, 1.0, 4.0, 40.0):
        assert within(t, n) == pytest.approx(1 - 2 * stats.t.sf(t, n), abs=1e-12)


def test_one_and_two_degrees_of_freedom_in_closed_form():
    """With p = 0.95: tan(p pi / 2), the quantile of the Cauchy distribution, and p sqrt(2 / (1 - p^2))."""
    assert quantile(1) == pytest.approx(math.tan(0.95 * math.pi / 2), rel=1e-12)
    assert quantile(2) == pytest.approx(0.95 * math.sqrt(2 / (1 - 0.95**2)), rel=1e-12)

"""The grid of a column is found exactly; columns that are on no grid are left as they are."""

import math

import numpy as np
import pytest

from ebm_cli.core import grids

DOUBLE, SINGLE = 2.0**-53, 2.0**-24
RNG = np.random.default_rng(0)


def values(step, *, offset=0, levels=40, n=1000):
    """n values offset + k * step as a text file has them: the doubles that are nearest to the decimal numbers."""
    k = RNG.integers(-levels, levels, n)
    return np.array([float(f"{offset + k_ * step:.9f}") for k_ in k])


@pytest.mark.parametrize("offset", [0, 3.25, -1e6])
@pytest.mark.parametrize("step", [1, 2, 5, 0.1, 0.01, 0.25, 0.02, 1000, 1e-4])
def test_the_step_of_decimal_numbers_is_exact(step, offset):
    assert grids.step(values(step, offset=offset), DOUBLE) == step


def test_the_step_is_the_largest_one():
    """6 and 10 and 15 have no common divisor but 1; on the grid 4, 10, 16 the step is 6 although 0 is not on it."""
    assert grids.step(np.array([0, 6, 10, 15] * 5, dtype=float), DOUBLE) == 1
    assert grids.step(np.array([4, 10, 16, 34] * 5, dtype=float), DOUBLE) == 6
    assert grids.step(np.array([0.3, 0.7] * 5), DOUBLE) == 0.4


def test_a_few_values_may_be_off_the_grid():
    x = values(0.01)
    x[:30] += 1e-6 * RNG.integers(1, 1000, 30)
    assert grids.step(x, DOUBLE) == 0.01
    x[30:90] += 1e-6 * (2 * RNG.integers(1, 1000, 60) + 1)
    assert grids.step(x, DOUBLE) == 1e-6
    pixel = np.zeros(1000)
    pixel[:3] = 10, 3, 10
    assert grids.step(pixel, DOUBLE) == 1
    salaries = 1000.0 * RNG.integers(20, 90, 1000) + 500
    salaries[:20] = RNG.integers(20_000, 90_000, 20)
    assert grids.step(salaries, DOUBLE) == 1000
    mostly_zero = np.where(RNG.random(1000) < 0.97, 0.0, values(0.01, levels=5000))
    assert grids.step(mostly_zero, DOUBLE) == 0.01


@pytest.mark.parametrize("size", [0.0, 1e6, -1e6])
def test_integers_in_single_precision(size):
    x = (size + RNG.integers(0, 100, 1000)).astype(np.float32)
    assert grids.step(x.astype(float), SINGLE) == 1
    x = (1e9 + 64 * RNG.integers(0, 100, 1000)).astype(np.float32)  # the spacing of single precision there
    assert grids.step(x.astype(float), SINGLE) is None
    assert grids.step(1e12 + RNG.integers(0, 100, 1000), DOUBLE) == 1


def test_decimals_and_pixels_in_single_precision():
    cents = values(0.01).astype(np.float32).astype(float)
    assert grids.step(cents, SINGLE) == 0.01
    assert grids.step(cents, DOUBLE) is None  # as doubles they are not decimal numbers
    for dtype, precision in ((np.float32, SINGLE), (np.float64, DOUBLE)):
        pixels = (RNG.integers(0, 256, 5000).astype(dtype) / dtype(255)).astype(float)
        assert math.isclose(grids.step(pixels, precision), 1 / 255, rel_tol=1e-5)


def test_a_standardized_column_of_integers_is_on_a_grid():
    k = RNG.integers(0, 30, 2000)
    assert math.isclose(grids.step((k - k.mean()) / k.std(), DOUBLE), 1 / k.std(), rel_tol=1e-9)


NO_GRID = {
    "continuous": RNG.normal(size=5000),
    "uniform in single precision": RNG.random(200_000, dtype=np.float32).astype(float),
    "an atom": np.where(RNG.random(5000) < 0.4, 0.0, RNG.normal(size=5000)),
    "duplicated rows": np.repeat(RNG.normal(size=1000), 2),
    "no ties": np.arange(1000.0) * 7,
    "constant": np.full(100, 3.0),
    "huge": RNG.normal(size=2000) * 1e300,
    "constant up to rounding": np.where(RNG.random(100) < 0.5, 0.3, 0.1 * 3 - 0.1 + 0.1),
    "one up to rounding": np.where(RNG.random(100) < 0.5, 1.0, 1 + 2.0**-52),
    "rounding noise": 1 + 2.0**-50 * RNG.integers(0, 8, 2000),
}


@pytest.mark.parametrize("name", NO_GRID)
def test_other_columns_are_on_no_grid(name):
    assert grids.step(NO_GRID[name], SINGLE if "single" in name else DOUBLE) is None


@pytest.mark.parametrize(("n_tied", "found"), [(4, None), (6, 0.001)])
def test_ties_must_be_frequent(n_tied, found):
    """Of 100 values with three decimals, 4 or 6 occur twice."""
    x = (RNG.permutation(100_000)[:100] * 2 + 1) / 1000
    x[: n_tied // 2] = x[50 : 50 + n_tied // 2]
    step = grids.step(x, DOUBLE)
    assert step == (None if found is None else pytest.approx(0.002))


def test_noise_is_uniform_over_one_cell_and_a_function_of_the_seed():
    """The standard error of the mean of 10,000 values is 0.0029 h; that of the mean square 0.00075 h^2. Bounds of four of them."""
    steps = np.array([2.0, 0.0, 0.01])
    found = grids.noise(steps, 10_000, 5)
    assert (np.abs(found) <= steps / 2).all()
    assert np.abs(found.mean(0)[[0, 2]] / steps[[0, 2]]).max() < 0.012
    assert np.abs((found**2).mean(0)[[0, 2]] / steps[[0, 2]] ** 2 - 1 / 12).max() < 0.003
    assert (found[:, 1] == 0).all()
    np.testing.assert_array_equal(found, grids.noise(steps, 10_000, 5))
    assert (found != grids.noise(steps, 10_000, 6))[:, 0].all()

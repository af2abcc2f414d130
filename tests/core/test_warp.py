"""The monotone map to normal scores: it is invertible on the whole line, and its slope is its derivative."""

import json
import math

import numpy as np
import pytest
import torch

from ebm_cli.core.standardize import Standardization
from ebm_cli.core.warp import Warp, n_knots

RNG = np.random.default_rng(0)
COLUMNS = {
    "normal": RNG.normal(5.0, 3.0, 2000),
    "cauchy": 1e3 * RNG.standard_cauchy(2000),
    "outlier": np.append(RNG.normal(size=1999), 1e9),
    "skewed": np.exp(2 * RNG.normal(size=2000)),
    "atom": np.where(RNG.random(2000) < 0.7, 0.0, RNG.exponential(size=2000)),
    "two values": (RNG.random(2000) < 0.3).astype(float),
    "rare value": (np.arange(2000) == 7).astype(float),
    "spike": np.where(RNG.random(2000) < 0.5, 1e-9, 1.0) * RNG.normal(size=2000),
}
TABLE = np.stack([*COLUMNS.values()], -1)
WARP = Warp.fit(TABLE)


def points():
    """Values of every column, values between and beyond them, and the knots themselves, (N, C)."""
    y = torch.from_numpy(TABLE)
    knots = WARP.center + WARP.width * torch.sinh(WARP.v.T)
    return torch.cat([y, (y[:-1] + y[1:]) / 2, knots, WARP.center + WARP.width * torch.tensor([-1e6, -30.0, 30.0, 1e6])[:, None]])


def test_the_inverse_undoes_the_map():
    y = points()
    error = (WARP.inverse(WARP(y)) - y).abs() / (WARP.width + (y - WARP.center).abs())
    assert error.max() < 1e-9
    z = torch.linspace(-40, 40, 4001, dtype=torch.double)[:, None].expand(-1, TABLE.shape[1])
    error = (WARP(WARP.inverse(z)) - z).abs()
    assert error[:, :-1].max() < 1e-9
    assert error[:, -1].max() < 1e-6  # steps of 1e-9: the inverse is steep there


def test_the_slope_is_the_derivative():
    """By automatic differentiation, and by differences of a function that is not differentiated automatically."""
    y = points().requires_grad_()
    (derivative,) = torch.autograd.grad(WARP(y).sum(), y)
    torch.testing.assert_close(WARP.log_slope(y).detach(), derivative.log(), rtol=1e-9, atol=1e-9)
    one = Warp.fit(TABLE[:, :1])
    y = torch.linspace(-40, 60, 2001, dtype=torch.double)[:, None]
    h = 1e-5
    differences = (one(y + h) - one(y - h)) / (2 * h)
    torch.testing.assert_close(one.log_slope(y).exp(), differences, rtol=1e-4, atol=1e-9)


def test_the_map_is_increasing_and_its_slope_continuous():
    v = torch.linspace(-12, 12, 200_001, dtype=torch.double)[:, None]
    one = Warp.fit(TABLE[:, [0, 1, 3]])
    y = one.center + one.width * torch.sinh(v)
    assert (one(y).diff(dim=0) > 0).all()
    jumps = one.log_slope(y).diff(dim=0).abs()
    assert jumps.max() < 0.05


@pytest.mark.parametrize("name", ["normal", "cauchy", "outlier", "skewed"])
def test_scores_of_the_training_values_are_nearly_normal(name):
    """The distance of the distribution functions is at most that of the interpolation between K knots, about 1 / K."""
    z = Warp.fit(COLUMNS[name][:, None])(torch.from_numpy(COLUMNS[name])[:, None]).flatten().sort().values
    levels = (torch.arange(2000, dtype=torch.double) + 0.5) / 2000
    assert (torch.special.ndtr(z) - levels).abs().max() < 1 / n_knots(2000)
    assert z.abs().max() < 60  # the outlier of 1e9: 40


def test_knots_are_normal_quantiles_of_the_levels_of_the_quantiles():
    """Of 100 equidistant values: the quantile at level p is 100 p - 1/2 (Hazen)."""
    warp = Warp.fit(np.arange(100.0)[:, None])
    k = n_knots(100)
    levels = (np.arange(k) + 0.5) / k
    knots = warp.center[0] + warp.width[0] * torch.sinh(warp.v[0])
    v = np.arcsinh((np.arange(100.0) - 49.5) / 25)  # half of the distances to the median are below 25
    expected = 49.5 + 25 * np.sinh(np.interp(100 * levels - 0.5, np.arange(100), v))
    np.testing.assert_allclose(knots, expected, atol=1e-9)
    np.testing.assert_allclose(torch.special.ndtr(warp.z[0]), levels, atol=1e-12)


def test_a_reflected_column_has_reflected_scores():
    y = COLUMNS["skewed"][:, None]
    there, back = Warp.fit(y)(torch.from_numpy(y)), Warp.fit(-y)(torch.from_numpy(-y))
    torch.testing.assert_close(there, -back, atol=1e-9, rtol=0)


def test_stored_maps_are_the_same_maps():
    again = Warp.from_json(json.loads(json.dumps(WARP.to_json())))
    assert torch.equal(again(points()), WARP(points()))


@pytest.mark.parametrize("name", ["normal", "cauchy", "outlier", "skewed"])
def test_a_density_in_model_coordinates_integrates_to_one_over_the_data(name):
    """log p(y) = -E(u) + log_warp(y) - log_det - log Z with a standard normal u, by the trapezoid rule in v, where y = sinh(v)."""
    units = Standardization.of(torch.from_numpy(COLUMNS[name])[:, None], "quantile")
    v = torch.linspace(-60, 60, 400_001, dtype=torch.double)
    y = units.warp.center + units.warp.width * torch.sinh(v)
    u = units.from_data(y[:, None])
    log_p = -0.5 * u.square().sum(-1) - 0.5 * math.log(2 * math.pi) - units.log_det + units.log_warp(y[:, None])
    mass = torch.trapezoid(log_p.exp() * units.warp.width * torch.cosh(v), v)
    assert math.isclose(mass.item(), 1.0, abs_tol=1e-6)


def test_the_score_in_data_units_is_the_gradient_of_the_log_density():
    units = Standardization.of(torch.from_numpy(TABLE[:, [0, 1, 3]]), "quantile")
    y = torch.from_numpy(TABLE[:50, [0, 1, 3]]).requires_grad_()
    log_p = units.log_warp(y) - 0.5 * units.from_data(y).square().sum(-1)
    (expected,) = torch.autograd.grad(log_p.sum(), y)
    torch.testing.assert_close(units.score_of(-units.from_data(y.detach()), y), expected)
    affine = Standardization.of(torch.from_numpy(TABLE[:, [0, 1, 3]]))
    torch.testing.assert_close(affine.score_of(torch.ones_like(y), y), (1 / affine.scale).expand_as(y))


def test_arrays_share_one_map():
    y = torch.from_numpy(np.exp(RNG.normal(size=(100, 2, 3))))
    units = Standardization.of(y, "quantile")
    assert units.mean.shape == (2, 3)
    assert units.warp.v.shape[0] == 1
    u = units.from_data(y)
    assert u.shape == y.shape
    torch.testing.assert_close(units.to_data(u), y)
    flat = Standardization.of(y.reshape(-1, 1), "quantile")
    torch.testing.assert_close(units.log_warp(y), flat.log_warp(y.reshape(-1, 1)).reshape(100, 6).sum(-1))
    torch.testing.assert_close((u.mean(), u.square().mean()), (torch.tensor(0.0).double(), torch.tensor(1.0).double()), atol=1e-9, rtol=0)


def test_principal_components_are_those_of_the_scores():
    y = torch.from_numpy(TABLE[:, [0, 1, 3]])
    units = Standardization.of(y, "quantile").principal(y, 2)
    u = units.from_data(y)
    torch.testing.assert_close(u.T @ u / len(u), torch.eye(2).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(units.from_data(units.to_data(u)), u, atol=1e-8, rtol=0)
    assert not units.changes_energy
    assert units.log_warp(y).abs().max() == 0


def test_robust_takes_the_median_and_the_interquartile_range():
    y = torch.tensor([[0.0], [1.0], [2.0], [3.0], [1e9]])
    units = Standardization.of(y, "robust")
    assert units.mean.tolist() == [2.0]
    assert math.isclose(units.scale.item(), (3.0 - 1.0) / 1.3489795, rel_tol=1e-6)
    normal = Standardization.of(torch.from_numpy(np.random.default_rng(0).normal(1.0, 4.0, (100_000, 1))), "robust")
    assert abs(normal.scale.item() - 4.0) < 0.08  # five standard errors


def test_no_rows_are_mapped_to_no_rows():
    units, none = Standardization.of(torch.from_numpy(TABLE), "quantile"), torch.empty(0, TABLE.shape[1], dtype=torch.double)
    assert units.from_data(none).shape == units.to_data(none).shape == none.shape
    assert units.log_warp(none).shape == (0,)

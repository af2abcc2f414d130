"""Densities of the plane as bits: codes, probabilities and draws. The statistical test is seeded (false-alarm rate 1e-6)."""

import numpy as np
import pytest
import torch
from densities import check_refused, option
from scipy.stats import chisquare

from ebm_cli.core.rng import Rng
from ebm_cli.core.states import states
from ebm_cli.datasets.moons import Moons
from ebm_cli.errors import InputError

MOONS = Moons(n_train=None, noise=0.1, scale=1.0)


def small(n_bits=3, plane=MOONS):
    return type(option("binary_moons"))(n_train=None, plane=plane, n_bits=n_bits)


def test_the_codes_by_hand():
    """The Gray codes of 0 .. 7, the first bit being the most significant."""
    data = small()
    codes = ["000", "001", "011", "010", "110", "111", "101", "100"]
    for column in range(8):
        x = data.coded(torch.tensor(8 * column + 5))
        assert "".join(map(str, x.tolist())) == codes[column] + "111"
    cells = torch.arange(64)
    assert torch.equal(data.cell(data.coded(cells).float()), cells)


def test_neighboring_cells_differ_in_one_bit():
    codes = small().coded(torch.arange(64)).view(8, 8, 6)
    assert ((codes[1:] != codes[:-1]).sum(-1) == 1).all()
    assert ((codes[:, 1:] != codes[:, :-1]).sum(-1) == 1).all()


def test_the_probability_of_a_cell_is_that_of_its_middle():
    data = small()
    p, (left, right), (bottom, top) = data.log_prob(states(data.space)).exp(), *data.grid
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    middle = torch.tensor([left + (right - left) * 2.5 / 8, bottom + (top - bottom) * 6.5 / 8], dtype=torch.double)
    x = data.coded(torch.tensor(8 * 2 + 6)).float()
    torch.testing.assert_close(data.to_plane(x), middle)
    points = data.to_plane(states(data.space))
    total = MOONS.log_prob(points).exp().sum()
    assert data.log_prob(x).exp().item() == pytest.approx((MOONS.log_prob(middle).exp() / total).item())


def test_draws_follow_the_probabilities():
    data, n = small(4), 40_000
    p = np.zeros(256)
    p[data.cell(states(data.space)).numpy()] = data.log_prob(states(data.space)).exp().numpy()
    x = data.draw(n, Rng(0))
    assert x.unique().tolist() == [0.0, 1.0]
    counts, many = np.bincount(data.cell(x), minlength=256), n * p >= 5
    observed, expected = (np.append(part[many], part[~many].sum()) for part in (counts, n * p))
    assert chisquare(observed, expected).pvalue > 1e-6
    stack = data.draw(7, Rng((0, 1)))
    assert torch.equal(stack[1], data.draw(7, Rng(1)))


def test_modes_are_those_of_the_plane():
    data = small(5)
    x = states(data.space)
    assert torch.equal(data.mode(x), MOONS.mode(data.to_plane(x)))
    torch.testing.assert_close(data.mode_weights.sum(), torch.ones((), dtype=torch.double))
    torch.testing.assert_close(data.mode_weights[1], data.log_prob(x)[data.mode(x) == 1].exp().sum())


@pytest.mark.parametrize("name", ["moons", "eight_gaussians", "two_spirals", "pinwheel", "checkerboard"])
def test_the_options_have_the_densities_of_the_plane(name):
    assert option(f"binary_{name}", n_bits=3).plane == option(name)


def test_a_plane_is_needed():
    with pytest.raises(InputError, match=r"dataset\.plane: it must be a dataset with a known density of two coordinates"):
        small(plane=option("bars_and_stripes"))
    check_refused("binary_moons", n_bits=12)

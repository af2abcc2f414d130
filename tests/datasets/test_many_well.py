"""Many wells, compared with one-dimensional quadrature. Statistical checks are seeded."""

import math

import densities
import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import kstest, norm

from ebm_cli.core.rng import Rng
from ebm_cli.errors import InputError

EDGES = [-4.0, -1.71, 0.0, 1.75, 4.0]


def energy(x):
    return x**4 - 6 * x**2 - x / 2


def integral(function, low=-4.0, high=4.0):
    inner = [edge for edge in EDGES if low < edge < high]
    return sum(quad(function, a, b, epsabs=0, epsrel=1e-12)[0] for a, b in zip([low, *inner], [*inner, high], strict=True))


Z = integral(lambda x: math.exp(-energy(x)))
ENTROPY = math.log(Z) + integral(lambda x: energy(x) * math.exp(-energy(x))) / Z + 0.5 * math.log(2 * math.pi * math.e)  # of a pair


def test_log_z_is_the_published_one():
    assert densities.option("many_well", dim=2).log_z == pytest.approx(10.29348, abs=5e-6)
    assert densities.option("many_well", dim=32).log_z == pytest.approx(164.6957, abs=5e-5)
    assert densities.option("many_well", dim=2).log_z == pytest.approx(math.log(Z) + 0.5 * math.log(2 * math.pi), abs=1e-11)


def test_log_prob_is_minus_the_energy_minus_log_z():
    dataset, x = densities.option("many_well", dim=4), Rng(0).normal("x", 20, 4).double()
    a, b, c, d = x.T
    expected = -energy(a) - b**2 / 2 - energy(c) - d**2 / 2 - dataset.log_z
    torch.testing.assert_close(dataset.log_prob(x), expected)


def test_mass_entropy_box_and_draws_in_the_plane():
    dataset = densities.option("many_well", dim=2)
    densities.check_mass_and_entropy(dataset, ENTROPY)
    densities.check_box(dataset)
    densities.check_draws(dataset)
    densities.check_streams(dataset)
    densities.check_modes(dataset)


@pytest.mark.parametrize("dim", [8, 32, 784])
def test_the_entropy_is_that_of_its_pairs(dim):
    densities.check_mean_log_prob(densities.option("many_well", dim=dim), dim / 2 * ENTROPY, n_draws=2000)


def test_quantiles_agree_with_quadrature():
    """The distribution function of x at the quantile of u is u, also in the tails."""
    dataset = densities.option("many_well")
    u = [1e-14, 1e-9, 1e-4, 0.1, 0.149, 0.15, 0.5, 0.9, 0.9999, 1 - 1e-9]
    for share, x in zip(u, dataset.quantile(torch.tensor(u, dtype=torch.double)).tolist(), strict=True):
        below = integral(lambda t: math.exp(-energy(t)), high=x) / Z
        assert below == pytest.approx(share, rel=1e-6)
        assert 1 - below == pytest.approx(1 - share, rel=1e-6)


def test_draws_follow_the_distribution_function():
    """Kolmogorov-Smirnov tests of both kinds of coordinates, over all pairs; false-alarm rate 1e-6 each. Coordinates are uncorrelated."""
    x = densities.option("many_well").draw(20_000, Rng(0)).double()
    nodes = np.linspace(-4, 4, 20_001)
    density = np.exp(-energy(nodes)) / Z
    below = np.append(0, np.cumsum((density[1:] + density[:-1]) / 2) * (nodes[1] - nodes[0]))
    assert kstest(x[:, ::2].flatten().numpy(), lambda t: np.interp(t, nodes, below)).pvalue > 1e-6
    assert kstest(x[:, 1::2].flatten().numpy(), norm.cdf).pvalue > 1e-6
    assert (torch.corrcoef(x.T) - torch.eye(8)).abs().max() < 5 / 20_000**0.5


def test_modes_are_pairs_of_wells():
    dataset = densities.option("many_well", dim=4)
    right = integral(lambda x: math.exp(-energy(x)), low=0.0) / Z
    expected = [(1 - right) ** 2, right * (1 - right), right * (1 - right), right**2]
    assert dataset.mode_weights.tolist() == pytest.approx(expected)
    x = torch.tensor([[-1.7, 3.0, -1.7, 3.0], [1.7, 0.0, -1.7, 0.0], [-1.7, 0.0, 1.7, 0.0], [1.7, 0.0, 1.7, 0.0]])
    assert dataset.mode(x).tolist() == [0, 1, 2, 3]
    densities.check_modes(dataset)
    assert densities.option("many_well", dim=12).n_modes == 64
    assert densities.option("many_well", dim=14).mode_weights is None


def test_gradient():
    densities.check_gradient(densities.option("many_well", dim=2), [[0.1, -0.2], [1.7, 0.9], [-3.0, 2.0]])


def test_an_odd_number_of_coordinates_is_an_error():
    with pytest.raises(InputError, match=r"dataset\.dim: 3 is odd"):
        densities.option("many_well", dim=3)
    densities.check_refused("many_well", dim=0)

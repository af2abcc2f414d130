"""Mixtures of Gaussians with full covariances, compared with torch. Statistical checks are seeded."""

import math

import densities
import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from ebm_cli.core.rng import Rng
from ebm_cli.errors import InputError

PLANE = {"dim": 2, "n_components": 3, "weights": [1.0, 5.0, 2.0], "separation": 9.0, "condition": 6.0, "std": 0.7, "structure_seed": 1}


def by_torch(dataset):
    weight, centre, factor = dataset.components()
    return MixtureSameFamily(Categorical(weight), MultivariateNormal(centre, factor @ factor.mT))


@pytest.mark.parametrize("changes", [PLANE, {"dim": 1, "separation": 20.0}, {"dim": 40, "weights": [0.1, 2.0, 1.0, 5.0], "std": 1.7}])
def test_log_prob_agrees_with_torch(changes):
    """This includes points so far out that every term of the sum underflows."""
    dataset = densities.option("full_mixture", **changes)
    x = torch.cat([dataset.draw(50, Rng(0)), 100 * Rng(2).normal("x", 5, dataset.dim)]).double()
    torch.testing.assert_close(dataset.log_prob(x), by_torch(dataset).log_prob(x), rtol=1e-10, atol=1e-10)


def test_mass_box_draws_and_modes_in_the_plane():
    dataset = densities.option("full_mixture", **PLANE)
    expected = by_torch(dataset)
    densities.check_box(dataset)
    densities.check_draws(dataset)
    densities.check_streams(dataset)
    densities.check_modes(dataset)
    _, p = densities.cells(dataset, 600)
    assert abs(p.sum() - 1) < 1e-7
    assert dataset.length_scale == pytest.approx(torch.linalg.eigvalsh(expected.component_distribution.covariance_matrix).min() ** 0.5)


@pytest.mark.parametrize("dim", [10, 64])
def test_draws_have_the_moments_of_the_mixture(dim):
    """The mean and second moments of 20,000 draws within 5 standard errors, which are measured (one false alarm in 2e6 each; the largest
    of 2,080 second moments: one in 900, so 6 are used, one in 2e5)."""
    dataset = densities.option("full_mixture", dim=dim, weights=[4.0, 1.0, 2.0, 1.0])
    x = dataset.draw(20_000, Rng(0)).double()
    weight, centre, factor = dataset.components()
    weight = weight / weight.sum()
    second = torch.einsum("k,kij->ij", weight, factor @ factor.mT + centre.unsqueeze(-1) * centre.unsqueeze(-2))
    products = torch.einsum("ni,nj->nij", x, x)
    assert ((x.mean(0) - weight @ centre).abs() < 5 * x.std(0) / 20_000**0.5).all()
    assert ((products.mean(0) - second).abs() < 6 * products.std(0) / 20_000**0.5).all()


@pytest.mark.parametrize("dim", [10, 64, 784])
def test_the_entropy_of_one_component_is_that_of_a_gaussian(dim):
    """d/2 log 2 pi e + d log std, because the determinant of the covariance is std^(2d)."""
    dataset = densities.option("full_mixture", dim=dim, n_components=1, std=1.3, condition=50.0)
    densities.check_mean_log_prob(dataset, dim * (0.5 * math.log(2 * math.pi * math.e) + math.log(1.3)), n_draws=4000)
    assert dataset.mode_weights.tolist() == [1.0]


def test_separation_is_the_smallest_distance():
    for dim in (1, 10, 64):
        dataset = densities.option("full_mixture", dim=dim, separation=9.0, n_components=6)
        assert torch.pdist(dataset.components()[1]).min() == pytest.approx(9.0)


def test_components_that_overlap_on_the_line_through_their_centres_are_not_modes():
    """With isotropic components, modes need a distance of six standard deviations."""
    isotropic = {"dim": 5, "n_components": 2, "condition": 1.0, "std": 0.5}
    assert densities.option("full_mixture", **isotropic, separation=3.01).mode_weights is not None
    assert densities.option("full_mixture", **isotropic, separation=2.99).mode_weights is None
    assert densities.option("full_mixture", **isotropic, separation=0.0).mode_weights is None
    for seed in range(20):
        dataset = densities.option("full_mixture", dim=3, n_components=2, condition=30.0, separation=6.0, structure_seed=seed)
        _, centre, factor = dataset.components()
        line = (centre[1] - centre[0]) / 6.0
        widths = (line @ factor).norm(dim=-1).sum()
        assert (dataset.mode_weights is not None) == (widths <= 2.0)


def test_gradient():
    densities.check_gradient(densities.option("full_mixture", **PLANE), [[0.1, -0.2], [1.7, 0.9], [-3.0, 2.0], [5.0, 5.0]])


def test_invalid_values_are_errors():
    with pytest.raises(InputError, match=r"dataset\.weights: 2 values for 4 components"):
        densities.option("full_mixture", weights=[1.0, 2.0])
    with pytest.raises(InputError, match=r"dataset\.std"):
        densities.option("full_mixture", separation=1e6)
    densities.check_refused(
        "full_mixture", dim=0, n_components=0, condition=0.5, std=0.0, separation=-1.0, weights=[1.0, 0.0], structure_seed=-1
    )

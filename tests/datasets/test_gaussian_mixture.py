"""Mixtures of Gaussians: the options of conf/dataset, and a custom one with unequal weights. Statistical checks are seeded."""

import math

import densities
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from ebm_cli.core.rng import Rng
from ebm_cli.errors import InputError

CASES = [("eight_gaussians", 2.8319), ("twentyfive_gaussians", 2.1450)]  # option, entropy in nats
SKEWED = {"centres": [[-2.0, 1.0], [1.0, 0.5], [0.5, -3.0]], "weights": [1.0, 5.0, 2.0], "std": 0.3, "scale": 1.7}


@pytest.mark.parametrize(("name", "entropy"), CASES)
def test_mass_entropy_and_box(name, entropy):
    dataset = densities.option(name)
    densities.check_mass_and_entropy(dataset, entropy)
    densities.check_mean_log_prob(dataset, entropy)
    densities.check_box(dataset)


@pytest.mark.parametrize(("name", "changes"), [("eight_gaussians", {}), ("twentyfive_gaussians", {}), ("gaussian_mixture", SKEWED)])
def test_draws(name, changes):
    dataset = densities.option(name, **changes)
    densities.check_draws(dataset)
    densities.check_streams(dataset)
    densities.check_modes(dataset)


def test_centres_and_widths_are_the_published_ones():
    eight, many = densities.option("eight_gaussians"), densities.option("twentyfive_gaussians")
    angles = torch.arange(8, dtype=torch.double) * math.pi / 4
    on_circle = torch.stack([angles.cos(), angles.sin()], -1) * 4 / 1.414
    assert torch.cdist(eight._centre, on_circle).amin(0).max() < 1e-12
    ticks = torch.tensor([-4.0, -2.0, 0.0, 2.0, 4.0], dtype=torch.double) / 1.414
    torch.testing.assert_close(many._centre, torch.cartesian_prod(ticks, ticks), atol=1e-12, rtol=0)
    assert eight.length_scale == pytest.approx(0.5 / 1.414, abs=1e-15)
    assert many.length_scale == pytest.approx(0.2 / 1.414, abs=1e-15)


@pytest.mark.parametrize("dim", [1, 3, 40])
def test_log_prob_agrees_with_torch_in_any_dimension(dim):
    """This includes points so far out that every term of the sum underflows."""
    centres = Rng(0).normal("centres", 4, dim).tolist()
    dataset = densities.option("gaussian_mixture", centres=centres, weights=[0.2, 3.0, 1.0, 0.1], std=0.7, scale=1.3)
    mean = 1.3 * torch.tensor(centres, dtype=torch.double)
    weight = torch.tensor([0.2, 3.0, 1.0, 0.1], dtype=torch.double)
    expected = MixtureSameFamily(Categorical(weight), Independent(Normal(mean, torch.full_like(mean, 0.7 * 1.3)), 1))
    x = torch.cat([Rng(1).normal("x", 20, dim).double(), 100 * Rng(2).normal("x", 5, dim).double()])
    torch.testing.assert_close(dataset.log_prob(x), expected.log_prob(x), rtol=1e-12, atol=1e-12)
    assert dataset.draw(7, Rng((0, 1))).shape == (2, 7, dim)


WIDTHS = SKEWED | {"std": [0.2, 0.35, 0.5]}


def test_components_may_have_different_widths():
    """The density, draws, modes and box use them; the length scale is the smallest width."""
    dataset = densities.option("gaussian_mixture", **WIDTHS)
    weight, mean = torch.tensor(WIDTHS["weights"], dtype=torch.double), 1.7 * torch.tensor(WIDTHS["centres"], dtype=torch.double)
    std = 1.7 * torch.tensor(WIDTHS["std"], dtype=torch.double)
    expected = MixtureSameFamily(Categorical(weight), Independent(Normal(mean, std.unsqueeze(-1).expand(3, 2)), 1))
    x = torch.cat([dataset.draw(50, Rng(0)).double(), 100 * Rng(2).normal("x", 5, 2).double()])
    torch.testing.assert_close(dataset.log_prob(x), expected.log_prob(x), rtol=1e-12, atol=1e-12)
    assert dataset.length_scale == pytest.approx(0.34)
    densities.check_box(dataset)
    densities.check_draws(dataset)
    densities.check_streams(dataset)
    densities.check_modes(dataset)
    common = densities.option("gaussian_mixture", **SKEWED)
    alike = densities.option("gaussian_mixture", **SKEWED | {"std": [0.3] * 3})
    torch.testing.assert_close(alike.log_prob(x), common.log_prob(x))
    torch.testing.assert_close(alike.draw(50, Rng(0)), common.draw(50, Rng(0)))


def test_gradient():
    densities.check_gradient(densities.option("gaussian_mixture", **SKEWED), [[0.1, -0.2], [1.7, 0.9], [-3.0, 2.0], [5.0, 5.0]])


def test_components_that_are_close_together_are_not_modes():
    assert densities.option("gaussian_mixture", centres=[[0.0], [5.9]], weights=None, std=0.5, scale=2.0).mode_weights is not None
    assert densities.option("gaussian_mixture", centres=[[0.0], [2.9]], weights=None, std=0.5, scale=2.0).mode_weights is None
    single = densities.option("gaussian_mixture", centres=[[0.0, 1.0]], weights=None)
    assert single.mode_weights.tolist() == [1.0]


def test_inconsistent_numbers_of_values_are_errors():
    with pytest.raises(InputError, match=r"dataset\.centres"):
        densities.option("gaussian_mixture", centres=[[0.0, 1.0], [2.0]])
    for name in ("weights", "std"):
        with pytest.raises(InputError, match=rf"dataset\.{name}: 2 values for 3 centres"):
            densities.option("gaussian_mixture", **{name: [1.0, 2.0]})

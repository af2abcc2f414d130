"""The checkerboard: constant on the dark squares, zero elsewhere. Statistical checks are seeded."""

import math

import densities
import pytest
import torch

from ebm_cli.core.rng import Rng


@pytest.mark.parametrize(("side", "entropy"), [(2.0, 3.4657), (0.7, math.log(8 * 0.49))])
def test_mass_entropy_and_box(side, entropy):
    dataset = densities.option("checkerboard", side=side)
    densities.check_mass_and_entropy(dataset, entropy, n=40)
    densities.check_box(dataset, n=36)
    assert dataset.jumps == [pytest.approx([-2 * side, -side, 0, side, 2 * side])] * 2


def test_density_by_hand():
    dataset = densities.option("checkerboard")
    dark = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [3.0, 3.9], [-0.1, 2.1 - 4.0], [0.0, 0.0], [-4.0, -4.0], [-3.0, 1.0]])
    light = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, 3.0], [4.0, 4.0], [5.0, 1.0], [1.0, -5.0], [-5.0, -5.0]])
    assert torch.equal(dataset.log_prob(dark), torch.full((7,), -math.log(32)).double())
    assert torch.equal(dataset.log_prob(light), torch.full((7,), -math.inf).double())


@pytest.mark.parametrize("side", [2.0, 0.7])
def test_draws(side):
    """The draws are uniform over the dark half of 24 x 24 cells; the light half has none."""
    dataset = densities.option("checkerboard", side=side)
    assert dataset.log_prob(dataset.draw(100_000, Rng(1))).isfinite().all()
    densities.check_draws(dataset, n=48)
    densities.check_streams(dataset)


def test_gradient_is_zero():
    x = torch.tensor([[1.0, 1.0], [-0.5, -1.5], [1.0, -1.0]], requires_grad=True)
    assert torch.equal(torch.autograd.grad(densities.option("checkerboard").log_prob(x).sum(), x)[0], torch.zeros(3, 2))


def test_modes_are_the_dark_squares():
    dataset = densities.option("checkerboard", side=0.7)
    densities.check_modes(dataset)
    x = dataset.draw(5000, Rng(0))
    corner = (x / 0.7).floor()
    for k in range(8):
        assert len(corner[dataset.mode(x) == k].unique(dim=0)) == 1

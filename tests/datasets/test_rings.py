"""Circles and rings: the Bessel form, compared with the integral along the circles. Statistical checks are seeded."""

import densities
import numpy as np
import pytest
import torch
from scipy.integrate import quad

from ebm_cli.core.rng import Rng

CASES = [("circles", 3.2681), ("rings", 2.6232)]  # option, entropy in nats


@pytest.mark.parametrize(("name", "entropy"), CASES)
def test_mass_entropy_and_box(name, entropy):
    dataset = densities.option(name)
    densities.check_mass_and_entropy(dataset, entropy)
    densities.check_mean_log_prob(dataset, entropy)
    densities.check_box(dataset)
    assert dataset.length_scale == dataset.noise


@pytest.mark.parametrize("changes", [{}, {"noise": 0.6, "radii": [0.4, 2.5]}])
@pytest.mark.parametrize("name", ["circles", "rings"])
def test_draws(name, changes):
    dataset = densities.option(name, **changes)
    densities.check_draws(dataset)
    densities.check_streams(dataset)


def test_log_prob_is_the_gaussian_integrated_along_the_circles():
    dataset = densities.option("circles", noise=0.5, radii=[3.0, 1.0, 0.3])
    for x in ([0.0, 0.0], [0.2, -0.1], [1.0, 2.9], [-4.0, 1.0]):

        def along(angle, radius, x=x):
            squared = (x[0] - radius * np.cos(angle)) ** 2 + (x[1] - radius * np.sin(angle)) ** 2
            return np.exp(-squared / 0.5) / (2 * np.pi * 0.25)

        p = np.mean([quad(along, -np.pi, np.pi, args=(radius,), epsabs=1e-14)[0] / (2 * np.pi) for radius in (3.0, 1.0, 0.3)])
        assert dataset.log_prob(torch.tensor(x)).item() == pytest.approx(np.log(p), abs=1e-6)


def test_gradient():
    dataset = densities.option("rings")
    densities.check_gradient(dataset, [[0.1, -0.2], [0.7, 0.2], [-2.0, 2.0], [3.0, 3.0]])
    centre = torch.zeros(1, 2, dtype=torch.double, requires_grad=True)
    assert torch.equal(torch.autograd.grad(dataset.log_prob(centre).sum(), centre)[0], torch.zeros(1, 2, dtype=torch.double))


def test_modes_are_the_circles():
    dataset = densities.option("rings")
    densities.check_modes(dataset)
    angle = Rng(0).uniform("angle", 4, 50) * 6.3
    x = torch.stack([angle.cos(), angle.sin()], -1) * torch.tensor(dataset.radii).view(4, 1, 1)
    assert torch.equal(dataset.mode(x), torch.arange(4).unsqueeze(-1).expand(4, 50))

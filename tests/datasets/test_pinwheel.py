"""The pinwheel: all roots are found by comparison with a scan; the density integrates to one. Statistical checks are seeded."""

import math

import densities
import numpy as np
import pytest
import torch

from ebm_cli.core.rng import Rng


def test_mass_entropy_and_box():
    dataset = densities.option("pinwheel")
    densities.check_mass_and_entropy(dataset, 2.3178, n=240, mass=2e-6)
    densities.check_mean_log_prob(dataset, 2.3178, n_draws=20_000)
    densities.check_box(dataset, n=150)


def test_draws():
    densities.check_draws(densities.option("pinwheel"))
    densities.check_streams(densities.option("pinwheel", n_arms=3, radial_std=0.2, tangential_std=0.3))


def test_draws_of_three_wide_arms():
    """With wide arms, much of the mass is where the roots of several arms, or of the fold, contribute."""
    densities.check_draws(densities.option("pinwheel", n_arms=3, radial_std=0.2, tangential_std=0.3), n=240)


def test_construction():
    """Rotated back, a draw is (a, b), with mean (1, 0) and the two standard deviations (5 standard errors)."""
    x = densities.option("pinwheel", n_arms=1, radial_std=0.3, tangential_std=0.02).draw(10_000, Rng(0)).double()
    radius, angle = x.norm(dim=-1) / 2, torch.atan2(x[:, 1], x[:, 0])
    assert abs(radius.mean() - 1) < 5 * 0.3 / 100 + 1e-3
    assert abs(radius.std() - 0.3) < 5 * 0.3 / (2 * 1e4) ** 0.5 + 1e-3
    turned = angle + 0.25 * radius.exp()  # x rotates clockwise with a
    b = radius * torch.atan2(turned.sin(), turned.cos())
    assert abs(b.mean()) < 5 * 0.02 / 100 + 1e-3
    assert abs(b.std() - 0.02) < 2e-3


def brute(x, n_arms=5, radial=0.3, tangential=0.1):
    """The density from the roots of a = Re(w e^{i f(a)}), w = (x_1 + i x_2) / 2, for each arm: sign changes on a fine grid, then
    bisection."""
    w, p = (x[0] + 1j * x[1]) / 2, 0.0
    grid = np.linspace(-abs(w) - 1e-9, abs(w) + 1e-9, 200_000)
    for k in range(n_arms):

        def turned(a, k=k):
            return w * np.exp(1j * (2 * np.pi * k / n_arms + 0.25 * np.exp(a)))

        sign = np.sign(grid - turned(grid).real)
        (at,) = np.nonzero(sign[:-1] != sign[1:])
        low, high, side = grid[at], grid[at + 1], sign[at]
        for _ in range(60):
            middle = (low + high) / 2
            same = np.sign(middle - turned(middle).real) == side
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        b = turned(low).imag
        normal = np.exp(-0.5 * ((low - 1) / radial) ** 2 - 0.5 * (b / tangential) ** 2) / (2 * np.pi * radial * tangential)
        p += (normal / (4 * n_arms * np.abs(1 + np.exp(low) * b / 4))).sum()
    return np.log(p)


@pytest.mark.parametrize("radius", [0.05, 0.5, 2.0, 3.5, 5.0, 9.0])
def test_log_prob_sums_over_all_roots(radius):
    """This is tested in the arms, in the gaps between them, and far out, where the shear folds the plane many times."""
    angle = Rng(0).uniform("angle", 12).double().numpy() * 2 * np.pi
    x = radius * np.stack([np.cos(angle), np.sin(angle)], -1)
    exact = [brute(point) for point in x]
    np.testing.assert_allclose(densities.option("pinwheel").log_prob(torch.from_numpy(x)).numpy(), exact, atol=1e-8)
    wide = densities.option("pinwheel", n_arms=3, radial_std=0.4, tangential_std=0.5)
    if radius < 9:
        np.testing.assert_allclose(wide.log_prob(torch.from_numpy(x)).numpy(), [brute(point, 3, 0.4, 0.5) for point in x], atol=1e-7)


def test_gradient():
    densities.check_gradient(densities.option("pinwheel"), [[0.0, 0.0], [0.1, -0.1], [-1.5, 1.0], [-2.0, 2.0], [3.0, 4.0]])


def test_gradient_is_finite_at_every_draw():
    """If an arm has no root, Newton's method diverges, which would make the gradient NaN at one draw in 1,500."""
    dataset = densities.option("pinwheel")
    x = dataset.draw(20_000, Rng(0)).double().requires_grad_()
    assert torch.autograd.grad(dataset.log_prob(x).sum(), x)[0].isfinite().all()


def test_modes_are_the_arms():
    dataset = densities.option("pinwheel")
    densities.check_modes(dataset)
    a = torch.linspace(0.3, 1.8, 30, dtype=torch.double)
    for k in range(5):
        f = 2 * math.pi * k / 5 + 0.25 * a.exp()
        mode = dataset.mode(2 * torch.stack([a * f.cos(), -a * f.sin()], -1))
        assert (mode == k).all()

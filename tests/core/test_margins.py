"""The distributions of one coordinate, compared with scipy."""

import numpy as np
import pytest
import torch
from scipy import stats

from ebm_cli.core.margins import from_normal, log_density, to_normal

SCIPY = {
    "normal": stats.norm(),
    "laplace": stats.laplace(),
    "logistic": stats.logistic(),
    "student_t": stats.t(4),
    "lognormal": stats.lognorm(0.5),
}


@pytest.mark.parametrize("margin", SCIPY)
def test_density_and_maps_agree_with_scipy(margin):
    z = np.linspace(-7.5, 7.5, 101)
    tail = stats.norm.sf(np.abs(z))
    x = np.where(z < 0, SCIPY[margin].ppf(tail), SCIPY[margin].isf(tail))
    np.testing.assert_allclose(from_normal(margin, torch.from_numpy(z)).numpy(), x, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(to_normal(margin, torch.from_numpy(x)).numpy(), z, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(log_density(margin, torch.from_numpy(x)).numpy(), SCIPY[margin].logpdf(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("margin", SCIPY)
def test_the_maps_invert_each_other_and_have_the_derivative_of_the_density(margin):
    """dz/dx = f(x) / phi(z), also where the probability of the tail is below 1e-300."""
    z = torch.tensor([-40.0, -8.0, -1.0, -1e-3, 1e-9, 0.5, 3.0, 20.0, 38.0], dtype=torch.double)
    x = from_normal(margin, z.clamp(-12, 12) if margin == "student_t" else z).requires_grad_()  # t is 1e15 at z = 12
    back = to_normal(margin, x)
    torch.testing.assert_close(back.detach(), z.clamp(-12, 12) if margin == "student_t" else z, rtol=1e-9, atol=1e-12)
    (slope,) = torch.autograd.grad(back.sum(), x)
    log_ratio = log_density(margin, x.detach()) + 0.5 * (back.detach().square() + np.log(2 * np.pi))
    torch.testing.assert_close(slope.log(), log_ratio, rtol=1e-9, atol=1e-9)


def test_far_values_have_finite_normal_scores():
    for margin in SCIPY:
        assert to_normal(margin, torch.tensor([0.0, 1e5, 1e30], dtype=torch.double)).isfinite().all()
    assert log_density("lognormal", torch.tensor([-1.0, 0.0], dtype=torch.double)).tolist() == [-np.inf, -np.inf]

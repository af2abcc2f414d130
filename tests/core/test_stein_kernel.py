"""The Stein operator, compared with autograd, and its mean by quadrature."""

import pytest
import torch
from targets import CoupledScore, log_gamma_nodes, normal_nodes

from ebm_cli.core import stein_kernel
from ebm_cli.core.rng import Rng

pytestmark = pytest.mark.usefixtures("double")

KERNELS = {
    stein_kernel.gaussian: lambda square, h: (-square / (2 * h**2)).exp(),
    stein_kernel.inverse_multiquadric: lambda square, h: (1 + square / h**2) ** -0.5,
}


@pytest.mark.parametrize("h", [0.4, 1.0, 2.3])
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_pair_by_autograd_of_the_kernel(kernel, h):
    """s(x)'s(y) k + s(x)'grad_y k + s(y)'grad_x k + tr grad_x grad_y k, for a score that is not symmetric."""
    x = Rng(1).normal("x", 5, 2)
    score = CoupledScore()(x).detach()
    found = stein_kernel.operator(x, score, kernel, h)
    torch.testing.assert_close(stein_kernel.operator(x.expand(3, 5, 2), score.expand(3, 5, 2), kernel, h), found.expand(3, 5, 5))

    def k(both):
        return KERNELS[kernel]((both[:2] - both[2:]).square().sum(), h)

    for i in range(5):
        for j in range(5):
            both = torch.cat([x[i], x[j]])
            first, second = torch.autograd.functional.jacobian(k, both), torch.autograd.functional.hessian(k, both)
            expected = k(both) * score[i] @ score[j] + score[i] @ first[2:] + score[j] @ first[:2] + second[:2, 2:].trace()
            torch.testing.assert_close(found[i, j], expected)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_mean_is_zero_for_the_score_of_the_distribution_and_positive_otherwise(kernel):
    """The distributions are N(0, 1), and that of -log of a Gamma(2) variable, which is skewed and has s = exp(-x) - 2. The integrals are
    computed by quadrature."""
    z, weight = normal_nodes(60)
    x, mass = log_gamma_nodes(2, 60)
    for points, w, score in ((z.unsqueeze(-1), weight, lambda at, b: b - at), (x, mass, lambda at, b: (-at).exp() - 2 + b)):
        means = [w @ stein_kernel.operator(points, score(points, b), kernel, 1.5) @ w for b in (0.0, 0.3, -0.3)]
        assert abs(means[0]) < 1e-5
        assert min(means[1:]) > 1e-3

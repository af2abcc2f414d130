"""Kernel Stein discrepancy against loops and closed forms. Statistical checks are seeded, at 5 standard errors (false alarm 6e-7)."""

import pytest
import torch
from targets import Coupled, CoupledScore, LogGamma, Quadratic, assert_mean
from torch import nn
from torch.distributions import Gamma

from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.errors import InputError
from ebm_cli.objectives.ksd import KernelSteinDiscrepancy

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("h", [0.4, 1.0, 2.3])
@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_loss_is_the_u_statistic_by_explicit_loops(shape, h):
    """Each term is the Stein operator on both arguments of the kernel: s_i's_j k + s_i'd_j k + s_j'd_i k + tr d_i d_j k, by autograd."""
    x, score = Rng(1).normal("x", 6, *shape), CoupledScore()
    points, s = x.flatten(1), score(x).flatten(1).detach()
    loss, _ = KernelSteinDiscrepancy(h).loss(Model(Coupled(), event_ndim=len(shape), stacked=False), {"a": torch.tensor(0.7)}, x, {})

    def kernel(both):
        return (-(both[:2] - both[2:]).square().sum() / (2 * h**2)).exp()

    for i in range(6):
        total = 0.0
        for j in set(range(6)) - {i}:
            both = torch.cat([points[i], points[j]])
            first, second = torch.autograd.functional.jacobian(kernel, both), torch.autograd.functional.hessian(kernel, both)
            total += kernel(both) * s[i] @ s[j] + s[i] @ first[2:] + s[j] @ first[:2] + second[:2, 2:].trace()
        torch.testing.assert_close(loss[i], total / 5)


@pytest.mark.parametrize("h", [0.7, 1.8])
def test_expectation_and_its_gradient_on_a_gaussian(h):
    """(1 - a)^2 d/2 (1 - 1/c) c^{-d/2}, c = 1 + 2 / h^2: zero only at the truth. 400 batches run as a stack."""
    m, n, d = 400, 60, 2
    model, x, c = Model(Quadratic(), event_ndim=1, stacked=True), Rng(tuple(range(m))).normal("x", n, d), 1 + 2 / h**2
    scale = d / 2 * (1 - 1 / c) * c ** (-d / 2)
    for a in (0.4, 1.0, 1.7):
        leaf = torch.full((m,), a, requires_grad=True)
        values = KernelSteinDiscrepancy(h).loss(model, {"a": leaf}, x, {})[0].mean(-1)
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
        assert_mean(values, scale * (1 - a) ** 2)
        assert_mean(gradient, -2 * scale * (1 - a))
        if a != 1:
            assert values.mean() > 5 * values.std() / m**0.5
            assert gradient.mean() * (a - 1) > 0


def test_zero_at_the_truth_of_a_skewed_distribution_and_positive_elsewhere():
    m, n, model, ksd = 300, 60, Model(LogGamma(), event_ndim=1, stacked=True), KernelSteinDiscrepancy(0.8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = -Gamma(2.0, 1.0).sample((m, n, 1)).double().log()
    values = [
        ksd.loss(model, {"k": torch.full((m,), k), "b": torch.full((m,), b)}, x, {})[0].mean(-1)
        for k, b in ((2.0, 0.0), (1.3, 0.0), (2.0, 0.4))
    ]
    assert_mean(values[0], 0.0)
    assert all(value.mean() > 5 * value.std() / m**0.5 for value in values[1:])


def test_a_stack_gives_every_model_its_own_loss():
    a, x, ksd = torch.tensor([0.5, 2.0]), Rng((3, 4)).normal("x", 6, 2), KernelSteinDiscrepancy(0.6)
    stacked = Model(Coupled(), event_ndim=1, stacked=True)
    together, _ = ksd.loss(stacked, {"a": a}, x, {})
    for m in range(2):
        torch.testing.assert_close(together[m], ksd.loss(stacked.alone(), {"a": a[m]}, x[m], {})[0])


def test_single_precision_is_accurate_far_from_the_origin():
    """The loss depends only on differences of points: on N(c, I) it does not depend on c."""
    x = Rng(1).normal("x", 64, 2)
    loss, _ = KernelSteinDiscrepancy(0.3).loss(Model(Moved(), event_ndim=1, stacked=False), {"c": torch.tensor(0.0)}, x, {})
    for c in (100.0, 4096.0):
        far, _ = KernelSteinDiscrepancy(0.3).loss(
            Model(Moved(), event_ndim=1, stacked=False), {"c": torch.tensor(c).float()}, (x + c).float(), {}
        )
        assert (far.double() - loss).abs().max() < 0.03 * loss.abs().max()


class Moved(nn.Module):
    """E(x) = |x - c|^2 / 2."""

    def __init__(self):
        super().__init__()
        self.c = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return 0.5 * (x - self.c).square().sum(-1)


def test_a_batch_of_one_point_is_refused():
    with pytest.raises(InputError, match="batch_size"):
        KernelSteinDiscrepancy(0.3).loss(Model(Moved(), event_ndim=1, stacked=False), {"c": torch.tensor(0.0)}, torch.zeros(1, 2), {})

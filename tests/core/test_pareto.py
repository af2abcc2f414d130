"""The shape of the tail of importance weights, on draws from generalized Pareto distributions and from Gaussians. Seeded."""

import math

import pytest
import torch

from ebm_cli.core.pareto import shape, tail_shape


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("k", [-0.3, 0.0, 0.3, 0.7, 1.2])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_the_shape_of_exact_draws(k, scale):
    """The estimate is as accurate as maximum likelihood, whose standard error is (1 + k) / sqrt n: within five of them (one false alarm in
    1e6), around k moved by the prior, (n k + 5) / (n + 10)."""
    n = 20_000
    u = torch.rand(n, dtype=torch.double, generator=generator())
    x = -u.log() if k == 0 else (u**-k - 1) / k
    found = shape((scale * x).sort().values)
    assert abs(found - (n * k + 5) / (n + 10)) < 5 * (1 + k) / math.sqrt(n)


@pytest.mark.parametrize("variance", [0.2, 0.5, 0.8])
def test_the_tail_of_gaussian_weights(variance):
    """w = N(0, 1) / N(0, variance) is unbounded: P(w > t) ~ t^(-1 / (1 - variance)) up to a logarithm, k = 1 - variance."""
    x = variance**0.5 * torch.randn(400_000, dtype=torch.double, generator=generator())
    assert tail_shape(x**2 / 2 * (1 / variance - 1)) == pytest.approx(1 - variance, abs=0.12)


def test_bounded_weights_have_a_light_tail():
    """A wider Gaussian bounds the weights: the excesses below a maximum have k < 0."""
    x = 2 * torch.randn(10_000, dtype=torch.double, generator=generator())
    assert tail_shape(-(x**2) / 2 * (1 - 1 / 4)) < 0


def test_the_shape_does_not_depend_on_the_scale_of_the_weights():
    x = torch.randn(10_000, dtype=torch.double, generator=generator())
    assert tail_shape(x + 800) == pytest.approx(tail_shape(x), rel=1e-9)


def test_equal_weights_have_no_tail_and_few_have_no_estimate():
    assert tail_shape(torch.zeros(1000)) == -math.inf
    assert tail_shape(torch.arange(100.0)) == math.inf

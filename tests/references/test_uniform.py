"""The uniform distribution on the box of the data against scipy and by hand. Statistical checks are seeded (false-alarm rate 1e-6 each)."""

import math

import numpy as np
import pytest
import torch
from reference_checks import check_no_score, check_stack, check_streams, check_tilt
from scipy.stats import kstest, uniform

from ebm_cli.core.rng import Rng
from ebm_cli.references.uniform import Uniform

pytestmark = pytest.mark.usefixtures("double")

Q = Uniform(0.1)
X = torch.tensor([[0.0, -3.0], [2.0, 1.0], [1.0, 5.0]], dtype=torch.double)
LOW, WIDTH = np.array([-0.2, -3.8]), np.array([2.4, 9.6])  # of the box with a margin of a tenth of the range


def test_log_prob_is_that_of_scipy():
    """Points inside, just inside and just outside each side of the box, and far away."""
    edge = torch.tensor([[-0.19, 0.0], [2.19, 0.0], [1.0, -3.79], [1.0, 5.79]])
    outside = torch.tensor([[-0.21, 0.0], [2.21, 0.0], [1.0, -3.81], [1.0, 5.81], [50.0, 50.0]])
    x = torch.cat([X, edge, outside])
    log_prob = Q.log_prob(Q.fit(X, X.shape[-1:], Rng(0)), x)
    torch.testing.assert_close(log_prob, torch.from_numpy(uniform(LOW, WIDTH).logpdf(x.numpy()).sum(-1)))
    assert log_prob.isfinite().tolist() == [True] * 7 + [False] * 5


def test_it_integrates_to_one():
    """A midpoint sum over a box twice as wide, with cells aligned to the edges of the support."""
    axes = [torch.from_numpy(low - width / 2 + 2 * width * (np.arange(80) + 0.5) / 80) for low, width in zip(LOW, WIDTH, strict=True)]
    density = Q.log_prob(Q.fit(X, X.shape[-1:], Rng(0)), torch.cartesian_prod(*axes)).exp()
    assert (density.sum() * np.prod(2 * WIDTH / 80)).item() == pytest.approx(1.0, abs=1e-12)


def test_draws_follow_the_distribution():
    params = Q.fit(X, X.shape[-1:], Rng(0))
    x = Q.draw(params, 20_000, Rng(1), "start")
    unit = ((x.numpy() - LOW) / WIDTH).T
    assert all(kstest(column, "uniform").pvalue > 1e-6 for column in unit)
    assert abs(np.corrcoef(unit)[0, 1]) < 5 * 20_000**-0.5
    torch.testing.assert_close(Q.log_prob(params, x), torch.full((20_000,), -math.log(2.4 * 9.6)))  # no draw is outside


@pytest.mark.parametrize("margin", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_rounding_does_not_put_data_or_draws_outside(margin, shift):
    """In single precision, also for boxes whose bounds are much larger than their width."""
    torch.set_default_dtype(torch.float)  # the fixture resets it
    x = Rng(2).normal("x", 1000, 50) * 0.3 + shift
    params = Uniform(margin).fit(x, x.shape[-1:], Rng(0))
    draws = Uniform(margin).draw(params, 20_000, Rng(1), "start")
    assert x.dtype == draws.dtype == torch.float
    assert Uniform(margin).log_prob(params, x).isfinite().all()
    assert Uniform(margin).log_prob(params, draws).isfinite().all()


def test_tilt():
    inside_and_outside = torch.tensor([[0.0, 0.0], [9.0, 0.0], [2.0, 5.0]])
    check_tilt(Q, X, inside_and_outside)
    check_tilt(Q, torch.stack([X, 2 * X - 1]), torch.stack([inside_and_outside, inside_and_outside]))


def test_it_has_no_score():
    """Its density is discontinuous, and the smoothed distribution is not uniform."""
    check_no_score(Q, X, X)
    assert Q.starts_at_zero
    assert Q.as_noise() is Q


def test_each_model_of_a_stack_equals_the_single_model():
    x = Rng(1).normal("x", 50, 2)
    check_stack(Q, torch.stack([x, 2 * x - 1]))


def test_streams():
    check_streams(Q, X)

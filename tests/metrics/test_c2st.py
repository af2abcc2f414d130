"""The classifier two-sample test, compared with the optimal accuracy. Draws are seeded; statistical bounds state their false-alarm rate."""

import math

import pytest
import torch
from contexts import Normal
from scipy.stats import binom, norm
from torch.nn.functional import binary_cross_entropy_with_logits

from ebm_cli.core.metric import MetricContext
from ebm_cli.core.rng import Rng
from ebm_cli.metrics.c2st import ClassifierTwoSampleTest, labels, logit

ROUND = Normal(None, (0.0, 0.0), ((1.0, 0.0), (0.0, 1.0)))


def measure(samples, dataset=ROUND, *, n_points=2000, n_steps=800, seed=0):
    metric = ClassifierTwoSampleTest(n_points, hidden=[64, 64], n_steps=n_steps, batch_size=128, lr=0.01)
    return metric(MetricContext(None, {}, dataset, Rng(seed), samples))


def draws(n, *, mean=(0.0, 0.0), std=1.0, seed=1):
    """Normal draws, (n, 1, 2)."""
    return (torch.tensor(mean) + std * Rng(seed).normal("samples", n, 2)).unsqueeze(1)


def test_equal_distributions_have_chance_accuracy_and_the_p_value_keeps_its_level():
    """60 sets of 300 points of each class give 18,000 hits or misses, and rejections at 10 %; 1e-6 on either side."""
    found = [measure(draws(300, seed=seed), n_points=300, n_steps=100, seed=seed) for seed in range(60)]
    hits = sum(round(300 * numbers["c2st_accuracy"]) for numbers in found)
    low, high = binom.ppf([1e-6, 1 - 1e-6], 18_000, 0.5)
    assert low <= hits <= high
    assert 0 < sum(numbers["c2st_p_value"] <= 0.1 for numbers in found) <= binom.ppf(1 - 1e-6, 60, 0.1)


@pytest.mark.parametrize(("delta", "scale"), [(0.8, 1.0), (1.5, 1.0), (3.0, 1.0), (1.5, 1e-4), (1.5, 1e4)])
def test_shifted_gaussians_have_the_optimal_accuracy(delta, scale):
    """The optimum is Phi(delta / 2). The accuracy is at most 4.5 standard errors of 2,000 points above it (one false alarm in 3e5), and
    at most 2 % below it."""
    best, dataset = norm.cdf(delta / 2), Normal(None, (0.0, 0.0), ((scale**2, 0.0), (0.0, scale**2)))
    error = (best * (1 - best) / 2000) ** 0.5
    samples = draws(2000, mean=(0.6 * delta * scale, -0.8 * delta * scale), std=scale)
    assert -4.5 * error - 0.02 < measure(samples, dataset)["c2st_accuracy"] - best < 4.5 * error


def test_a_wider_gaussian_needs_a_nonlinear_boundary():
    """For N(0, 1) and N(0, 9) the optimum is 1/2 + TV / 2; the densities are equal at x^2 = 9/4 log 3."""
    x = (9 / 4 * math.log(3)) ** 0.5
    best = 0.5 + 0.5 * ((2 * norm.cdf(x) - 1) - (2 * norm.cdf(x / 3) - 1))
    line = Normal(None, (0.0,), ((1.0,),))
    assert measure(3 * draws(2000)[..., :1], line)["c2st_accuracy"] == pytest.approx(best, abs=0.05)


def test_disjoint_distributions_are_distinguished_at_any_place_and_scale():
    far = Normal(None, (1e4, -1e4), ((1e-4, 0.0), (0.0, 1e2)))
    for samples, dataset in ((draws(500, mean=(9.0, 9.0)), ROUND), (torch.tensor([1e4 + 1, -1e4]) + 0.01 * draws(500), far)):
        found = measure(samples, dataset, n_points=500)
        assert found["c2st_accuracy"] > 0.99
        assert found["c2st_p_value"] < 1e-100


@pytest.mark.parametrize("far", [1e3, 1e6, 1e10, 3e38])
def test_a_few_distant_draws_do_not_hide_the_others(far):
    """Four of 2,000 samples are far away, some of them in the training half. The others are shifted by 1: the accuracy is Phi(1/2), within
    the bounds for shifted Gaussians."""
    samples = draws(2000, mean=(1.0, 0.0))
    samples[:2], samples[-2:] = far, -far
    best = norm.cdf(0.5)
    found = measure(samples)
    assert abs(found["c2st_accuracy"] - best) < 4.5 * (best * (1 - best) / 2000) ** 0.5 + 0.02
    assert found["c2st_p_value"] < 1e-20


def test_a_constant_coordinate_carries_no_information():
    """This holds if data and samples have the same value; with different values, the accuracy is 1."""
    flat = Normal(None, (0.0, 3.0), ((1.0, 0.0), (0.0, 1e-30)))
    samples = draws(600)
    samples[..., 1] = 3.0
    assert abs(measure(samples, flat, n_points=600)["c2st_accuracy"] - 0.5) < 5 * 0.5 / 600**0.5
    samples[..., 1] = 3.1
    assert measure(samples, flat, n_points=600)["c2st_accuracy"] > 0.99


def test_the_p_value_is_that_of_the_binomial():
    found = measure(draws(300, mean=(0.2, 0.0)), n_points=300)
    hits = round(300 * found["c2st_accuracy"])
    assert found["c2st_p_value"] == pytest.approx(binom.sf(hits - 1, 300, 0.5), rel=1e-9)


def test_classes_are_of_equal_size():
    """With 50 samples, the test set has 50 points; all chains and draws are used."""
    found = measure(draws(50, mean=(9.0, 9.0)).view(5, 10, 2))
    assert found == {"c2st_accuracy": 1.0, "c2st_p_value": pytest.approx(2**-50)}


def test_the_network_learns_the_log_odds():
    """For N(m, 1) and N(0, 1) they are m x - m^2 / 2. No other function has a smaller expected cross entropy on new points."""
    metric = ClassifierTwoSampleTest(100, hidden=[32], n_steps=1500, batch_size=256, lr=0.01)
    x, fresh = (torch.cat([1.5 + Rng(seed).normal("a", 4000, 1), Rng(seed).normal("b", 4000, 1)]) for seed in (0, 1))
    network = metric._train(x, Rng(0))
    assert torch.equal(labels(x), torch.arange(8000).lt(4000).float())
    losses = [binary_cross_entropy_with_logits(f, labels(fresh)) for f in (logit(network, fresh), 1.5 * fresh[:, 0] - 1.125)]
    assert abs(losses[0] - losses[1]) < 0.01


def test_it_is_a_function_of_the_seed_and_does_not_use_the_global_generator():
    samples, state = draws(200, mean=(0.5, 0.0)), torch.get_rng_state()
    first, again, other = (measure(samples, n_points=200, n_steps=50, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert torch.equal(torch.get_rng_state(), state)


def test_a_reason_replaces_a_missing_number():
    hurt = draws(100)
    few, hurt[3] = hurt[:3], math.nan
    assert "not finite" in measure(hurt, n_points=100)
    assert "3 points" in measure(few)

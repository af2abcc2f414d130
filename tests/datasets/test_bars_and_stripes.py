"""Bars and stripes by hand and by a chi-square test of draws (seeded, false-alarm rate 1e-6)."""

import math

import numpy as np
import pytest
import torch
from densities import check_refused, option
from scipy.stats import chisquare

from ebm_cli.core.rng import Rng
from ebm_cli.core.states import number, states


def test_the_patterns_and_their_probabilities():
    """Of 16 states of a 2 x 2 square, 6 are patterns: two of weight 1/4 and four of weight 1/8."""
    data = option("bars_and_stripes", size=2)
    p = data.log_prob(states(data.space)).exp()
    square = {(0, 0, 0, 0): 0.25, (1, 1, 1, 1): 0.25, (1, 1, 0, 0): 0.125, (0, 0, 1, 1): 0.125, (1, 0, 1, 0): 0.125, (0, 1, 0, 1): 0.125}
    for x, value in zip(states(data.space).flatten(1).int().tolist(), p.tolist(), strict=True):
        assert value == pytest.approx(square.get(tuple(x), 0.0), abs=1e-15)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_probabilities_sum_to_one_and_are_those_of_the_draws(noise):
    data, n = option("bars_and_stripes", size=3, noise=noise), 40_000
    p = data.log_prob(states(data.space)).exp().numpy()
    assert p.sum() == pytest.approx(1, abs=1e-12)
    counts = np.bincount(number(data.draw(n, Rng(0)), data.space), minlength=512)
    many = n * p >= 5
    assert counts[p == 0].sum() == 0
    observed, expected = [np.append(part[many], part[~many].sum()) for part in (counts, n * p)]
    observed, expected = observed[expected > 0], expected[expected > 0]
    assert chisquare(observed, expected).pvalue > 1e-6


def test_noise_flips_bits():
    """A pattern with one flipped bit, at size 2, where every state has at most distance 1 from a pattern of weight 1/8 or 1/4."""
    data = option("bars_and_stripes", size=2, noise=0.2)
    x = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    at = {0: 0.25, 1: 0.25, 2: 0.125}  # distances 1 (empty), 3 (full); rows and columns: 1, 3, 1, 3
    expected = at[0] * 0.2 * 0.8**3 + at[1] * 0.2**3 * 0.8 + 2 * at[2] * (0.2 * 0.8**3 + 0.2**3 * 0.8)
    assert data.log_prob(x).exp().item() == pytest.approx(expected)


def test_the_entropy():
    """14 patterns of each orientation at 2^-5 and two at 2^-4."""
    data = option("bars_and_stripes")
    p = data.log_prob(states(data.space)).exp()
    assert -torch.special.xlogy(p, p).sum().item() == pytest.approx(28 / 32 * math.log(32) + 2 / 16 * math.log(16))


def test_the_modes_are_the_patterns():
    data = option("bars_and_stripes", size=3)
    x = states(data.space)[data.log_prob(states(data.space)) > -torch.inf]
    assert sorted(data.mode(x).tolist()) == [*range(14)]
    torch.testing.assert_close(data.mode_weights[data.mode(x)], data.log_prob(x).exp())
    assert option("bars_and_stripes", noise=0.1).mode_weights is None


def test_a_stack_draws_with_its_own_seeds():
    data = option("bars_and_stripes")
    stack = data.draw(5, Rng((3, 4)))
    assert stack.shape == (2, 5, 1, 4, 4)
    assert torch.equal(stack[1], data.draw(5, Rng(4)))


def test_bad_values():
    check_refused("bars_and_stripes", size=1, noise=0.5)

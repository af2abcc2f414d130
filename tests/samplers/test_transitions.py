"""Truncated scores and diagnostics."""

import math

import pytest
import torch
from targets import Quadratic

from ebm_cli.core.model import Model
from ebm_cli.samplers.transitions import diverged, gradient_noise_ratio, truncated

pytestmark = pytest.mark.usefixtures("double")


def model_of(shape):
    return Model(Quadratic(), event_ndim=len(shape), stacked=False)


@pytest.mark.parametrize("m", [(), (2,)])
@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_long_scores_are_truncated_per_chain_and_short_scores_are_unchanged(m, shape):
    score = torch.zeros(*m, 3, 4)
    score[..., 0, :], score[..., 1, :], score[..., 2, 0] = 3.0, 0.5, -2.4  # norms 6, 1 and 2.4
    cut = truncated(model_of(shape), score.view(*m, 3, *shape), 2.4).view(*m, 3, 4)
    torch.testing.assert_close(cut[..., 0, :], 0.4 * score[..., 0, :])
    torch.testing.assert_close(cut[..., 1:, :], score[..., 1:, :])
    assert truncated(model_of(shape), score, None) is score


def test_the_truncated_score_and_its_gradient_are_finite_at_zero():
    score = torch.zeros(2, 3, requires_grad=True)
    cut = truncated(model_of((3,)), score, 0.7)
    (gradient,) = torch.autograd.grad(cut.sum(), score)
    assert torch.equal(cut, score)
    torch.testing.assert_close(gradient, torch.ones(2, 3))


@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_ratio_of_drift_to_noise(shape):
    """|eps s| / (sigma sqrt(d)) with a step and a noise for each model."""
    score = torch.tensor([[[3.0, 0.0, 0.0, 4.0]], [[0.0, 0.0, 0.0, 0.0]]]).view(2, 1, *shape)
    ratio = gradient_noise_ratio(model_of(shape), score, torch.tensor([0.2, 0.1]), torch.tensor([0.5, 0.3]))
    torch.testing.assert_close(ratio, torch.tensor([[0.2 * 5 / (0.5 * 2)], [0.0]]))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_chain_with_a_coordinate_that_is_not_finite_has_diverged(bad):
    x = torch.zeros(3, 2, 2)
    x[1, 0, 1] = bad
    assert diverged(model_of((2, 2)), x).tolist() == [False, True, False]

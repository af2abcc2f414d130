"""The gradient penalty, computed by hand."""

import pytest
import torch
from targets import Quadratic
from torch import nn

from ebm_cli.core.model import Model
from ebm_cli.regularizers.gradient_penalty import GradientPenalty

X = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 0.0]])


def test_value_and_gradient():
    """weight/2 a^2 |x|^2 and its derivative in a, which is finite where the gradient is zero."""
    model, a = Model(Quadratic(), event_ndim=1, stacked=False), torch.tensor(-2.0, requires_grad=True)
    penalty = GradientPenalty(0.3).penalty(model, {"a": a}, X, {})
    torch.testing.assert_close(penalty, 0.15 * 4 * torch.tensor([5.0, 9.0, 0.0]))
    (gradient,) = torch.autograd.grad(penalty.sum(), a)
    torch.testing.assert_close(gradient, torch.tensor(0.3 * -2.0 * 14))


@pytest.mark.parametrize("shape", [(3, 2), (3, 1, 2)])
def test_of_a_stack_and_over_all_axes_of_an_event(shape):
    model, x = Model(Quadratic(), event_ndim=len(shape) - 1, stacked=True), torch.stack([X, 2 * X]).reshape(2, *shape)
    penalty = GradientPenalty(2.0).penalty(model, {"a": torch.tensor([1.0, 3.0])}, x, {})
    torch.testing.assert_close(penalty, torch.tensor([1.0, 9.0])[:, None] * x.flatten(2).square().sum(-1))


class Swirl(nn.Module):
    """A score that is not the gradient of an energy."""

    outputs_score = True

    def forward(self, x):
        return torch.stack([x[:, 1], -2 * x[:, 0]], -1)


def test_of_a_network_that_outputs_the_score():
    penalty = GradientPenalty(2.0).penalty(Model(Swirl(), event_ndim=1, stacked=False), {}, X, {})
    torch.testing.assert_close(penalty, torch.tensor([8.0, 36.0, 0.0]))


class AtLevel(nn.Module):
    """E(x, sigma) = sigma |x|^2 / 2."""

    takes_noise_level = True

    def forward(self, x, noise_level):
        return 0.5 * noise_level * x.square().sum(-1)


def test_it_is_taken_at_the_noised_points_of_the_objective():
    model, level = Model(AtLevel(), event_ndim=1, stacked=False), torch.tensor([1.0, 3.0, 2.0])
    penalty = GradientPenalty(2.0).penalty(model, {}, 7 * X, {"noised": X, "noise_level": level})
    torch.testing.assert_close(penalty, level.square() * X.square().sum(-1))

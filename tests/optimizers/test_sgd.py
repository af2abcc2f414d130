"""Stochastic gradient descent with momentum against the unfused implementation of torch, and by hand."""

import pytest
import torch

from ebm_cli.optimizers.sgd import SGD


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("m", [(), (2,)])
def test_some_steps_against_the_reference(m, momentum, weight_decay):
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(*m, 5, generator=generator)
    reference = theta.clone()
    optimizer = SGD(0.1, "constant", 0, weight_decay, momentum)
    state = optimizer.init(theta)
    expected = torch.optim.SGD([reference], lr=0.1, momentum=momentum, weight_decay=weight_decay, foreach=False, fused=False)
    for step in range(6):
        gradient = torch.randn(*m, 5, generator=generator)
        reference.grad = gradient.clone()
        expected.param_groups[0]["lr"] = 0.1 / (step + 1)
        expected.step()
        optimizer.update(theta, gradient, state, step=step, lr=0.1 / (step + 1))
        torch.testing.assert_close(theta, reference)


def test_two_steps_by_hand():
    """v = momentum v + g + decay theta, theta -= lr v: 2 -> 2 - 0.1 * 1.1 = 1.89 -> 1.89 - 0.1 * (0.8 * 1.1 + 0.5 + 0.567)."""
    theta = torch.tensor([2.0])
    optimizer = SGD(0.1, "constant", 0, 0.3, 0.8)
    state = optimizer.init(theta)
    for step in range(2):
        optimizer.update(theta, torch.tensor([0.5]), state, step=step, lr=0.1)
    torch.testing.assert_close(theta, torch.tensor([1.89 - 0.1 * (0.88 + 0.5 + 0.567)]))


def test_learning_rate_follows_the_schedule():
    sgd = SGD(0.2, "cosine", 3, 0.0, 0.9)
    assert [sgd.lr_at(step, 11) for step in (0, 2, 3, 7)] == pytest.approx([0.05, 0.15, 0.2, 0.1])

"""Adam and AdamW against the unfused implementation of torch and, for the first step, by hand."""

import pytest
import torch

from ebm_cli.optimizers.adam import Adam

VALUES = {"schedule": "cosine", "n_warmup_steps": 3, "betas": (0.7, 0.95), "eps": 1e-3}


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("m", [(), (2,)])
def test_some_steps_against_the_reference(m, decoupled, weight_decay):
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(*m, 5, generator=generator)
    reference = theta.clone()
    optimizer = Adam(lr=0.1, decoupled=decoupled, weight_decay=weight_decay, **VALUES)
    state = optimizer.init(theta)
    rule = torch.optim.AdamW if decoupled else torch.optim.Adam
    expected = rule([reference], lr=0.1, betas=(0.7, 0.95), eps=1e-3, weight_decay=weight_decay, foreach=False, fused=False)
    for step in range(6):
        gradient = torch.randn(*m, 5, generator=generator)
        reference.grad = gradient.clone()
        expected.param_groups[0]["lr"] = 0.1 / (step + 1)
        expected.step()
        optimizer.update(theta, gradient, state, step=step, lr=0.1 / (step + 1))
        torch.testing.assert_close(theta, reference)


@pytest.mark.parametrize(("decoupled", "expected"), [(False, 2 - 0.1 * 1.1 / 1.101), (True, 2 * (1 - 0.1 * 0.3) - 0.1 * 0.5 / 0.501)])
def test_first_step_by_hand(decoupled, expected):
    """theta - lr g / (|g| + eps); decay enters g = 0.5 + 0.3 * 2 (Adam), or shrinks theta (AdamW)."""
    theta = torch.tensor([2.0])
    optimizer = Adam(lr=0.1, decoupled=decoupled, weight_decay=0.3, **VALUES)
    state = optimizer.init(theta)
    optimizer.update(theta, torch.tensor([0.5]), state, step=0, lr=0.1)
    torch.testing.assert_close(theta, torch.tensor([expected]))


def test_learning_rate_follows_the_schedule():
    adam = Adam(lr=0.2, decoupled=False, weight_decay=0.0, **VALUES)
    assert [adam.lr_at(step, 11) for step in (0, 2, 3, 7)] == pytest.approx([0.05, 0.15, 0.2, 0.1])

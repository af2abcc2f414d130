"""Adam, compared with torch.optim.Adam."""

import pytest
import torch

from ebm_cli.core.adam import adam_
from ebm_cli.core.rng import Rng

N_STEPS = 10
RATES = [0.05 / (1 + step) for step in range(N_STEPS)]


def torchs(start, gradients, *, betas, eps):
    """theta after each step of torch.optim.Adam."""
    theta, found = start.clone().requires_grad_(), []
    optimizer = torch.optim.Adam([theta], lr=1.0, betas=betas, eps=eps)
    for gradient, lr in zip(gradients, RATES, strict=True):
        optimizer.param_groups[0]["lr"], theta.grad = lr, gradient.clone()
        optimizer.step()
        found.append(theta.detach().clone())
    return found


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float, 1e-6), (torch.double, 1e-7)])
@pytest.mark.parametrize(("betas", "eps"), [((0.9, 0.999), 1e-8), ((0.5, 0.9), 1e-3), ((0.0, 0.99), 1e-8)])
@pytest.mark.parametrize("count", [int, torch.tensor, lambda t: torch.full((3, 1), t)], ids=["int", "tensor", "tensor per model"])
def test_ten_steps_agree_with_torch(count, betas, eps, dtype, tolerance):
    """A stack of three models has gradients from 1e-6 to 1e6 and a decreasing learning rate."""
    start = Rng(0).normal("theta", 3, 7).to(dtype)
    size = 10.0 ** torch.arange(-6, 7, 2).to(dtype)
    gradients = [size * Rng(0).at(step).normal("gradient", 3, 7).to(dtype) for step in range(N_STEPS)]
    theta, m, v = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for step, (gradient, expected) in enumerate(zip(gradients, torchs(start, gradients, betas=betas, eps=eps), strict=True)):
        kept = gradient.clone()
        adam_(theta, gradient, m, v, t=count(step + 1), lr=RATES[step], betas=betas, eps=eps)
        torch.testing.assert_close(theta, expected, atol=tolerance, rtol=tolerance)
        assert torch.equal(gradient, kept)


def test_each_model_may_have_its_own_step_number():
    """Of two models with the same gradients, the second starts two steps later. Each equals a model that is trained alone."""
    gradients, options = [Rng(0).at(step).normal("gradient", 5) for step in range(5)], {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8}
    theta, m, v = (torch.zeros(2, 5) for _ in range(3))
    alone = [[torch.zeros(5) for _ in range(3)] for _ in range(2)]
    for step, gradient in enumerate(gradients):
        started = torch.tensor([[1.0], [float(step >= 2)]])
        adam_(theta, started * gradient, m, v, t=torch.tensor([[step + 1], [max(step - 1, 1)]]), **options)
        for begin, (own, *moments) in zip((0, 2), alone, strict=True):
            if step >= begin:
                adam_(own, gradient, *moments, t=step + 1 - begin, **options)
    torch.testing.assert_close(theta, torch.stack([own for own, *_ in alone]), atol=1e-6, rtol=0)

"""The score of every exact density is finite wherever the log-density is finite, at its draws and everywhere in its box."""

import densities
import pytest
import torch

from ebm_cli.core.rng import Rng


@pytest.mark.parametrize("name", densities.real_densities())
def test_score_is_finite(name):
    dataset, rng = densities.option(name), Rng(0)
    low, high = torch.tensor(dataset.box).T
    x = torch.cat([dataset.draw(5000, rng), low + (high - low) * rng.uniform("box", 2000, len(low))]).double().requires_grad_()
    log_p = dataset.log_prob(x)
    (score,) = torch.autograd.grad(log_p[log_p.isfinite()].sum(), x)
    assert score.isfinite().all()

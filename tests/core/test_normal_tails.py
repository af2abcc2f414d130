"""The inverse of log Phi, compared with scipy."""

import math

import numpy as np
import torch
from scipy.special import ndtri_exp as expected

from ebm_cli.core.normal_tails import LOWEST, ndtri_exp


def test_it_agrees_with_scipy_from_the_median_to_the_far_tail():
    log_p = -np.concatenate([np.geomspace(math.log(2), 1e9, 400), [-LOWEST - 1e-9, -LOWEST, -LOWEST + 1e-9, 745.0, 746.0]])
    np.testing.assert_allclose(ndtri_exp(torch.from_numpy(log_p)).numpy(), expected(log_p), rtol=1e-12, atol=1e-14)


def test_first_and_second_derivatives():
    x = torch.tensor([-0.7, -2.0, -30.0, -599.9, -600.1, -5000.0], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(ndtri_exp, x, eps=1e-5)
    assert torch.autograd.gradgradcheck(ndtri_exp, x, eps=1e-5)


def test_it_is_mapped_over_models():
    x = -torch.rand(3, 4, dtype=torch.double).add(0.7)
    mapped = torch.func.vmap(torch.func.grad(lambda row: ndtri_exp(row).sum()))(x)
    torch.testing.assert_close(mapped, torch.func.grad(lambda rows: ndtri_exp(rows).sum())(x))

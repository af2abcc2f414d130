"""log Z of the Ising model with equal couplings and no field on a periodic m x n lattice. Kaufman 1949, Phys. Rev. 76, 1232.

    Z = 1/2 (2 sinh 2K)^(mn/2) [prod 2 cosh(m g_(2r+1) / 2) + prod 2 sinh(m g_(2r+1) / 2)
                                + prod 2 cosh(m g_2r / 2) + prod 2 sinh(m g_2r / 2)]
    cosh g_k = cosh 2K coth 2K - cos(pi k / n),    g_0 = 2K + log tanh K,    r = 0 .. n - 1

K = beta J > 0. g_0 is negative above the critical temperature. The mean energy is -d log Z / d beta. The number of operations grows with n.
"""

import math

import torch
from torch import Tensor

CRITICAL = 0.5 * math.log(1 + math.sqrt(2))  # K_c of the infinite lattice


def log_z(k: Tensor, m: int, n: int) -> Tensor:
    """log Z in nats, a scalar in double precision that is differentiable in K, a positive scalar."""
    k = k.double()
    cosine = torch.cos(math.pi * torch.arange(1, 2 * n, dtype=torch.double, device=k.device) / n)
    g = torch.acosh((2 * k).cosh() / (2 * k).tanh() - cosine)  # g_1 .. g_(2n-1)
    half, first = m * g / 2, m * (2 * k + k.tanh().log()) / 2
    odd, even = half[::2], half[1::2]
    cosh_of_even = log_2cosh(first) + log_2cosh(even).sum()
    terms = torch.stack([log_2cosh(odd).sum() - cosh_of_even, log_2sinh(odd).sum() - cosh_of_even]).exp().sum()
    sinh_of_even = first.tanh() * (log_2cosh(first) + log_2sinh(even).sum() - cosh_of_even).exp()  # it has the sign of g_0
    return -math.log(2) + 0.5 * m * n * (2 * (2 * k).sinh()).log() + cosh_of_even + (terms + 1 + sinh_of_even).log()


def log_2cosh(y: Tensor) -> Tensor:
    """log(2 cosh y)."""
    return y.abs() + (-2 * y.abs()).exp().log1p()


def log_2sinh(y: Tensor) -> Tensor:
    """log(2 sinh y) for y > 0."""
    return y + (-(-2 * y).exp()).log1p()

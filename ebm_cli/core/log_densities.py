"""Closed-form log-densities that datasets and energies share. They are functions of tensors and compute in the precision of x.

Shapes: x (..., d) -> (...). Parameters are numbers, or tensors that broadcast against (...). All are normalized: log Z = 0.
"""

import math

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


def mixture(x: Tensor, center: Tensor, log_weight: Tensor, std: Tensor | float) -> Tensor:
    """log sum_k w_k N(x; c_k, std_k^2 I): centers (K, d), log weights (K,), std a number or (K,)."""
    squared = sum((x[..., i, None] - center[:, i]).square() for i in range(center.shape[-1]))
    scale = log_weight - center.shape[-1] * (log(std) + 0.5 * LOG_2PI)
    return torch.logsumexp(scale - 0.5 * squared / std**2, -1)


def funnel(x: Tensor, scale: Tensor | float) -> Tensor:
    """x_0 ~ N(0, scale^2), x_i | x_0 ~ N(0, e^{x_0}) for i = 1 .. d - 1. Neal (2003) uses scale = 3 and d = 10."""
    mouth, rest = x[..., 0], x[..., 1:]
    squared = (mouth / scale).square() + (-mouth).exp() * rest.square().sum(-1)
    return -0.5 * (squared + x.shape[-1] * LOG_2PI + rest.shape[-1] * mouth) - log(scale)


def banana(x: Tensor, scale: Tensor | float, bend: Tensor | float) -> Tensor:
    """x_0 = scale z_0, x_1 = z_1 + bend (x_0^2 - scale^2), x_i = z_i for i >= 2, z ~ N(0, I). Haario et al. 1999."""
    straight = x[..., 1] - bend * (x[..., 0].square() - scale**2)
    squared = (x[..., 0] / scale).square() + straight.square() + x[..., 2:].square().sum(-1)
    return -0.5 * (squared + x.shape[-1] * LOG_2PI) - log(scale)


def log(value: Tensor | float) -> Tensor | float:
    """The logarithm of a number or a tensor. A number is not copied to a device."""
    return value.log() if isinstance(value, Tensor) else math.log(value)

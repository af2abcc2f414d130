"""The inverse of the logarithm of the normal distribution function, accurate in the tail and differentiable any number of times.

    z = ndtri_exp(l)  solves  log Phi(z) = l,    dz/dl = Phi(z) / phi(z) = exp(l + z^2/2) sqrt(2 pi)

torch.special.ndtri takes the probability e^l itself, which underflows at l = -745, or z = -38.
"""

import math
from typing import Any

import torch
from torch import Tensor

from ebm_cli.core.log_densities import LOG_2PI

LOWEST = -600.0  # below this log-probability, Newton's method starts from the asymptotic form of the tail


def ndtri_exp(log_p: Tensor) -> Tensor:
    """The z with log Phi(z) = log_p, for log_p at most log 1/2, in double precision."""
    return _NdtriExp.apply(log_p)


class _NdtriExp(torch.autograd.Function):
    @staticmethod
    def forward(log_p: Tensor) -> Tensor:
        far = log_p.clamp(max=LOWEST)
        size = (-2 * far - LOG_2PI - (-2 * far).log()).sqrt()
        z = torch.where(log_p > LOWEST, torch.special.ndtri(log_p.clamp(min=LOWEST).exp()), -size)
        for _ in range(2):
            z = z - (torch.special.log_ndtr(z) - log_p) / _hazard(z)
        return z

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return gradient / _hazard(z)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], log_p: Tensor) -> tuple[Tensor, int]:
        """The function is elementwise. torch maps log_ndtr in a slow loop."""
        return _NdtriExp.apply(log_p), in_dims[0]


def _hazard(z: Tensor) -> Tensor:
    """phi(z) / Phi(z) = sqrt(2 / pi) / erfcx(-z / sqrt 2), the derivative of log Phi."""
    return math.sqrt(2 / math.pi) / torch.special.erfcx(-z / math.sqrt(2))

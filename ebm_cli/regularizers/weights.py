"""Penalties on the weight matrices of the network.

    weight_decay   weight/2 sum of |W|^2                   Krogh & Hertz 1991
    spectral_norm  weight/2 sum of sigma(W)^2              Yoshida & Miyato 2017, arXiv:1705.10941

sigma(W) is the largest singular value; its product over the layers bounds the slope of the energy. The singular vector is computed once per
step by squaring W'W six times (64 power iterations). This happens outside of the energy's forward pass, so that the energy does not change
while chains run. (optimizer=adamw applies weight decay apart from the gradient; weight_decay here is part of the loss.)
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.core.contracts import Regularizer
from ebm_cli.core.model import Model
from ebm_cli.types import Params, Positive

N_SQUARINGS = 6


@dataclass(frozen=True)
class WeightPenalty(Regularizer):
    """`weight` is the factor on half the sum of squares."""

    weight: Positive

    def of(self, matrix: Tensor) -> Tensor:
        """The squared norm of a matrix, (*m, n_out, n_in) -> (*m)."""
        raise NotImplementedError

    def penalty(self, model: Model, params: Params, x: Tensor, aux: Params) -> Tensor:
        total = sum((self.of(matrix) for matrix in matrices(model, params)), start=x.new_zeros(model.model_shape(params)))
        return (0.5 * self.weight * total).unsqueeze(-1).expand(x.shape[: x.ndim - model.event_ndim])


@dataclass(frozen=True)
class WeightDecay(WeightPenalty):
    def of(self, matrix: Tensor) -> Tensor:
        return matrix.square().sum((-2, -1))


@dataclass(frozen=True)
class SpectralNorm(WeightPenalty):
    def of(self, matrix: Tensor) -> Tensor:
        with torch.no_grad():
            power = matrix.mT @ matrix
            for _ in range(N_SQUARINGS):
                power = power / power.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None].clamp(min=1e-30)
                power = power @ power
            strongest = power.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None].expand(*power.shape[:-1], 1)
            direction = power.gather(-1, strongest)
            direction = direction / direction.square().sum(-2, keepdim=True).sqrt().clamp(min=1e-30)
        return (matrix @ direction).square().sum((-2, -1))


def matrices(model: Model, params: Params) -> Iterator[Tensor]:
    """The trainable weights of the network without the biases; the trailing axes of weights with more than two axes are flattened."""
    m = len(model.model_shape(params))
    yield from (params[name].flatten(m + 1) for name in model.learned if params[name].ndim - m >= 2)

"""A multilayer perceptron f on standardised events, with a quadratic confinement.

    E(x) = f(u) + confinement/2 |u|^2,    u = (x - mean) / scale

f grows at most linearly, so that a confinement above 0 keeps Z finite; without it Z may be infinite.
"""

import itertools
from collections.abc import Sequence
from math import prod
from typing import Literal

from torch import Tensor, nn

from ebm_cli.types import Count, NonNegative

ACTIVATIONS = {"elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU, "softplus": nn.Softplus, "tanh": nn.Tanh}
Activation = Literal["elu", "gelu", "silu", "softplus", "tanh"]


def perceptron(n_in: int, hidden: Sequence[int], n_out: int, activation: Activation) -> nn.Sequential:
    """Linear layers of the given widths with an activation between each two."""
    widths = [n_in, *hidden]
    pairs = itertools.pairwise(widths)
    layers = [layer for pair in pairs for layer in (nn.Linear(*pair), ACTIVATIONS[activation]())]
    return nn.Sequential(*layers, nn.Linear(widths[-1], n_out))


class MLP(nn.Module):
    """x (B, *d) -> E(x) (B,). `mean` and `scale`, (*d), are those of the training data."""

    outputs_score = False

    def __init__(
        self,
        shape: Sequence[int],
        mean: Tensor,
        scale: Tensor,
        *,
        hidden: Sequence[Count],
        activation: Activation,
        confinement: NonNegative,
    ) -> None:
        super().__init__()
        self.network = perceptron(prod(shape), hidden, prod(shape) if self.outputs_score else 1, activation)
        self.confinement = confinement
        self.register_buffer("mean", mean)
        self.register_buffer("inverse_scale", 1 / scale)

    def forward(self, x: Tensor) -> Tensor:
        u = ((x - self.mean) * self.inverse_scale).flatten(1)
        return self.network(u).squeeze(-1) + 0.5 * self.confinement * (u * u).sum(-1)

"""A multilayer perceptron f that outputs the score itself, pulled towards the data's mean. Song & Ermon 2019, arXiv:1907.05600.

    s(x) = (f(u) - confinement u) / scale,    u = (x - mean) / scale

There is no energy behind it (its Jacobian need not be symmetric): no log Z, no Metropolis step, no contrastive objective.
"""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from ebm_cli.energies.mlp import Activation, perceptron
from ebm_cli.types import Count, NonNegative


class ScoreMLP(nn.Module):
    """x (B, *d) -> s(x) (B, *d). `mean` and `scale`, (*d), are those of the training data."""

    outputs_score = True

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
        self.network = perceptron(prod(shape), hidden, prod(shape), activation)
        self.confinement = confinement
        self.register_buffer("mean", mean)
        self.register_buffer("inverse_scale", 1 / scale)

    def forward(self, x: Tensor) -> Tensor:
        u = (x - self.mean) * self.inverse_scale
        return (self.network(u.flatten(1)).view_as(u) - self.confinement * u) * self.inverse_scale

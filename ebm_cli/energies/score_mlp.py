"""A multilayer perceptron f that outputs the score itself, pulled towards the data's mean. Song & Ermon 2019, arXiv:1907.05600.

    s(x) = (f(u) - confinement u) / scale,    u = (x - mean) / scale

`NoiseScoreMLP` at every noise level (see network.py). There is no energy behind it (its Jacobian need not be symmetric): no log Z, no
Metropolis step, no contrastive objective. A score is one forward pass.
"""

from collections.abc import Sequence

from torch import Tensor

from ebm_cli.energies.mlp import Activation, perceptron
from ebm_cli.energies.network import NoiseConditional, ScoreNetwork
from ebm_cli.types import Count, NonNegative


class ScoreMLP(ScoreNetwork):
    """x (B, *d) -> s(x) (B, *d)."""

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
        super().__init__(shape, mean, scale, confinement=confinement)
        self.network = perceptron(self.n_in, hidden, self.n_out, activation)


class NoiseScoreMLP(NoiseConditional, ScoreMLP):
    """x (B, *d), noise level (B,) -> s(x, sigma) (B, *d)."""

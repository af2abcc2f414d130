"""A multilayer perceptron f that outputs the score, tilted by the score of the reference. Song & Ermon 2019, arXiv:1907.05600.

    s(x) = f(u) / scale + tilt grad log q(x),    u = (x - mean) / scale

`NoiseScoreMLP` is the noise-conditional version (see network.py). The output need not be the gradient of an energy, since its Jacobian
need not be symmetric: there is no log Z, no Metropolis step and no contrastive objective. A score costs one forward pass.
"""

from collections.abc import Sequence

from torch import Tensor

from ebm_cli.core.fitted_reference import FittedReference
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
        reference: FittedReference,
        *,
        hidden: Sequence[Count],
        activation: Activation,
        tilt: NonNegative,
    ) -> None:
        super().__init__(shape, mean, scale, reference, tilt=tilt)
        self.network = perceptron(self.n_in, hidden, self.n_out, activation)
        self.start()


class NoiseScoreMLP(NoiseConditional, ScoreMLP):
    """x (B, *d), noise level (B,) -> s(x, sigma) (B, *d)."""

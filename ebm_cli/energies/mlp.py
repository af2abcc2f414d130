"""A multilayer perceptron f on standardized events, tilted by the reference. `NoiseMLP` is the noise-conditional version.

    E(x) = -log g(f(u)) + tilt E_q(x),    u = (x - mean) / scale        (g and E_q: see network.py)

It is not suited to fine details, since a perceptron learns low frequencies first (see fourier_mlp.py). The score of a batch costs one
forward and one backward pass.
"""

import itertools
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.energies.network import EnergyNetwork, NoiseConditional, Positivity
from ebm_cli.types import Count, NonNegative

ACTIVATIONS = {"elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU, "softplus": nn.Softplus, "tanh": nn.Tanh}
Activation = Literal["elu", "gelu", "silu", "softplus", "tanh"]


def perceptron(n_in: int, hidden: Sequence[int], n_out: int, activation: Activation) -> nn.Sequential:
    """Linear layers of the given widths, with an activation between consecutive layers."""
    widths = [n_in, *hidden]
    pairs = itertools.pairwise(widths)
    layers = [layer for pair in pairs for layer in (nn.Linear(*pair), ACTIVATIONS[activation]())]
    return nn.Sequential(*layers, nn.Linear(widths[-1], n_out))


class MLP(EnergyNetwork):
    """x (B, *d) -> E(x) (B,)."""

    def __init__(
        self,
        shape: Sequence[int],
        mean: Tensor,
        scale: Tensor,
        reference: FittedReference,
        *,
        hidden: Sequence[Count],
        activation: Activation,
        positive: Positivity,
        tilt: NonNegative,
    ) -> None:
        super().__init__(shape, mean, scale, reference, positive=positive, tilt=tilt)
        self.network = perceptron(self.n_in, hidden, self.n_out, activation)
        self.start()


class NoiseMLP(NoiseConditional, MLP):
    """x (B, *d), noise level (B,) -> E(x, sigma) (B,)."""

"""A perceptron f on random Fourier features of standardised events: what varies fast is within reach. Tancik et al. 2020, arXiv:2006.10739.

    f(u) = perceptron(u, cos W u, sin W u),    W (n_features, d) fixed, its entries N(0, bandwidth^2)

with the confinement and the energies of network.py; `NoiseFourierMLP` at every noise level. `bandwidth` is in radians per standard
deviation of the data: details of size l need frequencies of about 2/l. It overfits where the training set is small, and in many
dimensions random directions miss what matters.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ebm_cli.energies.mlp import Activation, perceptron
from ebm_cli.energies.network import EnergyNetwork, NoiseConditional, Positivity
from ebm_cli.types import Count, NonNegative, Positive


class FourierFeatures(nn.Module):
    """(B, n_in) -> (B, n_in + 2 n_features): the first coordinates' waves behind all that comes in."""

    def __init__(self, n_coordinates: int, n_features: int, bandwidth: float) -> None:
        super().__init__()
        self.register_buffer("frequencies", bandwidth * torch.randn(n_features, n_coordinates))

    def forward(self, u: Tensor) -> Tensor:
        waves = u[:, : self.frequencies.shape[-1]] @ self.frequencies.T
        return torch.cat([u, waves.cos(), waves.sin()], -1)


class FourierMLP(EnergyNetwork):
    """x (B, *d) -> E(x) (B,)."""

    def __init__(
        self,
        shape: Sequence[int],
        mean: Tensor,
        scale: Tensor,
        *,
        n_features: Count,
        bandwidth: Positive,
        hidden: Sequence[Count],
        activation: Activation,
        positive: Positivity,
        confinement: NonNegative,
    ) -> None:
        super().__init__(shape, mean, scale, positive=positive, confinement=confinement)
        features = FourierFeatures(self.n_coordinates, n_features, bandwidth / self.input_gain)
        self.network = nn.Sequential(features, *perceptron(self.n_in + 2 * n_features, hidden, self.n_out, activation))


class NoiseFourierMLP(NoiseConditional, FourierMLP):
    """x (B, *d), noise level (B,) -> E(x, sigma) (B,)."""

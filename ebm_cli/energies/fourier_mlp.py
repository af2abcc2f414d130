"""A perceptron f on random Fourier features of standardized events, for fine details. Tancik et al. 2020, arXiv:2006.10739.

    f(u) = perceptron(u, cos W u, sin W u),    W (n_features, d) fixed, its entries N(0, bandwidth^2)

The tilt and the function from f to the energy are those of network.py. `NoiseFourierMLP` is the noise-conditional version. `bandwidth`
is in radians per standard deviation of the data: details of size l need frequencies of about 2/l. It overfits small training sets, and
in many dimensions few of the random directions are relevant.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.energies.mlp import Activation, perceptron
from ebm_cli.energies.network import EnergyNetwork, NoiseConditional, Positivity
from ebm_cli.types import Count, NonNegative, Positive


class FourierFeatures(nn.Module):
    """(B, n_in) -> (B, n_in + 2 n_features): the input, followed by the cosines and sines of its first `n_coordinates` columns."""

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
        reference: FittedReference,
        *,
        n_features: Count,
        bandwidth: Positive,
        hidden: Sequence[Count],
        activation: Activation,
        positive: Positivity,
        tilt: NonNegative,
    ) -> None:
        super().__init__(shape, mean, scale, reference, positive=positive, tilt=tilt)
        features = FourierFeatures(self.n_coordinates, n_features, bandwidth / self.input_gain)
        self.network = nn.Sequential(features, *perceptron(self.n_in + 2 * n_features, hidden, self.n_out, activation))
        self.start()


class NoiseFourierMLP(NoiseConditional, FourierMLP):
    """x (B, *d), noise level (B,) -> E(x, sigma) (B,)."""

"""A multilayer perceptron f on bits or on the one-hot codes of categories, tilted by the reference.

    E(x) = f(s) - tilt log q(x),    s = 2x - 1 for bits;    for categories s_ik = 1 if x_i = k, else 0

With `reference=bernoulli` or `categorical` the initial model is q: independent coordinates. The function from f to the energy is that of
network.py. f needs no smooth activation for Gibbs sampling, but samplers that use gradients of E in x do better with one. A flip of one bit
changes f by the whole network: differences of energies cost one evaluation each.
"""

from collections.abc import Sequence
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.states import levels
from ebm_cli.energies.mlp import Activation, perceptron
from ebm_cli.energies.network import EnergyNetwork, Positivity
from ebm_cli.types import Count, NonNegative, Space


class DiscreteNetwork(EnergyNetwork):
    """x (B, *d) -> E(x) (B,) for discrete events. `n_in` is D for bits, and D times the largest number of states for categories."""

    requires: ClassVar[frozenset[str]] = frozenset({"discrete"})

    def __init__(self, space: Space, reference: FittedReference, *, positive: Positivity, tilt: NonNegative) -> None:
        half = torch.full(space.shape, 0.5)
        super().__init__(space.shape, half, half, reference, positive=positive, tilt=tilt)  # u = 2x - 1
        self.most = max(levels(space, prod(space.shape)))
        self.is_binary = space.kind == "binary"
        self.n_in = self.n_coordinates * (1 if self.is_binary else self.most)

    def evaluate(self, x: Tensor, noise_level: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if self.is_binary:
            return super().evaluate(x, noise_level)
        hot = x.flatten(1).unsqueeze(-1) == torch.arange(self.most, device=x.device)
        return self.network(hot.to(x).flatten(1)), x, self.inverse_scale


class BinaryMLP(DiscreteNetwork):
    """x (B, *d) -> E(x) (B,)."""

    def __init__(
        self,
        space: Space,
        reference: FittedReference,
        *,
        hidden: Sequence[Count],
        activation: Activation,
        positive: Positivity,
        tilt: NonNegative,
    ) -> None:
        super().__init__(space, reference, positive=positive, tilt=tilt)
        self.network = perceptron(self.n_in, hidden, self.n_out, activation)
        self.start()

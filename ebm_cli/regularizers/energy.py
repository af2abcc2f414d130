"""Penalties on the energies of the data and, if the objective has them, of its negatives. Du & Mordatch 2019, arXiv:1903.08689.

    energy_l1       weight (|E(x)| + |E(y)|)
    energy_l2       weight (E(x)^2 + E(y)^2)
    bounded_energy  weight (max(|E(x)| - bound, 0)^2 + the same for y)

Energies that the objective has evaluated are reused. With an objective that uses several noise levels, the noised points take the place
of the data. These penalties do not constrain gradients; gradient_penalty does.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ebm_cli.core.contracts import Regularizer
from ebm_cli.core.model import Model
from ebm_cli.types import NonNegative, Params, Positive


@dataclass(frozen=True)
class EnergyPenalty(Regularizer):
    """`weight` is the factor on the penalty."""

    weight: Positive
    requires: ClassVar[frozenset[str]] = frozenset({"energy"})

    def of(self, energy: Tensor) -> Tensor:
        """The penalty on each energy."""
        raise NotImplementedError

    def penalty(self, model: Model, params: Params, x: Tensor, aux: Params) -> Tensor:
        level = aux.get("noise_level")
        penalty = self.of(aux["energy"] if "energy" in aux else model.energy(params, aux.get("noised", x), level))
        if "negatives" in aux:
            negative = aux["energy_negatives"] if "energy_negatives" in aux else model.energy(params, aux["negatives"], level)
            penalty = penalty + self.of(negative)
        return self.weight * penalty


@dataclass(frozen=True)
class EnergyL1(EnergyPenalty):
    def of(self, energy: Tensor) -> Tensor:
        return energy.abs()


@dataclass(frozen=True)
class EnergyL2(EnergyPenalty):
    def of(self, energy: Tensor) -> Tensor:
        return energy.square()


@dataclass(frozen=True)
class BoundedEnergy(EnergyPenalty):
    """Energies between -`bound` and `bound` are not penalized."""

    bound: NonNegative

    def of(self, energy: Tensor) -> Tensor:
        return (energy.abs() - self.bound).clamp(min=0).square()

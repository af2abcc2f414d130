"""Keep energies small, on the data and, where the objective has them, on its negatives. Du & Mordatch 2019, arXiv:1903.08689.

    energy_l1       weight (|E(x)| + |E(y)|)
    energy_l2       weight (E(x)^2 + E(y)^2)
    bounded_energy  weight (max(|E(x)| - bound, 0)^2 + the same of y)

Energies that the objective evaluated are not evaluated again. With an objective of a ladder of noise both are taken at the noised
points. Not for scores: it says nothing of gradients (gradient_penalty).
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ebm_cli.core.model import Model
from ebm_cli.types import NonNegative, Params, Positive, Regularizer


@dataclass(frozen=True)
class EnergyPenalty(Regularizer):
    """`weight` is the factor on the penalty."""

    weight: Positive
    requires: ClassVar[frozenset[str]] = frozenset({"energy"})

    def of(self, energy: Tensor) -> Tensor:
        """The penalty on each energy."""
        raise NotImplementedError

    def penalty(self, model: Model, params: Params, x: Tensor, aux: Params) -> Tensor:
        level = [aux["noise_level"]] if "noise_level" in aux else []
        penalty = self.of(aux["energy"] if "energy" in aux else model.energy(params, aux.get("noised", x), *level))
        if "negatives" in aux:
            negative = aux["energy_negatives"] if "energy_negatives" in aux else model.energy(params, aux["negatives"], *level)
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
    """Nothing is asked of energies between -`bound` and `bound`."""

    bound: NonNegative

    def of(self, energy: Tensor) -> Tensor:
        return (energy.abs() - self.bound).clamp(min=0).square()

"""Keeps energies small, on the data and, where the objective has them, on its negatives. Du & Mordatch 2019, arXiv:1903.08689.

weight (E(x)^2 + E(y)^2)
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ebm_cli.model import Model
from ebm_cli.types import Params, Positive, Regularizer


@dataclass(frozen=True)
class EnergyL2(Regularizer):
    """`weight` is the factor on the squared energies. Energies that the objective evaluated are not evaluated again."""

    weight: Positive
    requires: ClassVar[frozenset[str]] = frozenset({"energy"})

    def penalty(self, model: Model, params: Params, x: Tensor, aux: Params) -> Tensor:
        energy = aux["energy"] if "energy" in aux else model.energy(params, x)
        penalty = energy.square()
        if "negatives" in aux:
            negative = aux["energy_negatives"] if "energy_negatives" in aux else model.energy(params, aux["negatives"])
            penalty = penalty + negative.square()
        return self.weight * penalty

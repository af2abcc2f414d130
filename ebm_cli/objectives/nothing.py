"""The objective of runs whose energy has no parameters. It is not an option: such runs have it, whatever objective is chosen.

Its loss is the energy. With log Z = 0 its mean over the test events is their negative log-likelihood in the coordinates of the model.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ebm_cli.core.contracts import Objective
from ebm_cli.core.model import Model
from ebm_cli.types import Info, Params


@dataclass(frozen=True)
class Nothing(Objective):
    """Nothing is trained. It has no settings."""

    requires: ClassVar[frozenset[str]] = frozenset({"energy"})

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        return model.energy(params, x), {}

"""The uniform distribution over the states of discrete events, from which the chains of a target without data start."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ebm_cli.core.contracts import Reference
from ebm_cli.core.model import constant
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import levels
from ebm_cli.types import Params, Space


@dataclass(frozen=True)
class FairStates(Reference):
    """It has nothing to fit."""

    space: Space
    requires: ClassVar[frozenset[str]] = frozenset({"discrete"})

    @property
    def levels(self) -> tuple[int, ...]:
        """The number of states of each coordinate."""
        return levels(self.space, math.prod(self.space.shape))

    def fit(self, x: Tensor, shape: tuple[int, ...], rng: Rng, held_out: Tensor | None = None) -> Params:
        return {}

    def draw(self, params: Params, n: int, rng: Rng, stream: str) -> Tensor:
        u = rng.uniform(stream, n, len(self.levels))
        base = constant(self.levels, u)
        return (u * base).floor().minimum(base - 1)

    def log_prob(self, params: Params, x: Tensor) -> Tensor:
        return x.new_full(x.shape[:-1], -sum(map(math.log, self.levels)))

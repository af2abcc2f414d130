"""The Potts model on a lattice as data: independent exact draws and an exact log p. Potts 1952.

    p(x) = exp(beta sum_<ij> J_ij [x_i = x_j]) / Z,    x_i in 0 .. q - 1,    J_ij ~ N(`coupling`, `spread`^2)

The couplings are drawn once, from `couplings_seed`, whatever the seed of a run. `method` says how events are drawn: by the transfer matrix
of a lattice with a short side, by enumeration of at most 2^20 states (core/potts.py), or, with auto, by the first one that applies. Larger
lattices are refused: a heat bath with more than two states is not monotone, so that coupling from the past does not apply.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core import potts
from ebm_cli.core.discrete_density import DiscreteDensity
from ebm_cli.core.lattice import Lattice
from ebm_cli.core.rng import Rng
from ebm_cli.datasets.ising import fine
from ebm_cli.errors import bad
from ebm_cli.types import Count, Natural, NonNegative, Positive, Space


@dataclass(frozen=True)
class Potts(DiscreteDensity):
    """`sides` are the numbers of sites along the axes, `n_states` is q, and `spread` the standard deviation of the couplings."""

    sides: Sequence[Count]
    n_states: Annotated[int, Ge(2)]
    periodic: bool | Sequence[bool]
    coupling: float
    spread: NonNegative
    couplings_seed: Natural
    beta: Positive
    method: Literal["auto", "transfer_matrix", "enumeration"]
    provides: ClassVar[frozenset[str]] = frozenset({"categorical", "density"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.periodic, bool) and len(self.periodic) != len(self.sides):
            message = f"dataset.periodic: a value is needed for each of {len(self.sides)} axes, not {len(self.periodic)}"
            raise bad(message, "dataset.periodic=true")
        possible = potts.methods(self.lattice, self.n_states)
        if not possible:
            message = f"dataset.sides: a lattice of {list(self.sides)} sites with {self.n_states} states has no exact distribution"
            raise bad(message, "dataset.sides=[4,4]; one of two sides must be short")
        if self.method not in ("auto", *possible):
            hint = " or ".join(f"dataset.method={name}" for name in possible)
            raise bad(f"dataset.method: {self.method} does not apply to this model", hint)

    @property
    def space(self) -> Space:
        return Space(tuple(self.sides), "categorical", self.n_states)

    @property
    def lattice(self) -> Lattice:
        return Lattice.of(self.sides, self.periodic)

    @cached_property
    def model(self) -> potts.Potts:
        """The lattice with beta J."""
        z = Rng(self.couplings_seed).normal("couplings", len(self.sides), *self.sides).double()
        coupling = self.beta * (self.coupling + self.spread * z) * self.lattice.bonds
        return potts.Potts(self.lattice, coupling, torch.zeros(self.n_states, *self.sides, dtype=torch.double))

    @property
    def sampled_by(self) -> str:
        """The method that draws events."""
        return self.model.methods[0] if self.method == "auto" else self.method

    @cached_property
    def log_z(self) -> float:
        """log Z in nats."""
        return self.model.log_z().item()

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"sampled_by": self.sampled_by, "log_z": self.log_z, "log_z_by": self.model.methods[0]}

    def log_prob(self, x: Tensor) -> Tensor:
        flat = x.double().reshape(-1, *self.sides)
        return (-self._on(x.device).energy(flat) - self.log_z).view(x.shape[: x.ndim - len(self.sides)])

    def draw(self, n: int, rng: Rng) -> Tensor:
        if rng.model_shape:
            return torch.stack([self.draw(n, rng.of(m)) for m in range(len(rng.seed_list))])
        model, method = self._on(rng.generator.device), self.sampled_by
        return model.draw(fine(rng, "draws", n, model.n_uniforms(method)), method).to(torch.get_default_dtype())

    def _on(self, device: torch.device) -> potts.Potts:
        """The model on a device."""
        return potts.Potts(self.lattice, self.model.coupling.to(device), self.model.field.to(device))

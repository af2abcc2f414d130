"""The Ising model on a lattice as data: independent exact draws and an exact log p. Ising 1925; Propp & Wilson 1996.

    p(x) = exp(beta (sum_<ij> J_ij s_i s_j + sum_i h_i s_i)) / Z,    s_i = 2 x_i - 1,    J_ij ~ N(`coupling`, `spread`^2)

The couplings are drawn once, from `couplings_seed`, whatever the seed of a run. `method` says how events are drawn:

    enumeration      inversion, with at most 2^20 states
    transfer_matrix  forward filtering and backward sampling, if one of at most two sides is short (core/transfer_matrix.py)
    coupling         coupling from the past, for J >= 0 on any lattice (core/coupling_from_the_past.py); slow below the critical temperature
    auto             the first of the exact methods that applies

Where log Z is known (core/ising.py), the density is known.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ebm_cli.core import coupling_from_the_past, ising, transfer_matrix
from ebm_cli.core.discrete_density import DiscreteDensity
from ebm_cli.core.ising import MOST_SITES
from ebm_cli.core.lattice import Lattice
from ebm_cli.core.rng import Rng
from ebm_cli.errors import bad
from ebm_cli.types import Count, Natural, NonNegative, Positive, Space

METHODS = ("enumeration", "transfer_matrix", "coupling")
MOST_SWEEPS = 1 << 14  # the largest number of sweeps of a draw by coupling from the past


@dataclass(frozen=True)
class Ising(DiscreteDensity):
    """`sides` are the numbers of sites along the axes; `spread` is the standard deviation of the couplings; `field` is h of every site."""

    sides: Sequence[Count]
    periodic: bool | Sequence[bool]
    coupling: float
    spread: NonNegative
    couplings_seed: Natural
    field: float
    beta: Positive
    method: Literal["auto", "enumeration", "transfer_matrix", "coupling"]
    provides: ClassVar[frozenset[str]] = frozenset({"binary"})

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "provides", self.provided(vars(self)))
        if not isinstance(self.periodic, bool) and len(self.periodic) != len(self.sides):
            message = f"dataset.periodic: a value is needed for each of {len(self.sides)} axes, not {len(self.periodic)}"
            raise bad(message, "dataset.periodic=true")
        if self.sampled_by not in self.possible:
            works = [f"dataset.method={name}" for name in self.possible]
            fault = "no exact method draws from this model" if self.method == "auto" else f"{self.method} does not apply to this model"
            hint = " or ".join(works) or f"at most {MOST_SITES} sites, a short side, or couplings J >= 0"
            raise bad(f"dataset.method: {fault}", hint)

    @classmethod
    def provided(cls, node: Mapping[str, Any]) -> frozenset[str]:
        """The density is known if log Z is."""
        with suppress(TypeError, KeyError, ValueError):  # an invalid config: the schema reports it
            lattice = Lattice.of(node["sides"], node["periodic"])
            equal = node["spread"] == node["field"] == 0 and node["coupling"] > 0
            if not ising.has_log_z(lattice, equal=equal):
                return cls.provides
        return cls.provides | {"density"}

    @property
    def space(self) -> Space:
        return Space(tuple(self.sides), "binary")

    @property
    def lattice(self) -> Lattice:
        return Lattice.of(self.sides, self.periodic)

    @cached_property
    def model(self) -> ising.Ising:
        """The lattice with beta J and beta h."""
        z = Rng(self.couplings_seed).normal("couplings", len(self.sides), *self.sides).double()
        coupling = (self.coupling + self.spread * z) * self.lattice.bonds
        field = torch.full(tuple(self.sides), self.field, dtype=torch.double)
        return ising.Ising(self.lattice, self.beta * coupling, self.beta * field)

    @cached_property
    def possible(self) -> tuple[str, ...]:
        """The methods that apply."""
        applies = {
            "enumeration": self.lattice.n_sites <= MOST_SITES,
            "transfer_matrix": self.model.rows is not None,
            "coupling": bool((self.model.coupling >= 0).all()),
        }
        return tuple(name for name in METHODS if applies[name])

    @property
    def sampled_by(self) -> str:
        """The method that draws events."""
        return self.method if self.method != "auto" else next(iter(self.possible), "")

    @cached_property
    def log_z(self) -> float | None:
        """log Z in nats; None if it is not known."""
        return self.model.log_z().item() if self.model.method else None

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"sampled_by": self.sampled_by, "log_z": self.log_z, "log_z_by": self.model.method}

    def log_prob(self, x: Tensor) -> Tensor:
        if self.log_z is None:
            raise TypeError("log Z of this model is not known")
        s = (2 * x.double() - 1).reshape(-1, *self.sides)
        return (-self._on(s.device).energy(s) - self.log_z).view(x.shape[: x.ndim - len(self.sides)])

    def draw(self, n: int, rng: Rng) -> Tensor:
        if rng.model_shape:
            return torch.stack([self.draw(n, rng.of(m)) for m in range(len(rng.seed_list))])
        if self.sampled_by == "coupling":
            try:
                s, _ = coupling_from_the_past.draw(self._on(rng.generator.device), n, rng.at("coupling"), MOST_SWEEPS)
            except coupling_from_the_past.TooSlow:
                message = f"dataset.method: chains from the past have not met after {MOST_SWEEPS} sweeps: the couplings are too strong"
                raise bad(message, "a smaller dataset.beta, or a lattice with a short side") from None
        elif self.sampled_by == "transfer_matrix":
            rows = self._on(rng.generator.device).rows
            s = transfer_matrix.draw(rows, fine(rng, "rows", n, rows.field.shape[0]))
            s = s.mT if rows.transposed else s
        else:
            place = torch.searchsorted(self._cumulative.to(rng.generator.device), fine(rng, "states", n, 1).squeeze(-1), right=True)
            bit = torch.arange(self.lattice.n_sites - 1, -1, -1, device=place.device)
            s = 2 * (place.clamp(max=len(self._cumulative) - 1).unsqueeze(-1) >> bit & 1) - 1
        return (0.5 * (s + 1)).to(torch.get_default_dtype()).view(n, *self.sides)

    @cached_property
    def _cumulative(self) -> Tensor:
        """The cumulative probabilities of all states in their order."""
        log_p = torch.cat([-self.model.energy(s) for s in ising.states(self.lattice)])
        p = log_p.softmax(0).cumsum(0)
        return p / p[-1]

    def _on(self, device: torch.device) -> ising.Ising:
        """The model on a device."""
        return ising.Ising(self.lattice, self.model.coupling.to(device), self.model.field.to(device))


def fine(rng: Rng, stream: str, *shape: int) -> Tensor:
    """Uniforms on [0, 1) with 48 random bits, in double precision: single precision would never choose improbable states."""
    coarse, rest = rng.uniform(stream, 2, *shape).double()
    return coarse + rest / 2**24

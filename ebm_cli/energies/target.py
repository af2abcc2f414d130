"""Discrete energies that can be trained, or sampled without a run: the counterpart of `Analytic` (analytic.py)."""

from collections.abc import Sequence
from typing import ClassVar

from ebm_cli.core.lattice import Lattice
from ebm_cli.core.standardize import Standardization
from ebm_cli.errors import bad
from ebm_cli.types import Space


class DiscreteTarget:
    """A mixin. A subclass has the `space` of its events, and `log_z` in nats, None where it is not known."""

    stands_alone: ClassVar[bool] = True
    space: Space

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an event, *d."""
        return tuple(self.space.shape)

    @property
    def standardization(self) -> Standardization:
        """Discrete events have no other units."""
        return Standardization.identity(self.shape)

    @property
    def column_names(self) -> Sequence[str]:
        return self.standardization.default_names


def lattice_of(shape: Sequence[int], periodic: bool | Sequence[bool]) -> Lattice:
    """The lattice of a config."""
    if not isinstance(periodic, bool) and len(periodic) != len(shape):
        raise bad(f"energy.periodic: a value is needed for each of {len(shape)} axes, not {len(periodic)}", "energy.periodic=true")
    return Lattice.of(shape, periodic)

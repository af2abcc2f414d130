"""Discrete datasets with a known distribution.

A subclass defines `space`, `draw` and `log_prob`; with modes, also `n_modes`, `mode` and `mode_weights`. `log_prob` is -infinity where the
probability is 0. Metrics that sum over all states call it at every state of a space of up to 2^22 states, in parts.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from ebm_cli.core.known_density import KnownDensity
from ebm_cli.types import Space


@dataclass(frozen=True)
class DiscreteDensity(KnownDensity):
    """A distribution of bits. A subclass with categorical events overrides `provides`."""

    provides: ClassVar[frozenset[str]] = frozenset({"binary", "density"})

    @property
    @abstractmethod
    def space(self) -> Space:
        """The space of one event."""

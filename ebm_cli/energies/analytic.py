"""What every energy that is known as it stands shares: nothing to learn, log Z in closed form, a place where chains start.

`ebm sample energy=NAME` draws from them, with no run and no training; samplers are tested on them.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from ebm_cli.core.standardize import Standardization
from ebm_cli.errors import bad
from ebm_cli.types import Energy

Box = list[tuple[float, float]]


class Analytic(nn.Module, Energy, ABC):
    """x (B, *d) -> E(x) (B,). A subclass gives `box`, `length_scale`, `log_z` and `forward`, built from its config alone."""

    trainable: ClassVar[bool] = False
    box: Box  # per coordinate, where the mass is: what a quadrature integrates over
    length_scale: float  # the smallest length over which the density changes

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        """Chains start at N(mean, scale^2), (*d)."""
        super().__init__()
        self.register_buffer("mean", mean.to(torch.get_default_dtype()))
        self.register_buffer("scale", scale.to(torch.get_default_dtype()))

    @property
    def shape(self) -> tuple[int, ...]:
        """d."""
        return tuple(self.mean.shape)

    @property
    def frame(self) -> Box:
        """What a picture shows."""
        return self.box

    @property
    def standardization(self) -> Standardization:
        """From the units of x to those of the data."""
        return Standardization.identity(self.shape)

    @property
    def column_names(self) -> list[str]:
        return [f"x{i}" for i in range(self.shape[0])]

    @property
    @abstractmethod
    def log_z(self) -> float | None:
        """log Z in nats, in the units of the data; None where it is not known."""


def at_least(dim: int, least: int) -> None:
    """Refuse what has too few coordinates for its formula."""
    if dim < least:
        raise bad(f"energy.dim: must be at least {least}, not {dim}", f"energy.dim={least}")

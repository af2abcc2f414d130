"""The base class of analytic energies, which have no parameters to train, log Z where it is known, and a distribution for starting chains.

`ebm sample energy=NAME` draws from them without a trained run. The tests of samplers use them as targets.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ebm_cli.core.contracts import Energy
from ebm_cli.core.standardize import Standardization

Box = list[tuple[float, float]]


class Analytic(nn.Module, Energy, ABC):
    """x (B, *d) -> E(x) (B,). A subclass defines `box`, `length_scale`, `log_z` and `forward`, and is built from its config alone."""

    trainable: ClassVar[bool] = False
    box: Box  # the range of each coordinate that holds the mass, over which quadratures integrate
    length_scale: float  # the smallest length over which the density changes

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        """Chains start at draws from N(mean, scale^2); both are (*d)."""
        super().__init__()
        self.register_buffer("mean", mean.to(torch.get_default_dtype()))
        self.register_buffer("scale", scale.to(torch.get_default_dtype()))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an event, *d."""
        return tuple(self.mean.shape)

    @property
    def frame(self) -> Box:
        """The range of each coordinate that figures show."""
        return self.box

    @property
    def standardization(self) -> Standardization:
        """The map from the coordinates of x to those of the data."""
        return Standardization.identity(self.shape)

    @property
    def column_names(self) -> Sequence[str]:
        return self.standardization.default_names

    @property
    @abstractmethod
    def log_z(self) -> float | None:
        """log Z in nats, in the units of the data; None where it is not known."""

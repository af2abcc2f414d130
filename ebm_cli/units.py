"""From the units in which a model works to the units of the data.

A dataset standardises once, u = (y - mean) / scale; models, step sizes and noise levels act on u, and everything reported is about y:

    log p_y(y) = log p_u(u) - sum log scale
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Units:
    """`mean` and `scale` are (*d), in double precision."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def identity(cls, shape: tuple[int, ...]) -> "Units":
        """For data that is modelled as it is."""
        return cls(torch.zeros(shape, dtype=torch.double), torch.ones(shape, dtype=torch.double))

    @classmethod
    def of(cls, y: Tensor) -> "Units":
        """Fitted to the rows of y, (N, *d)."""
        return cls(y.double().mean(0), y.double().std(0, correction=0))

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Units":
        return cls(torch.tensor(stored["mean"], dtype=torch.double), torch.tensor(stored["scale"], dtype=torch.double))

    def to_json(self) -> dict[str, Any]:
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @property
    def log_det(self) -> float:
        """log |dy/du|, the sum of log scale: log Z and the NLL in data units are greater by this."""
        return self.scale.log().sum().item()

    def to_data(self, u: Tensor) -> Tensor:
        """(..., *d), in double precision."""
        return u.cpu().double() * self.scale + self.mean

    def from_data(self, y: Tensor) -> Tensor:
        """(..., *d), in double precision."""
        return (y.double() - self.mean) / self.scale

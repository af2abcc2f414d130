"""From the units in which a model works to the units of the data: an affine map.

A dataset standardises once, u = (y - mean) / scale; models, step sizes and noise levels act on u, and everything reported is about y:

    log p_y(y) = log p_u(u) - sum log scale

With a `matrix` A of orthogonal columns, y = mean + scale * (A u): u are K whitened principal components, and what lies across them is
left out. Such a y has no density: log-densities are those of u.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Standardization:
    """`mean` and `scale` are (*d), in double precision; `matrix` is (d, K), or None where u has the data's own coordinates."""

    mean: Tensor
    scale: Tensor
    matrix: Tensor | None = None

    @classmethod
    def identity(cls, shape: tuple[int, ...]) -> "Standardization":
        """For data that is modelled as it is."""
        return cls(torch.zeros(shape, dtype=torch.double), torch.ones(shape, dtype=torch.double))

    @classmethod
    def of(cls, y: Tensor) -> "Standardization":
        """Fitted to the rows of y, (N, *d)."""
        return cls(y.double().mean(0), y.double().std(0, correction=0))

    def principal(self, y: Tensor, n_components: int) -> "Standardization":
        """With the matrix of the first principal components of the standardised rows of y, (N, d): there u has unit covariance.

        A component's sign is that of its greatest entry. One without variance has no scale: its column is zero.
        """
        z = self.from_data(y)
        variance, vectors = torch.linalg.eigh(z.T @ z / len(z))
        variance, vectors = variance.flip(0)[:n_components], vectors.flip(1)[:, :n_components]
        sign = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
        std = torch.where(variance > 1e-12 * len(self.mean), variance, 0).sqrt()
        return Standardization(self.mean, self.scale, (sign * vectors * std).contiguous())

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Standardization":
        mean, scale, matrix = (stored[name] for name in ("mean", "scale", "matrix"))
        return cls(*(None if one is None else torch.tensor(one, dtype=torch.double) for one in (mean, scale, matrix)))

    def to_json(self) -> dict[str, Any]:
        matrix = None if self.matrix is None else self.matrix.tolist()
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist(), "matrix": matrix}

    @property
    def log_det(self) -> float:
        """log |dy/du|, the sum of log scale: log Z and the NLL in data units are greater by this. With a matrix they are those of u: 0."""
        return self.scale.log().sum().item() if self.matrix is None else 0.0

    def to_data(self, u: Tensor) -> Tensor:
        """(..., *d), in double precision."""
        u = u.cpu().double()
        return (u if self.matrix is None else u @ self.matrix.T) * self.scale + self.mean

    def from_data(self, y: Tensor) -> Tensor:
        """(..., *d) or, with a matrix, (..., K), in double precision."""
        z = (y.double() - self.mean) / self.scale
        return z if self.matrix is None else z @ (self.matrix / self.matrix.square().sum(0))

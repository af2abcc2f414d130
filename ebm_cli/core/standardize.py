"""The affine map between the coordinates u of the model and the coordinates y of the data.

    u = (y - mean) / scale,    log p_y(y) = log p_u(u) - sum log scale

Models, step sizes and noise levels act on u; everything that is reported refers to y. With a `matrix` A of orthogonal columns,
y = mean + scale * (A u): u are K whitened principal components, and the remaining directions are dropped. Such a y has no density, and
log-densities are those of u.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


def varies(x: Tensor, dim: int, *, keepdim: bool = False) -> Tensor:
    """Whether a coordinate takes more than one value along an axis. The border pixels of images often do not."""
    return x.amax(dim, keepdim=keepdim) > x.amin(dim, keepdim=keepdim)


def spread(x: Tensor, dim: int, *, keepdim: bool = False) -> Tensor:
    """The standard deviation along an axis. It is 1 for a constant coordinate, so that one can divide by it."""
    return x.std(dim, keepdim=keepdim).where(varies(x, dim, keepdim=keepdim), 1)


def event_scale(x: Tensor, event_ndim: int) -> Tensor:
    """The scale of each coordinate of the events x, (*m, N, *d) -> (*m, *d).

    Coordinates of vectors have their own standard deviation. The entries of an array share one scale, the root mean square of their
    standard deviations: the border pixels of images hardly vary, and divided by their own scale a noisy event would be far from the data.
    """
    if event_ndim == 1:
        return spread(x, -2)
    batch, axes = -1 - event_ndim, tuple(range(-event_ndim, 0))
    variance = x.var(batch).mean(axes, keepdim=True)
    return variance.sqrt().where(variance > 0, 1).expand_as(x.select(batch, 0)).contiguous()


@dataclass(frozen=True)
class Standardization:
    """`mean` and `scale` are (*d), in double precision; `matrix` is (d, K), or None without principal components."""

    mean: Tensor
    scale: Tensor
    matrix: Tensor | None = None

    @classmethod
    def identity(cls, shape: tuple[int, ...]) -> "Standardization":
        """The map that changes nothing."""
        return cls(torch.zeros(shape, dtype=torch.double), torch.ones(shape, dtype=torch.double))

    @classmethod
    def of(cls, y: Tensor) -> "Standardization":
        """Fitted to the rows of y: column by column for (N, d); with a common mean and scale for arrays (N, *d) of higher rank.

        The pixels of an image share one scale because a pixel that never changes has a scale of zero.
        """
        y = y.double()
        if y.ndim == 2:
            return cls(y.mean(0), y.std(0, correction=0))
        return cls(*(value.expand(y.shape[1:]).contiguous() for value in (y.mean(), y.std(correction=0))))

    def principal(self, y: Tensor, n_components: int) -> "Standardization":
        """This map, with the matrix of the first principal components of the standardized rows of y, (N, d): u has unit covariance.

        The sign of a component makes its largest entry positive. The column of a component without variance is zero.
        """
        z = self.from_data(y)
        variance, vectors = torch.linalg.eigh(z.T @ z / len(z))
        variance, vectors = variance.flip(0)[:n_components], vectors.flip(1)[:, :n_components]
        sign = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
        std = torch.where(variance > 1e-12 * len(self.mean), variance, 0).sqrt()
        return Standardization(self.mean, self.scale, (sign * vectors * std).contiguous())

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Standardization":
        values = (stored[name] for name in ("mean", "scale", "matrix"))
        return cls(*(None if value is None else torch.tensor(value, dtype=torch.double) for value in values))

    def to_json(self) -> dict[str, Any]:
        matrix = None if self.matrix is None else self.matrix.tolist()
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist(), "matrix": matrix}

    @property
    def default_names(self) -> list[str]:
        """x0, x1, ...: the coordinates of the data in row-major order."""
        return [f"x{i}" for i in range(self.mean.numel())]

    @cached_property
    def log_det(self) -> float:
        """log |dy/du| = sum log scale, which is added to log Z and the NLL to obtain them in data units. It is 0 with a matrix."""
        return self.scale.log().sum().item() if self.matrix is None else 0.0

    def to_data(self, u: Tensor) -> Tensor:
        """y for u, (..., *d), in double precision."""
        u = u.cpu().double()
        return (u if self.matrix is None else u @ self.matrix.T) * self.scale + self.mean

    def from_data(self, y: Tensor) -> Tensor:
        """u for y, (..., *d) or, with a matrix, (..., K), in double precision."""
        z = (y.double() - self.mean) / self.scale
        return z if self.matrix is None else z @ (self.matrix / self.matrix.square().sum(0))

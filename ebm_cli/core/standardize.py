"""The map between the coordinates u of the model and the coordinates y of the data.

    u = (w(y) - mean) / scale,    log p_y(y) = log p_u(u) - log_det + log_warp(y)
    log_det = sum log scale,      log_warp(y) = sum log w'(y)

w is the identity, or a monotone map of each column (`Warp`). Models, step sizes and noise levels act on u; everything that is reported
refers to y: E(y) = E(u) - log_warp(y) and log Z = log Z of u + log_det, so that log p(y) = -E(y) - log Z. With a `matrix` A of orthogonal
columns, w(y) = mean + scale * (A u): u are K whitened principal components, and the remaining directions are dropped. Such a y has no
density, and log-densities are those of u.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ebm_cli.core.warp import Warp

Transform = Literal["standard", "robust", "quantile"]
QUARTILES = 1.3489795003921634  # the interquartile range of the standard normal distribution


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
    """`mean` and `scale` are (*d), in double precision; `matrix` is (d, K), or None without principal components.

    `warp` is the map w, or None for the identity.
    """

    mean: Tensor
    scale: Tensor
    matrix: Tensor | None = None
    warp: Warp | None = None

    @classmethod
    def identity(cls, shape: tuple[int, ...]) -> "Standardization":
        """The map that changes nothing."""
        return cls(torch.zeros(shape, dtype=torch.double), torch.ones(shape, dtype=torch.double))

    @classmethod
    def of(cls, y: Tensor, transform: Transform = "standard") -> "Standardization":
        """Fitted to the rows of y: column by column for (N, d); with a common map for the entries of arrays (N, *d) of higher rank.

        `standard` takes the mean and the standard deviation. `robust` takes the median and, as the scale, the interquartile range in units
        of that of the standard normal distribution; it may be 0. `quantile` takes the mean and the standard deviation of w(y). The pixels
        of an image share one scale because a pixel that never changes has a scale of zero.
        """
        y, shape = y.double(), y.shape[1:]
        columns, warp = y if y.ndim == 2 else y.reshape(-1, 1), None
        if transform == "robust":
            low, middle, high = torch.from_numpy(np.quantile(columns.numpy(), [0.25, 0.5, 0.75], axis=0))
            fitted = middle, (high - low) / QUARTILES
        else:
            if transform == "quantile":
                warp = Warp.fit(columns.numpy())
                columns = warp(columns)
            fitted = columns.mean(0), columns.std(0, correction=0)
        return cls(*(value.expand(shape).contiguous() for value in fitted), warp=warp)

    def principal(self, y: Tensor, n_components: int) -> "Standardization":
        """This map, with the matrix of the first principal components of the standardized rows of y, (N, d): u has unit covariance.

        The sign of a component makes its largest entry positive. The column of a component without variance is zero.
        """
        z = self.from_data(y)
        variance, vectors = torch.linalg.eigh(z.T @ z / len(z))
        variance, vectors = variance.flip(0)[:n_components], vectors.flip(1)[:, :n_components]
        sign = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
        std = torch.where(variance > 1e-12 * len(self.mean), variance, 0).sqrt()
        return replace(self, matrix=(sign * vectors * std).contiguous())

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Standardization":
        values = (stored[name] for name in ("mean", "scale", "matrix"))
        tensors = (None if value is None else torch.tensor(value, dtype=torch.double) for value in values)
        return cls(*tensors, None if stored["warp"] is None else Warp.from_json(stored["warp"]))

    def is_valid(self, shape: Sequence[int]) -> bool:
        """Whether the tensors are finite, invertible, and those of events of a shape of the model."""
        tensors = [value for value in (self.mean, self.scale, self.matrix) if value is not None]
        finite = all(value.isfinite().all() for value in tensors) and bool((self.scale > 0).all())
        expected = tuple(shape) if self.matrix is None else (*self.mean.shape, *shape)
        fits = self.mean.shape == self.scale.shape and tensors[-1].shape == expected
        return finite and fits and (self.warp is None or self.warp.is_valid((1, self.mean.numel())))

    def to_json(self) -> dict[str, Any]:
        matrix, warp = None if self.matrix is None else self.matrix.tolist(), None if self.warp is None else self.warp.to_json()
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist(), "matrix": matrix, "warp": warp}

    @property
    def default_names(self) -> list[str]:
        """x0, x1, ...: the coordinates of the data in row-major order."""
        return [f"x{i}" for i in range(self.mean.numel())]

    @cached_property
    def log_det(self) -> float:
        """sum log scale, which is added to log Z and the NLL to obtain them in data units. It is 0 with a matrix."""
        return self.scale.log().sum().item() if self.matrix is None else 0.0

    @property
    def changes_energy(self) -> bool:
        """Whether `log_warp` depends on y, so that the energy of y is not that of u."""
        return self.warp is not None and self.matrix is None

    def log_warp(self, y: Tensor) -> Tensor:
        """sum log w'(y) over the event, (*b, *d) -> (*b), in nats, which is subtracted from the energy to obtain it in data units.

        It is 0 without a warp, and with a matrix.
        """
        batch = y.shape[: y.ndim - self.mean.ndim]
        return self.warp.log_slope(y).flatten(len(batch)).sum(-1) if self.changes_energy else torch.zeros(batch, dtype=torch.double)

    def score_of(self, score: Tensor, y: Tensor) -> Tensor:
        """grad log p(y) per unit of the data, (N, *d), for the score in the coordinates u at the same points, (N, *d). No matrix.

        It is s(u) du/dy + grad log_warp(y).
        """
        if self.warp is None:
            return score.double() / self.scale
        with torch.enable_grad():
            y = y.detach().double().requires_grad_()
            (gradient,) = torch.autograd.grad(self.log_warp(y).sum(), y)
        return score.double() * self.slope(y.detach()) + gradient

    def slope(self, y: Tensor) -> Tensor:
        """du/dy of each coordinate, (..., *d). No matrix."""
        return (torch.ones_like(y) if self.warp is None else self.warp.log_slope(y).exp()).double() / self.scale

    def to_data(self, u: Tensor) -> Tensor:
        """y for u, (..., *d), in double precision."""
        u = u.cpu().double()
        z = (u if self.matrix is None else u @ self.matrix.T) * self.scale + self.mean
        return z if self.warp is None else self.warp.inverse(z)

    def from_data(self, y: Tensor) -> Tensor:
        """u for y, (..., *d) or, with a matrix, (..., K), in double precision."""
        y = y.double() if self.warp is None else self.warp(y)
        z = (y - self.mean) / self.scale
        return z if self.matrix is None else z @ (self.matrix / self.matrix.square().sum(0))

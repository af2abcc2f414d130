"""A smooth monotone map of each column to normal scores, for columns with heavy tails, outliers, or strong skew.

    w(y) = S(v),    v = asinh((y - center) / width),    log w'(y) = log S'(v) - log(1 + ((y - center) / width)^2) / 2 - log width

S is a monotone rational-quadratic spline (Gregory & Delbourgo 1982) through K knots (v_k, z_k): v_k are quantiles of v over the training
values at the levels (k + 1/2) / K, z_k the normal quantiles of these levels. The slopes at the knots are geometric means of the slopes of
the adjacent intervals (Delbourgo & Gregory 1985). Beyond the outer knots S is linear, so that w is invertible on the whole line, and grows
like log |y| in the tails: among normal values, one of 1e9 is mapped to about 40. w is continuously differentiable.

Every knot is fitted to the rows between its neighbors and costs about 1 / (2 N) nats of held-out log-likelihood, so K grows slowly with N
(`n_knots`). Measured in one dimension as the held-out log-likelihood of the map alone, with 5 to 120 knots: for normal, uniform,
exponential, lognormal, Cauchy, Student t and bimodal values the best K was about 10 for N = 100, 13 for 400, 25 for 2,000, 40 for 10,000
and 70 for 50,000; twice or half as many cost at most about 0.03 nats from N = 400 on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST_KNOTS = 100
CLOSE = 1e-6  # knots that are closer are one; in units of v, where the middle of a column has a width of about 1
CHUNK = 1 << 18  # maximum number of values that are mapped at once


@dataclass(frozen=True)
class Warp:
    """The tensors are in double precision: `center` and `width` (C,), the knots `v`, `z` and the `slope` of S at the knots (C, K).

    C is the number of columns, or 1 for a map that is common to all entries of an event.
    """

    center: Tensor
    width: Tensor
    v: Tensor
    z: Tensor
    slope: Tensor

    @classmethod
    def fit(cls, values: np.ndarray) -> "Warp":
        """The map of columns (N, C), none of which is constant."""
        center = np.median(values, 0)
        width = np.array([np.median(away[away > 0]) for away in np.abs(values - center).T])
        splines = [_spline(np.arcsinh((column - c) / w)) for column, c, w in zip(values.T, center, width, strict=True)]
        size = max(len(v) for v, _, _ in splines)
        v, z, slope = (np.stack(part) for part in zip(*(_padded(*spline, size) for spline in splines), strict=True))
        return cls(*(torch.from_numpy(part) for part in (center, width, v, z, slope)))

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Warp":
        return cls(**{name: torch.tensor(value, dtype=torch.double) for name, value in stored.items()})

    def is_valid(self, sizes: Sequence[int]) -> bool:
        """Whether the map increases and has one of these numbers of columns."""
        finite = all(value.isfinite().all() for value in vars(self).values())
        knots = self.center.shape == self.width.shape and self.v.shape == self.z.shape == self.slope.shape and self.v.ndim == 2
        fits = knots and self.center.shape == self.v.shape[:1] and len(self.v) in sizes and self.v.shape[1] > 1
        rising = (self.width, self.slope, self.v.diff(), self.z.diff())
        return finite and fits and all(bool((part > 0).all()) for part in rising)

    def to_json(self) -> dict[str, Any]:
        return {name: value.tolist() for name, value in vars(self).items()}

    def __call__(self, y: Tensor) -> Tensor:
        """w(y), (..., C), in double precision. With C = 1 the events may have any shape."""
        return self._by_column(lambda part: self._forward(part)[0], y)

    def inverse(self, z: Tensor) -> Tensor:
        """y with w(y) = z, (..., C)."""
        return self._by_column(self._backward, z)

    def log_slope(self, y: Tensor) -> Tensor:
        """log w'(y) for each value, (..., C), in nats."""
        return self._by_column(lambda part: self._forward(part)[1], y)

    def _by_column(self, function: Any, y: Tensor) -> Tensor:
        """Apply a function of (C, n) to values (..., C), in parts."""
        flat = y.double().reshape(y.numel() // len(self.center), len(self.center))  # there may be no values
        parts = [function(part.T.contiguous()).T for part in flat.split(max(CHUNK // len(self.center), 1))]
        return torch.cat(parts).reshape(y.shape) if parts else flat.reshape(y.shape)

    def _forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """w(y) and log w'(y), (C, n)."""
        t = (y - self.center[:, None]) / self.width[:, None]
        v = torch.asinh(t)
        (v0, v1), (z0, z1), (d0, d1), outside = self._interval(v, self.v)
        s, x = (z1 - z0) / (v1 - v0), ((v - v0) / (v1 - v0)).clamp(0, 1)
        below = s + (d1 + d0 - 2 * s) * x * (1 - x)
        inside = z0 + (z1 - z0) * (s * x * x + d0 * x * (1 - x)) / below
        slope = (s / below) ** 2 * (d1 * x * x + 2 * s * x * (1 - x) + d0 * (1 - x) ** 2)
        edge_v, edge_z, edge = (torch.where(outside < 0, low, high) for low, high in ((v0, v1), (z0, z1), (d0, d1)))
        z = torch.where(outside == 0, inside, edge_z + edge * (v - edge_v))
        slope = torch.where(outside == 0, slope, edge)
        return z, slope.log() - torch.hypot(t, torch.ones_like(t)).log() - self.width[:, None].log()

    def _backward(self, z: Tensor) -> Tensor:
        (v0, v1), (z0, z1), (d0, d1), outside = self._interval(z, self.z)
        s, rise = (z1 - z0) / (v1 - v0), (z - z0).clamp(torch.zeros_like(z0), z1 - z0)
        bend = rise * (d1 + d0 - 2 * s)
        a, b, c = (z1 - z0) * (s - d0) + bend, (z1 - z0) * d0 - bend, -s * rise
        x = 2 * c / (-b - (b * b - 4 * a * c).clamp(min=0).sqrt())  # the root of a x^2 + b x + c in [0, 1], without cancellation
        edge_v, edge_z, edge = (torch.where(outside < 0, low, high) for low, high in ((v0, v1), (z0, z1), (d0, d1)))
        v = torch.where(outside == 0, v0 + x * (v1 - v0), edge_v + (z - edge_z) / edge)
        return self.center[:, None] + self.width[:, None] * torch.sinh(v)

    def _interval(self, at: Tensor, knots: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        """v, z and the slope at both ends of the interval of each value, (C, n), and -1, 0 or 1: below, between or above the knots."""
        last = knots.shape[1] - 1
        k = (torch.searchsorted(knots, at.detach().contiguous(), right=True) - 1).clamp(0, last - 1)
        ends = [(table.gather(1, k), table.gather(1, k + 1)) for table in (self.v, self.z, self.slope)]
        return *ends, (at > knots[:, -1:]).int() - (at < knots[:, :1]).int()


def n_knots(n: int) -> int:
    """The number of knots for n values."""
    return int(min(max(round(1.2 * n**0.4), 3), MOST_KNOTS))


def _spline(v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The knots v, z of a column of values (N,), and the slopes at the knots, (K,). Knots at tied values become one."""
    k = n_knots(len(v))
    levels = (np.arange(k) + 0.5) / k
    v, z = np.quantile(v, levels, method="hazen"), torch.special.ndtri(torch.from_numpy(levels)).numpy()
    group = np.concatenate([[0], np.cumsum(np.diff(v) > CLOSE)])
    v, z = (np.bincount(group, part) / np.bincount(group) for part in (v, z))
    if len(v) == 1:
        return np.append(v, v + 1), np.append(z, z + 1), np.ones(2)
    width, rise = np.diff(v), np.diff(z) / np.diff(v)
    share = width[:-1] / (width[:-1] + width[1:])
    inner = rise[:-1] ** (1 - share) * rise[1:] ** share
    return v, z, np.concatenate([rise[:1], inner, rise[-1:]])


def _padded(v: np.ndarray, z: np.ndarray, slope: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same spline with `size` knots: the additional knots lie on the line beyond the last one."""
    more = np.arange(1, size - len(v) + 1)
    return np.append(v, v[-1] + more), np.append(z, z[-1] + slope[-1] * more), np.append(slope, np.full(len(more), slope[-1]))

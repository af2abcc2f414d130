"""A mixture of isotropic Gaussians: p(x) = sum_k w_k N(x; scale c_k, (scale std_k)^2 I), in any dimension.

The modes are the components if any two centres are at least six standard deviations apart: then at most one point in 700 is nearer to
the centre of another component than to its own. Otherwise the dataset has no modes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ebm_cli.core.densities import Density, log_mixture, nearest
from ebm_cli.core.model import constant
from ebm_cli.core.precision import check_resolved
from ebm_cli.core.rng import Rng
from ebm_cli.errors import bad
from ebm_cli.types import Positive, Positives

APART = 6.0  # the smallest distance between the centres of modes, in standard deviations


@dataclass(frozen=True)
class GaussianMixture(Density):
    """`centres` are (K, d). `weights`, (K,), need not sum to one; null means equal weights. `std` is one number for all components, or one
    per component, (K,). `scale` multiplies `centres` and `std`."""

    centres: Sequence[Sequence[float]]
    weights: Sequence[Positive] | None
    std: Positive | Positives
    scale: Positive

    def __post_init__(self) -> None:
        super().__post_init__()
        n = len(self.centres)
        if not n or not self.centres[0] or len({len(centre) for centre in self.centres}) > 1:
            raise bad(
                "dataset.centres: every centre must have the same number of coordinates, at least one", "dataset.centres=[[0,0],[1,2]]"
            )
        for name, values, single in (("weights", self.weights, "null"), ("std", self.std, "1.0")):
            if isinstance(values, tuple) and len(values) != n:
                message = f"dataset.{name}: {len(values)} values for {n} centres"
                raise bad(message, f"give one value for each centre, or use dataset.{name}={single}")
        check_resolved("dataset.std", farthest=max(abs(end) for ends in self.box for end in ends), smallest=self.length_scale)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.centres[0]),)

    @property
    def box(self) -> list[tuple[float, float]]:
        reach = 6.5 * self._std.unsqueeze(-1)
        low, high = (self._centre - reach).amin(0).tolist(), (self._centre + reach).amax(0).tolist()
        return list(zip(low, high, strict=True))

    @property
    def start(self) -> tuple[Tensor, Tensor]:
        """The exact mean and standard deviation. The variance is the sum of those between and within the components."""
        mean = self._weight @ self._centre
        variance = self._weight @ ((self._centre - mean).square() + self._std.square().unsqueeze(-1))
        return mean, variance.sqrt()

    @property
    def length_scale(self) -> float:
        return self._std.min().item()

    @property
    def mode_weights(self) -> Tensor | None:
        near = len(self.centres) > 1 and torch.pdist(self._centre).min() < APART * self._std.max()
        return None if near else self._weight

    def mode(self, x: Tensor) -> Tensor:
        return nearest(x, self._centre.to(x.device))

    def draw(self, n: int, rng: Rng) -> Tensor:
        u = rng.uniform("component", n)
        component = torch.searchsorted(constant(self._weight.cumsum(0)[:-1].tolist(), u), u, right=True)
        centre, noise = constant(self._centre.tolist(), u)[component], rng.normal("noise", n, *self.shape)
        if isinstance(self.std, tuple):
            return centre.add_(noise.mul_(constant(self._std.tolist(), u)[component].unsqueeze(-1)))
        return centre.add_(noise, alpha=self.std * self.scale)

    def log_prob(self, x: Tensor) -> Tensor:
        return log_mixture(x, self._centre, self._weight.log(), self._std if isinstance(self.std, tuple) else self.std * self.scale)

    @cached_property
    def _centre(self) -> Tensor:
        return self.scale * torch.tensor(self.centres, dtype=torch.double)

    @cached_property
    def _std(self) -> Tensor:
        """The standard deviation of every component, (K,)."""
        return self.scale * torch.tensor(self.std, dtype=torch.double).expand(len(self.centres)).contiguous()

    @cached_property
    def _weight(self) -> Tensor:
        weight = torch.tensor(self.weights or [1.0] * len(self.centres), dtype=torch.double)
        return weight / weight.sum()

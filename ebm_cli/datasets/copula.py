"""A Gaussian copula: the coordinates have known margins F_i and depend on each other through a Gaussian. Sklar 1959; Nelsen 2006.

    x_i = F_i^-1(Phi(z_i)),  z ~ N(0, R);    log p(x) = log N(z; 0, R) + sum_i [log f_i(x_i) - log phi(z_i)],  z_i = Phi^-1(F_i(x_i))
    entropy = sum_i h_i + 1/2 log det R,    h_i the entropy of margin i

R is a full covariance with a given condition number, drawn from `structure_seed` and divided by its standard deviations. core/margins.py
has the margins. Those with an edge, such as the uniform and the exponential distribution, are left out: z is unbounded at the edge, the
score need not be square integrable there, and the Fisher divergence would be infinite.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, MinLen
from torch import Tensor

from ebm_cli.core.log_densities import LOG_2PI
from ebm_cli.core.margins import LENGTH, Margin, from_normal, log_density, to_normal
from ebm_cli.core.rng import Rng
from ebm_cli.core.structured_density import StructuredDensity, covariance_factor
from ebm_cli.types import Count, Natural, Params

REACH = 6.2  # P(|z| > 6.2) = 6e-10
REACH_OF_PICTURE = 3.0


@dataclass(frozen=True)
class Copula(StructuredDensity):
    """`margins` are repeated over the coordinates. `condition` is the condition number of the covariance before it is scaled to R."""

    dim: Count
    margins: Annotated[Sequence[Margin], MinLen(1)]
    condition: Annotated[float, Ge(1)]
    structure_seed: Natural

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def box(self) -> list[tuple[float, float]]:
        return self._range(REACH)

    @property
    def frame(self) -> list[tuple[float, float]]:
        return self._range(REACH_OF_PICTURE)

    @property
    def length_scale(self) -> float:
        """The width of the narrowest direction of z times that of the narrowest margin."""
        return min(LENGTH[margin] for margin in self.margins) * torch.linalg.svdvals(self.fixed["factor"]).min().item()

    def make(self) -> Params:
        """B with R = B B', its inverse, 1/2 log det R, and the place of each coordinate after those of each margin were joined."""
        factor = covariance_factor(Rng(self.structure_seed).at("structure"), "rotation", self.dim, self.condition)
        factor = factor / factor.norm(dim=-1, keepdim=True)
        joined = torch.cat([torch.arange(self.dim)[i :: len(self.margins)] for i in range(len(self.margins))])
        log_scale = torch.linalg.slogdet(factor).logabsdet
        return {"factor": factor, "whitening": torch.linalg.inv(factor), "log_scale": log_scale, "place": joined.argsort()}

    def draw_one(self, n: int, rng: Rng) -> Tensor:
        noise = rng.normal("noise", n, self.dim)
        return self._each(from_normal, (noise @ self.fixed_like(noise)["factor"].T).double()).to(noise)

    def log_prob(self, x: Tensor) -> Tensor:
        x = x.double()
        fixed, z = self.fixed_like(x), self._each(to_normal, x)
        log_normal = -0.5 * ((z @ fixed["whitening"].T).square().sum(-1) + self.dim * LOG_2PI) - fixed["log_scale"]
        return log_normal + (self._each(log_density, x) + 0.5 * (z.square() + LOG_2PI)).sum(-1)

    def _each(self, function: Callable[[Margin, Tensor], Tensor], x: Tensor) -> Tensor:
        """A function of each margin at its coordinates of x, (..., d) -> (..., d)."""
        n = len(self.margins)
        parts = [function(margin, x[..., i::n]) for i, margin in enumerate(self.margins)]
        return torch.cat(parts, -1)[..., self.fixed_like(x)["place"]]

    def _range(self, reach: float) -> list[tuple[float, float]]:
        """The coordinates at z = -reach and z = reach."""
        z = torch.tensor([[-reach], [reach]], dtype=torch.double).expand(2, self.dim)
        low, high = self._each(from_normal, z).tolist()
        return list(zip(low, high, strict=True))

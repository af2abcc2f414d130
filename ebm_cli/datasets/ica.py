"""Independent component analysis: x = A s with independent Laplace sources and a known square mixing matrix, in any dimension.

    log p(x) = -sum_i |s_i| / b - d log 2b - log |det A|,    s = A^-1 x,    entropy = d (1 + log 2b) + log |det A|

b = `scale`. A = Q diag(a) P with random rotations Q and P, drawn from `structure_seed`, and singular values a_i equally spaced in log from
condition^-1/2 to condition^1/2, so |det A| = 1. The covariance is 2 b^2 A A'. log p has kinks where a source is zero: the score exists
almost everywhere and jumps there. Hyvarinen, Karhunen & Oja 2001.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core.rng import Rng
from ebm_cli.core.structured_density import StructuredDensity, rotation, spectrum
from ebm_cli.types import Count, Natural, Params, Positive

OUTSIDE = 1e-9  # the probability outside the box


@dataclass(frozen=True)
class ICA(StructuredDensity):
    """`dim` sources and coordinates; `condition` is the condition number of A, and `scale` is b."""

    dim: Count
    condition: Annotated[float, Ge(1)]
    scale: Positive
    structure_seed: Natural

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def box(self) -> list[tuple[float, float]]:
        """Chernoff bound: P(|x_i| > t) <= 2 e^(-theta t) prod_j 1 / (1 - theta^2 b^2 A_ij^2) for any theta below 1 / (b max_j |A_ij|)."""
        row = self.scale * self.fixed["mixing"].abs()
        share = torch.linspace(0, 1, 201, dtype=torch.double)[1:-1].unsqueeze(-1)  # theta in units of its bound, (199, 1)
        theta = share / row.amax(-1)  # (199, d)
        log_moment = -torch.stack([(-(angle.unsqueeze(-1) * row).square()).log1p().sum(-1) for angle in theta])
        reach = ((log_moment - math.log(OUTSIDE / 2)) / theta).amin(0).tolist()
        return [(-end, end) for end in reach]

    @property
    def length_scale(self) -> float:
        """The scale of the narrowest direction, b times the smallest singular value."""
        return self.scale * spectrum(self.dim, self.condition).min().item()

    def make(self) -> Params:
        rng = Rng(self.structure_seed).at("structure")
        left, right, singular = rotation(rng, "left", self.dim), rotation(rng, "right", self.dim), spectrum(self.dim, self.condition)
        return {"mixing": left * singular @ right, "unmixing": right.T / singular @ left.T}

    def draw_one(self, n: int, rng: Rng) -> Tensor:
        """The determinant of a 2 x 2 matrix of standard normals has the Laplace distribution with b = 1."""
        a, b, c, d = rng.normal("sources", 4, n, self.dim)
        return (self.scale * (a * d - b * c)) @ self.fixed_like(a)["mixing"].T

    def log_prob(self, x: Tensor) -> Tensor:
        x = x.double()
        sources = x @ self.fixed_like(x)["unmixing"].T
        return -sources.abs().sum(-1) / self.scale - self.dim * math.log(2 * self.scale)

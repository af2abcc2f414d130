"""Mixtures of Gaussians with full covariances, p(x) = sum_k w_k N(x; c_k, A_k A_k'), in any dimension.

A subclass gives the weights w_k, centres c_k and factors A_k; other elliptical components replace the radial part of the density. One
point costs K d^2 operations, and memory grows with K d^2 and with the number of coordinates of the points. The modes are the components
if any two are well separated on the line through their centres c_j and c_k: |c_k - c_j| is at least the sum of their standard deviations
on this line times `reach_of_mode`. Otherwise the dataset has no modes.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.core.log_densities import LOG_2PI
from ebm_cli.core.precision import check_resolved
from ebm_cli.core.rng import Rng
from ebm_cli.core.structured_density import StructuredDensity
from ebm_cli.types import Params


@dataclass(frozen=True)
class FullMixtureDensity(StructuredDensity):
    """A subclass defines `components`. Shapes: K components of d coordinates."""

    @abstractmethod
    def components(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights (K,), which need not sum to one, centres (K, d) and factors A_k (K, d, d), in double precision."""

    @property
    def reach(self) -> float:
        """The r for which a standardized coordinate z of a component has P(|z| > r) below 1e-9."""
        return 6.5

    @property
    def reach_of_mode(self) -> float:
        """The r for which a standardized coordinate z of a component has P(z > r) = 1/741, the value for r = 3 and a Gaussian."""
        return 3.0

    def log_radial(self, squared: Tensor) -> Tensor:
        """log p of a component with c = 0 and A = 1, as a function of |z|^2: by default that of a standard normal."""
        return -0.5 * (squared + self.shape[0] * LOG_2PI)

    def standard(self, n: int, rng: Rng) -> Tensor:
        """Draws of a component with c = 0 and A = 1, (n, d)."""
        return rng.normal("noise", n, *self.shape)

    def make(self) -> Params:
        weight, centre, factor = self.components()
        weight = weight / weight.sum()
        return {
            "weight": weight,
            "cumulative": weight.cumsum(0)[:-1].contiguous(),
            "centre": centre,
            "factor": factor,
            "whitening": torch.linalg.inv(factor),
            "log_scale": weight.log() - torch.linalg.slogdet(factor).logabsdet,
        }

    @property
    def box(self) -> list[tuple[float, float]]:
        centre, reach = self.fixed["centre"], self.reach * self.fixed["factor"].norm(dim=-1)
        return list(zip((centre - reach).amin(0).tolist(), (centre + reach).amax(0).tolist(), strict=True))

    @property
    def length_scale(self) -> float:
        """The smallest singular value of a factor: the smallest standard deviation in any direction."""
        return torch.linalg.svdvals(self.fixed["factor"]).min().item()

    def check(self, key: str) -> None:
        """Refuse a mixture that single precision does not resolve."""
        check_resolved(key, farthest=max(abs(end) for ends in self.box for end in ends), smallest=self.length_scale)

    @property
    def mode_weights(self) -> Tensor | None:
        centre, factor = self.fixed["centre"], self.fixed["factor"]
        between = centre.unsqueeze(1) - centre  # (K, K, d)
        distance = between.norm(dim=-1)
        width = (between @ factor).norm(dim=-1)  # [j, k]: the standard deviation of component j on this line, times the distance
        apart = distance.square() >= self.reach_of_mode * (width + width.T)
        coincide = (distance == 0) & ~torch.eye(len(centre), dtype=torch.bool)
        return self.fixed["weight"] if apart.all() and not coincide.any() else None

    def mode(self, x: Tensor) -> Tensor:
        """The component with the largest w_k p_k(x)."""
        return self._log_components(x).argmax(-1)

    def draw_one(self, n: int, rng: Rng) -> Tensor:
        z, u = self.standard(n, rng), rng.uniform("component", n)
        fixed = self.fixed_like(z)
        component = torch.searchsorted(fixed["cumulative"], u, right=True)
        x = fixed["centre"][component]
        for k, factor in enumerate(fixed["factor"]):  # gathered factors would be n matrices
            x = x + (z * (component == k).unsqueeze(-1)) @ factor.T
        return x

    def log_prob(self, x: Tensor) -> Tensor:
        return self._log_components(x).logsumexp(-1)

    def _log_components(self, x: Tensor) -> Tensor:
        """log w_k p_k(x), (..., d) -> (..., K)."""
        x = x.double()
        fixed = self.fixed_like(x)
        pairs = zip(fixed["centre"], fixed["whitening"], strict=True)
        squared = torch.stack([((x - centre) @ whitening.T).square().sum(-1) for centre, whitening in pairs], -1)
        return fixed["log_scale"] + self.log_radial(squared)

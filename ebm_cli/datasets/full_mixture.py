"""A mixture of Gaussians with full covariances in any dimension: p(x) = sum_k w_k N(x; c_k, C_k), drawn from `structure_seed`.

    C_k = std^2 Q_k diag(l_1 ... l_d) Q_k',    l_i equally spaced in log from condition^-1/2 to condition^1/2

The Q_k are independent random rotations, so det C_k = std^(2d). The centres are Gaussian points, scaled such that the two nearest are
`separation` apart, and their mean is 0. The modes are the components if these are separated; see core/full_mixture_density.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core.full_mixture_density import FullMixtureDensity
from ebm_cli.core.rng import Rng
from ebm_cli.core.structured_density import covariance_factor
from ebm_cli.errors import bad
from ebm_cli.types import Count, Natural, NonNegative, Positive


@dataclass(frozen=True)
class FullMixture(FullMixtureDensity):
    """`weights`, (K,), need not sum to one; null means equal weights. `separation` has the units of x."""

    dim: Count
    n_components: Count
    weights: Sequence[Positive] | None
    separation: NonNegative
    condition: Annotated[float, Ge(1)]
    std: Positive
    structure_seed: Natural

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights is not None and len(self.weights) != self.n_components:
            fault = f"dataset.weights: {len(self.weights)} values for {self.n_components} components"
            raise bad(fault, "give one value for each component, or use weights=null")
        self.check("dataset.std")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim,)

    def components(self) -> tuple[Tensor, Tensor, Tensor]:
        rng, n = Rng(self.structure_seed).at("structure"), self.n_components
        weight = torch.tensor(self.weights or [1.0] * n, dtype=torch.double)
        centre = rng.normal("centres", n, self.dim).double()
        centre = centre - centre.mean(0)
        if n > 1:
            centre *= self.separation / torch.pdist(centre).min()
        factors = [self.std * covariance_factor(rng.at(k), "rotation", self.dim, self.condition) for k in range(n)]
        return weight, centre, torch.stack(factors)

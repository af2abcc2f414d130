"""A mixture of round Gaussians: modes of known weights, which a sampler must find in these proportions.

    E(x) = -log sum_k w_k N(x; c_k, std_k^2 I),    log Z = 0

Local moves cross between modes of distance r about exp(r^2 / 8 std^2) times more slowly than they move within one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ebm_cli.core import log_densities
from ebm_cli.energies.analytic import Analytic
from ebm_cli.errors import bad
from ebm_cli.types import Positive


class GaussianMixture(Analytic):
    """x (B, d) -> E(x) (B,). `centres` (K, d), `stds` and `weights` (K): weights count in proportion."""

    def __init__(self, *, centres: Sequence[Sequence[float]], stds: Sequence[Positive], weights: Sequence[Positive]) -> None:
        if not centres or len({len(centre) for centre in centres} | {0}) != 2 or not len(centres) == len(stds) == len(weights):
            message = (
                f"energy.centres: {len(centres)} points of the same length need as many stds ({len(stds)}) and weights ({len(weights)})"
            )
            raise bad(message, "energy.centres=[[-2,0],[2,0]] energy.stds=[0.5,0.5] energy.weights=[1,1]")
        centre, std, weight = (torch.tensor(values, dtype=torch.double) for values in (centres, stds, weights))
        weight = weight / weight.sum()
        mean = weight @ centre
        variance = weight @ ((centre - mean).square() + std.square().unsqueeze(-1))
        super().__init__(mean, variance.sqrt())
        for name, value in {"centres": centre, "log_weights": weight.log(), "stds": std}.items():
            self.register_buffer(name, value.to(self.mean))
        reach = 6 * std.unsqueeze(-1)
        self.box = list(zip((centre - reach).amin(0).tolist(), (centre + reach).amax(0).tolist(), strict=True))
        self.length_scale = std.min().item()

    @property
    def log_z(self) -> float:
        return 0.0

    def forward(self, x: Tensor) -> Tensor:
        return -log_densities.mixture(x, self.centres, self.log_weights, self.stds)

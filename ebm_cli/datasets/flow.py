"""A frozen flow: affine coupling layers with fixed random networks transform a standard normal. Dinh et al. 2017 (arXiv:1605.08803).

    a, b = halves of z in a random order,  (s, t) = network(a),  z' = (a, b e^s + t);    log p(x) = log N(z; 0, I) - sum of all s

z comes from x by the inverses of the layers, in reverse order. A network has one hidden layer, and its outputs are bounded: |s| is at
most `log_scale` and |t| at most `shift`. With two coordinates or more, no half is empty. The entropy has no closed form.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from ebm_cli.core.densities import in_parts
from ebm_cli.core.log_densities import LOG_2PI
from ebm_cli.core.rng import Rng
from ebm_cli.core.structured_density import StructuredDensity
from ebm_cli.types import Count, Natural, Params, Positive

REACH = 6.2  # P(|z| > 6.2) = 6e-10


@dataclass(frozen=True)
class Flow(StructuredDensity):
    """`n_layers` couplings; `width` is the size of the hidden layer of their networks. All weights are drawn from `structure_seed`."""

    dim: Annotated[int, Ge(2)]
    n_layers: Count
    width: Count
    log_scale: Positive
    shift: Positive
    structure_seed: Natural

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def box(self) -> list[tuple[float, float]]:
        """A layer maps |b| <= r to |b'| <= r e^log_scale + shift."""
        reach = torch.full((self.dim,), REACH, dtype=torch.double)
        for order in self.fixed["order"]:
            reach = reach[order]
            reach[self._n_kept :] = reach[self._n_kept :] * math.exp(self.log_scale) + self.shift
        return [(-end, end) for end in reach.tolist()]

    @property
    def frame(self) -> list[tuple[float, float]]:
        """The range of draws. The box is far wider."""
        x = self.draw(2000, Rng(0).at("frame"))
        return list(zip(x.amin(0).tolist(), x.amax(0).tolist(), strict=True))

    @property
    def length_scale(self) -> float:
        """A bound of the width: every second layer contracts a coordinate by e^-log_scale at most."""
        return math.exp(-self.log_scale * math.ceil(self.n_layers / 2))

    def make(self) -> Params:
        rng, n_moved = Rng(self.structure_seed).at("structure"), self.dim - self._n_kept
        return {
            "order": torch.stack([rng.at(layer).permutation("order", self.dim) for layer in range(self.n_layers)]),
            "first": rng.normal("first", self.n_layers, self.width, self._n_kept).double() / self._n_kept**0.5,
            "bias": rng.normal("bias", self.n_layers, self.width).double(),
            "second": rng.normal("second", self.n_layers, 2 * n_moved, self.width).double() * (2 / self.width) ** 0.5,
        }

    def draw_one(self, n: int, rng: Rng) -> Tensor:
        x = rng.normal("noise", n, self.dim)
        for layer, order in enumerate(self.fixed_like(x)["order"]):
            kept, moved = self._halves(x[..., order])
            log_scale, shift = self._network(layer, kept)
            x = torch.cat([kept, moved * log_scale.exp() + shift], -1)
        return x

    def log_prob(self, x: Tensor) -> Tensor:
        return in_parts(self._log_prob, x.double(), max(self.dim, self.width))

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, (..., d), and the log-determinant of the Jacobian of z -> x, (...)."""
        log_det = x.new_zeros(x.shape[:-1])
        order = self.fixed_like(x)["order"]
        for layer in reversed(range(self.n_layers)):
            kept, moved = self._halves(x)
            log_scale, shift = self._network(layer, kept)
            x = torch.cat([kept, (moved - shift) * (-log_scale).exp()], -1)[..., order[layer].argsort()]
            log_det = log_det + log_scale.sum(-1)
        return x, log_det

    def _log_prob(self, x: Tensor) -> Tensor:
        z, log_det = self.inverse(x)
        return -0.5 * (z.square().sum(-1) + self.dim * LOG_2PI) - log_det

    @property
    def _n_kept(self) -> int:
        return self.dim // 2

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[..., : self._n_kept], x[..., self._n_kept :]

    def _network(self, layer: int, kept: Tensor) -> tuple[Tensor, Tensor]:
        """s and t, (..., d - d // 2)."""
        fixed = self.fixed_like(kept)
        hidden = (kept @ fixed["first"][layer].T + fixed["bias"][layer]).tanh()
        log_scale, shift = (hidden @ fixed["second"][layer].T).tanh().chunk(2, -1)
        return self.log_scale * log_scale, self.shift * shift

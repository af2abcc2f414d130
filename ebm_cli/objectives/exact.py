"""Maximum likelihood, exactly: E(x) + log Z, with Z by quadrature on a grid, differentiated. For one and two coordinates.

    log Z = log sum_i exp(-E(y_i)) + log h^d,    y: a grid of spacing h over the training data's box, widened, moved at random each step

The random shift makes the sum an unbiased estimate of the integral over the box, however sharp the energy; its logarithm is too low on
average where the energy changes within a cell (by 0.4 nats for a standard deviation of a fifth of the spacing), and mass beyond the box
is not seen. What the network and the optimizer can reach at best:
the reference row of every table. For x ~ N(0, I), E = a |x|^2 / 2 the expectation is a d/2 + (d/2) log(2 pi / a), least at a = 1.
Cost per step and model: `n_points`^d energies besides one per sample. Not for three coordinates or more.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.errors import bad
from ebm_cli.types import Count, Info, NonNegative, Objective, Params


@dataclass(frozen=True)
class ExactLikelihood(Objective):
    """`n_points` per coordinate; `margin`: how far the grid reaches beyond the data on each side, as a fraction of their width."""

    n_points: Count
    margin: NonNegative
    requires: ClassVar[frozenset[str]] = frozenset({"energy"})

    def init(self, model: Model, x_train: Tensor, rng: Rng) -> tuple[Params, Params]:
        flat = x_train.flatten(-model.event_ndim)
        if flat.shape[-1] > 2:
            raise bad(f"objective=exact: quadrature takes at most 2 coordinates, these events have {flat.shape[-1]}", "objective=nce")
        low, high = flat.amin(-2), flat.amax(-2)
        width = (high - low) * (1 + 2 * self.margin)
        axis = torch.arange(self.n_points, device=x_train.device) / self.n_points
        cells = torch.cartesian_prod(*[axis] * flat.shape[-1]).reshape(-1, flat.shape[-1])
        corner = low - self.margin * (high - low)
        log_volume = (width / self.n_points).log().sum(-1, keepdim=True)
        grid = corner.unsqueeze(-2) + width.unsqueeze(-2) * cells
        return {}, {"grid": grid, "spacing": width / self.n_points, "log_volume": log_volume}

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        shift = carry["spacing"] * rng.uniform("shift", carry["spacing"].shape[-1])
        points = (carry["grid"] + shift.unsqueeze(-2)).unflatten(-1, x.shape[x.ndim - model.event_ndim :])
        return {"grid": points, "log_volume": carry["log_volume"]}, carry, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        n = x.shape[x.ndim - 1 - model.event_ndim]
        energy = model.energy(params, torch.cat([x, aux["grid"]], -1 - model.event_ndim))
        log_z = torch.logsumexp(-energy[..., n:], -1, keepdim=True) + aux["log_volume"]
        return energy[..., :n] + log_z, {"energy": energy[..., :n], "log_z": log_z.squeeze(-1)}

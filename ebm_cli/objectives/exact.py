"""Exact maximum likelihood: E(x) + log Z, where Z is a differentiable sum. For one or two real coordinates, and for discrete events.

    log Z = log sum_i exp(-E(y_i)) + log h^d,    y: a randomly shifted grid of spacing h over a widened bounding box of the data

The random shift at each step makes the sum an unbiased estimate of the integral over the box for every energy. Its logarithm is too low on
average where the energy varies within a cell (by 0.4 nats for a standard deviation of a fifth of the spacing), and mass outside the box
is not counted. The results are the best that the network and the optimizer can achieve, and serve as the reference in comparisons of
objectives. For x ~ N(0, I) and E = a |x|^2 / 2 the expectation is a d/2 + (d/2) log(2 pi / a), with its minimum at a = 1.
Cost per step and model: `n_points`^d energies in addition to one per sample. It is not available for three or more real coordinates.

For discrete events Z is the sum over all states, of which there may be 2^16, or the sum of the energy's own closed form
(`log_partition` in core/contracts.py): the loss is then the negative log-likelihood.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.contracts import Objective
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import is_discrete, n_states, states
from ebm_cli.errors import bad
from ebm_cli.types import Count, Info, NonNegative, Params

MOST_STATES = 1 << 16


@dataclass(frozen=True)
class ExactLikelihood(Objective):
    """`n_points`: grid points per coordinate; `margin`: extent of the grid beyond the data on each side, as a fraction of their range.

    Discrete events need neither.
    """

    n_points: Count
    margin: NonNegative
    takes_labels: ClassVar[bool] = False  # the grid points have no labels
    requires: ClassVar[frozenset[str]] = frozenset({"energy"})

    def init(self, model: Model, params: Params, x_train: Tensor, rng: Rng) -> tuple[Params, Params]:
        if is_discrete(model.space):
            check_number(model)
            return {}, {}
        flat = x_train.flatten(-model.event_ndim)
        if flat.shape[-1] > 2:
            raise bad(
                f"objective=exact: quadrature supports at most 2 coordinates, and these events have {flat.shape[-1]}", "objective=nce"
            )
        low, high = flat.amin(-2), flat.amax(-2)
        width = (high - low) * (1 + 2 * self.margin)
        axis = torch.arange(self.n_points, device=x_train.device) / self.n_points
        cells = torch.cartesian_prod(*[axis] * flat.shape[-1]).reshape(-1, flat.shape[-1])
        corner = low - self.margin * (high - low)
        log_volume = (width / self.n_points).log().sum(-1, keepdim=True)
        grid = corner.unsqueeze(-2) + width.unsqueeze(-2) * cells
        return {}, {"grid": grid, "spacing": width / self.n_points, "log_volume": log_volume}

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        if closed_form(model):
            return {}, carry, {}
        if is_discrete(model.space):
            points = states(model.space, device=x.device).to(x)
            points = points.expand(*x.shape[: x.ndim - 1 - model.event_ndim], *points.shape)
            return {"grid": points, "log_volume": x.new_zeros(*x.shape[: x.ndim - 1 - model.event_ndim], 1)}, carry, {}
        shift = carry["spacing"] * rng.uniform("shift", carry["spacing"].shape[-1])
        points = (carry["grid"] + shift.unsqueeze(-2)).unflatten(-1, x.shape[x.ndim - model.event_ndim :])
        return {"grid": points, "log_volume": carry["log_volume"]}, carry, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        if closed_form(model):
            energy = model.energy(params, x)
            log_z = model.call(params, "log_partition").to(energy)
            return energy + log_z.unsqueeze(-1), {"energy": energy, "log_z": log_z}
        n = x.shape[x.ndim - 1 - model.event_ndim]
        energy = model.energy(params, torch.cat([x, aux["grid"]], -1 - model.event_ndim))
        log_z = torch.logsumexp(-energy[..., n:], -1, keepdim=True) + aux["log_volume"]
        return energy[..., :n] + log_z, {"energy": energy[..., :n], "log_z": log_z.squeeze(-1)}


def closed_form(model: Model) -> bool:
    """Whether the energy knows its log Z by a sum of its own."""
    return is_discrete(model.space) and getattr(model.module, "has_log_partition", False)


def check_number(model: Model) -> None:
    """Refuse events with too many states."""
    if n_states(model.space) > MOST_STATES and not closed_form(model):
        message = f"objective=exact: a sum takes at most {MOST_STATES} states, and these events have more"
        raise bad(message, "objective=pseudo_likelihood, or pcd")

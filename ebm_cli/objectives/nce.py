"""Noise-contrastive estimation with a learned log Z. Gutmann & Hyvarinen 2010; 2012 (JMLR 13).

    softplus(-h(x)) + sum_j softplus(h(y_j)),    y_1 .. y_nu ~ q,    h = -E - c - log q - log nu

q is fitted to the training data: a Gaussian, a mixture of Gaussians (by expectation maximisation), or uniform on their box. At the optimum
E + c = -log p: c is log Z. For x ~ N(0, I), E = a |x|^2 / 2 the minimum is at a = 1, c = (d/2) log 2 pi. Cost per sample and step: 1 + nu
energies. Not for data that q hardly covers: high dimensions, thin supports.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ebm_cli.core.mixture import Mixture
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.types import Count, Info, Objective, Params

MARGIN = 0.1  # by which the box of uniform noise is wider than the data on each side


@dataclass(frozen=True)
class NoiseContrastive(Objective):
    """`n_noise` is nu, the noise points per data point; `n_components` those of `noise=mixture`."""

    noise: Literal["gaussian", "mixture", "uniform"]
    n_noise: Count
    n_components: Count
    requires: ClassVar[frozenset[str]] = frozenset({"energy"})

    def init(self, model: Model, x_train: Tensor, rng: Rng) -> tuple[Params, Params]:
        flat = x_train.flatten(-model.event_ndim)
        if self.noise == "uniform":
            low, high = flat.amin(-2, keepdim=True), flat.amax(-2, keepdim=True)
            noise = {"low": low - MARGIN * (high - low), "width": (1 + 2 * MARGIN) * (high - low)}
        else:
            noise = Mixture.fit(flat, self.n_components if self.noise == "mixture" else 1, rng)._asdict()
        return {"log_z": x_train.new_zeros(rng.model_shape)}, noise

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        flat = x.flatten(-model.event_ndim)
        n, d = flat.shape[-2:]
        if self.noise == "uniform":
            noise = carry["low"] + carry["width"] * rng.uniform("noise", n * self.n_noise, d)
            points = torch.cat([flat, noise], -2)
            inside = ((points >= carry["low"]) & (points <= carry["low"] + carry["width"])).all(-1)
            log_q = torch.where(inside, -carry["width"].log().sum(-1), -torch.inf)
        else:
            mixture = Mixture(**carry)
            points = torch.cat([flat, mixture.draw(n * self.n_noise, rng)], -2)
            log_q = mixture.log_prob(points)
        points = points.unflatten(-1, x.shape[x.ndim - model.event_ndim :])
        return {"points": points, "offset": log_q + math.log(self.n_noise)}, carry, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        n = x.shape[x.ndim - 1 - model.event_ndim]
        energy = model.energy(params, aux["points"])
        h = -energy - params["log_z"].unsqueeze(-1) - aux["offset"]
        loss = softplus(-h[..., :n]) + softplus(h[..., n:]).unflatten(-1, (n, self.n_noise)).sum(-1)
        return loss, {"energy": energy[..., :n]}

"""Noise-contrastive estimation with a learned log Z. Gutmann & Hyvarinen 2010; 2012 (JMLR 13).

    softplus(-h(x)) + sum_j softplus(h(y_j)),    y_1 .. y_nu ~ q,    h = -E - c - log q - log nu

q is the Gaussian fitted to the training data. At the optimum E + c = -log p: c is log Z. For x ~ N(0, I), E = a |x|^2 / 2 the
minimum is at a = 1, c = (d/2) log 2 pi. Cost per sample and step: 1 + nu energies. Not for data that q hardly covers: high
dimensions, thin supports.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ebm_cli.model import Model
from ebm_cli.rng import Rng
from ebm_cli.types import Count, Info, Objective, Params


@dataclass(frozen=True)
class NoiseContrastive(Objective):
    """`n_noise` is nu, the noise points per data point."""

    n_noise: Count
    requires: ClassVar[frozenset[str]] = frozenset({"energy"})

    def init(self, model: Model, x_train: Tensor, rng: Rng) -> tuple[Params, Params]:
        flat = x_train.flatten(-model.event_ndim).cpu().double()
        mean = flat.mean(-2, keepdim=True)
        covariance = (flat - mean).mT @ (flat - mean) / flat.shape[-2]
        factor = torch.linalg.cholesky(covariance + 1e-6 * torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1)))
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        noise = {"mean": mean, "factor": factor, "precision_factor": torch.linalg.inv(factor), "log_det": log_det}
        return {"log_z": x_train.new_zeros(rng.model_shape)}, {name: value.to(x_train) for name, value in noise.items()}

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        flat = x.flatten(-model.event_ndim)
        n, d = flat.shape[-2:]
        z = rng.normal("noise", n * self.n_noise, d)
        noise = carry["mean"] + z @ carry["factor"].mT
        white = torch.cat([(flat - carry["mean"]) @ carry["precision_factor"].mT, z], -2)
        log_q = -0.5 * (white * white).sum(-1) - carry["log_det"] - 0.5 * d * math.log(2 * math.pi)
        points = torch.cat([x, noise.unflatten(-1, x.shape[-model.event_ndim :])], -1 - model.event_ndim)
        return {"points": points, "offset": log_q + math.log(self.n_noise)}, carry, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        n = x.shape[-1 - model.event_ndim]
        energy = model.energy(params, aux["points"])
        h = -energy - params["log_z"].unsqueeze(-1) - aux["offset"]
        loss = softplus(-h[..., :n]) + softplus(h[..., n:]).unflatten(-1, (n, self.n_noise)).sum(-1)
        return loss, {"energy": energy[..., :n]}

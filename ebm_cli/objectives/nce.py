"""Noise-contrastive estimation with a learned log Z. Gutmann & Hyvarinen 2010; 2012 (JMLR 13).

    softplus(-h(x)) + sum_j softplus(h(y_j)),    y_1 .. y_nu ~ q,    h = -E - c - log q - log nu

q is the reference of the run, fitted to the training data. If that is the diagonal Gaussian, q is the Gaussian with the full covariance
instead, because draws of the former are too easy to distinguish from the data. At the optimum E + c = -log p, so that c is log Z. For
x ~ N(0, I) and E = a |x|^2 / 2 the minimum is at a = 1, c = (d/2) log 2 pi. Cost per sample and step: 1 + nu energies. It is not suited
to data that are unlike any draw from q: high dimensions, thin supports.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ebm_cli.core.contracts import Objective, Reference
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.types import Count, Info, Params

SURE = 5.0  # nats; with a larger logit the probability that a point is noise is below 0.7 %


@dataclass(frozen=True)
class NoiseContrastive(Objective):
    """`reference` is the reference of the run; `n_noise` is nu, the number of noise points per data point."""

    reference: Reference
    n_noise: Count
    requires: ClassVar[frozenset[str]] = frozenset({"energy"})

    def init(self, model: Model, params: Params, x_train: Tensor, rng: Rng) -> tuple[Params, Params]:
        noise, shape = self.reference.as_noise(), x_train.shape[x_train.ndim - model.event_ndim :]
        carry = {} if noise is self.reference else FittedReference.fit(noise, x_train, shape, rng).named
        return {"log_z": x_train.new_zeros(rng.model_shape)}, carry

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        axis = x.ndim - 1 - model.event_ndim
        noise = FittedReference.of(self.reference.as_noise(), carry or params, x.shape[axis + 1 :])
        points = torch.cat([x, noise.draw(x.shape[axis] * self.n_noise, rng, "noise")], axis)
        return {"points": points, "offset": noise.log_prob(points) + math.log(self.n_noise)}, carry, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        n = x.shape[x.ndim - 1 - model.event_ndim]
        energy = model.energy(params, aux["points"])
        h = -energy - params["log_z"].unsqueeze(-1) - aux["offset"]
        h = h.where(aux["offset"] > -torch.inf, torch.inf)  # where q = 0 the point is certainly from the data, for every energy
        loss = softplus(-h[..., :n]) + softplus(h[..., n:]).unflatten(-1, (n, self.n_noise)).sum(-1)
        return loss, {"energy": energy[..., :n], "saturation": h[..., :n] > SURE}

    def shown(self, model: Model, x: Tensor, aux: Params) -> Params:
        axis = x.ndim - 1 - model.event_ndim
        return {"noise": aux["points"].narrow(axis, x.shape[axis], aux["points"].shape[axis] - x.shape[axis])}

    def warning(self, row: Mapping[str, Any]) -> str:
        saturation = row["saturation"] if isinstance(row["saturation"], list) else [row["saturation"]]
        if max(saturation) <= 0.5:
            return ""
        fault = f"the classifier is sure of {max(saturation):.0%} of the data points: the noise is too easy, and the loss says little"
        return f"{fault}; try noise closer to the data (reference=mixture), or an objective without noise, such as objective=dsm"

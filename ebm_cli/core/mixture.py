"""Mixtures of Gaussians fitted to data, for one model or a stack: noise whose density is known.

q(x) = sum_k w_k N(x; mu_k, L_k L_k')
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ebm_cli.core.rng import Rng

N_ITERATIONS = 100  # of expectation maximisation
RIDGE = 1e-6  # of the data's variance, added to that of every component


class Mixture(NamedTuple):
    """Leaves (*m, ...), in the data's precision."""

    log_weight: Tensor  # (*m, K)
    mean: Tensor  # (*m, K, d)
    factor: Tensor  # (*m, K, d, d), lower triangular
    precision: Tensor  # (*m, K, d, d), the inverse of the factor

    @classmethod
    def fit(cls, x: Tensor, n_components: int, rng: Rng) -> "Mixture":
        """By expectation maximisation from random data points, x (*m, N, d); one component is the data's mean and covariance."""
        data = x.cpu().double()
        n, d = data.shape[-2:]
        ridge = RIDGE * torch.diag_embed(data.var(-2, correction=0)).unsqueeze(-3)
        first = rng.permutation("mixture", n)[..., :n_components].cpu()
        nearest = torch.cdist(data, data.gather(-2, first.unsqueeze(-1).expand(*first.shape, d))).argmin(-1)
        share = torch.nn.functional.one_hot(nearest, n_components).double()
        for _ in range(N_ITERATIONS if n_components > 1 else 1):
            mixture = cls._maximise(data, share, ridge)
            share = mixture._log_joint(data).softmax(-1)
        return cls(*(part.to(x) for part in mixture))

    @classmethod
    def _maximise(cls, data: Tensor, share: Tensor, ridge: Tensor) -> "Mixture":
        """The best components for the share that each has in each point, (*m, N, K)."""
        total = share.sum(-2).clamp(min=1e-9)
        mean = share.mT @ data / total.unsqueeze(-1)
        away = data.unsqueeze(-3) - mean.unsqueeze(-2)  # (*m, K, N, d)
        covariance = (share.mT.unsqueeze(-1) * away).mT @ away / total[..., None, None]
        factor = torch.linalg.cholesky(covariance + ridge)
        return cls((total / total.sum(-1, keepdim=True)).log(), mean, factor, torch.linalg.inv(factor))

    def _log_joint(self, x: Tensor) -> Tensor:
        """log w_k N(x; mu_k, ...), (*m, N, K)."""
        white = (x.unsqueeze(-3) - self.mean.unsqueeze(-2)) @ self.precision.mT
        log_det = self.precision.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = self.log_weight + log_det - 0.5 * x.shape[-1] * math.log(2 * math.pi)
        return constant.unsqueeze(-2) - 0.5 * white.square().sum(-1).mT

    def log_prob(self, x: Tensor) -> Tensor:
        """log q(x) in nats, (*m, N, d) -> (*m, N)."""
        return torch.logsumexp(self._log_joint(x), -1)

    def draw(self, n: int, rng: Rng) -> Tensor:
        """Independent draws, (*m, n, d)."""
        d = self.mean.shape[-1]
        z = rng.normal("noise", n, d)
        if self.mean.shape[-2] == 1:
            return self.mean + z @ self.factor.squeeze(-3).mT
        edges = self.log_weight.exp().cumsum(-1)[..., :-1]
        chosen = (rng.uniform("component", n).unsqueeze(-1) > edges.unsqueeze(-2)).sum(-1, keepdim=True)
        mean = self.mean.gather(-2, chosen.expand(*chosen.shape[:-1], d))
        factor = self.factor.flatten(-2).gather(-2, chosen.expand(*chosen.shape[:-1], d * d)).unflatten(-1, (d, d))
        return mean + (factor @ z.unsqueeze(-1)).squeeze(-1)

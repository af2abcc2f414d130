"""A mixture of Gaussians with full covariances, fitted by expectation maximization. Dempster, Laird & Rubin 1977.

    q(x) = sum_k w_k N(x; mu_k, C_k),    C_k = L_k L_k'

With noise of standard deviation sigma, C_k + sigma^2 I replaces C_k; it is computed from the eigenvalues and eigenvectors of C_k.
EM starts at random data points and runs for a fixed number of iterations. A ridge of a millionth of the data's variance keeps every C_k
positive definite. Cost: K d^2 operations per point. It is not suited to events of hundreds of coordinates with few training points.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ebm_cli.core.contracts import Reference
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import varies
from ebm_cli.types import Count, Params

N_ITERATIONS = 100  # iterations of expectation maximization
RIDGE = 1e-6  # added to the covariance of every component, in units of the data's variance


class FittedMixture(NamedTuple):
    """The parameters of the mixture: tensors (*m, ...) in the precision of the data."""

    log_weight: Tensor  # (*m, K)
    mean: Tensor  # (*m, K, d)
    factor: Tensor  # L_k, (*m, K, d, d), lower triangular
    precision: Tensor  # the inverse of the factor, (*m, K, d, d)

    @classmethod
    def fit(cls, x: Tensor, n_components: int, rng: Rng) -> "FittedMixture":
        """Fit the mixture to x (*m, N, d). A single component has the mean and covariance of the data."""
        data = x.cpu().double()
        n, d = data.shape[-2:]
        variance = data.var(-2, correction=0).where(varies(data, -2), 1)
        ridge = RIDGE * torch.diag_embed(variance).unsqueeze(-3)
        first = rng.permutation("mixture", n)[..., :n_components].cpu()
        nearest = torch.cdist(data, data.gather(-2, first.unsqueeze(-1).expand(*first.shape, d))).argmin(-1)
        share = torch.nn.functional.one_hot(nearest, n_components).double()
        for _ in range(N_ITERATIONS if n_components > 1 else 1):
            mixture = cls._maximize(data, share, ridge)
            share = mixture.log_joint(data).softmax(-1)
        return cls(*(part.to(x) for part in mixture))

    @classmethod
    def _maximize(cls, data: Tensor, share: Tensor, ridge: Tensor) -> "FittedMixture":
        """The M step: the components of greatest likelihood, given the responsibilities `share`, (*m, N, K)."""
        total = share.sum(-2).clamp(min=1e-9)
        mean = share.mT @ data / total.unsqueeze(-1)
        away = data.unsqueeze(-3) - mean.unsqueeze(-2)  # (*m, K, N, d)
        covariance = (share.mT.unsqueeze(-1) * away).mT @ away / total[..., None, None]
        factor = torch.linalg.cholesky(covariance + ridge)
        return cls((total / total.sum(-1, keepdim=True)).log(), mean, factor, torch.linalg.inv(factor))

    def log_joint(self, x: Tensor) -> Tensor:
        """log w_k N(x; mu_k, C_k), (*m, N, K)."""
        white = (x.unsqueeze(-3) - self.mean.unsqueeze(-2)) @ self.precision.mT
        log_det = self.precision.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = self.log_weight + log_det - 0.5 * x.shape[-1] * math.log(2 * math.pi)
        return constant.unsqueeze(-2) - 0.5 * white.square().sum(-1).mT

    def draw(self, n: int, rng: Rng, stream: str) -> Tensor:
        """Independent draws, (*m, n, d)."""
        d = self.mean.shape[-1]
        z = rng.normal(stream, n, d)
        if self.mean.shape[-2] == 1:
            return self.mean + z @ self.factor.squeeze(-3).mT
        edges = self.log_weight.exp().cumsum(-1)[..., :-1]
        chosen = (rng.uniform(f"{stream}.component", n).unsqueeze(-1) > edges.unsqueeze(-2)).sum(-1, keepdim=True)
        mean = self.mean.gather(-2, chosen.expand(*chosen.shape[:-1], d))
        factor = self.factor.flatten(-2).gather(-2, chosen.expand(*chosen.shape[:-1], d * d)).unflatten(-1, (d, d))
        return mean + (factor @ z.unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True)
class Mixture(Reference):
    """`n_components` is K."""

    n_components: Count
    smoothable: ClassVar[bool] = True

    def fit(self, x: Tensor, shape: tuple[int, ...], rng: Rng) -> Params:
        fitted = FittedMixture.fit(x, self.n_components, rng)
        variance, vectors = torch.linalg.eigh((fitted.factor @ fitted.factor.mT).double())
        return fitted._asdict() | {"variance": variance.to(x), "vectors": vectors.to(x)}

    def draw(self, params: Params, n: int, rng: Rng, stream: str) -> Tensor:
        return _fitted(params).draw(n, rng, stream)

    def log_prob(self, params: Params, x: Tensor) -> Tensor:
        return torch.logsumexp(_fitted(params).log_joint(x), -1)

    def tilt(self, params: Params, x: Tensor, u: Tensor, noise_level: Tensor | None = None) -> Tensor:
        if noise_level is None:
            return -self.log_prob(params, x)
        return -torch.logsumexp(self._smoothed(params, x, noise_level)[0], -1)

    def score(self, params: Params, x: Tensor, u: Tensor, inverse_width: Tensor, noise_level: Tensor | None = None) -> Tensor:
        """The mean of -(C_k + sigma^2 I)^-1 (x - mu_k) over components, weighted by their responsibilities for x."""
        level = x.new_zeros(x.shape[:-1]) if noise_level is None else noise_level
        log_joint, pull = self._smoothed(params, x, level)
        return (log_joint.softmax(-1).mT.unsqueeze(-1) * pull).sum(-3) / inverse_width

    def _smoothed(self, params: Params, x: Tensor, noise_level: Tensor) -> tuple[Tensor, Tensor]:
        """log w_k N(x; mu_k, C_k + sigma^2 I), (*m, N, K), and -(C_k + sigma^2 I)^-1 (x - mu_k), (*m, K, N, d)."""
        variance = params["variance"].unsqueeze(-2) + noise_level.square()[..., None, :, None]  # (*m, K, N, d)
        along = (x.unsqueeze(-3) - params["mean"].unsqueeze(-2)) @ params["vectors"]
        log_normal = -0.5 * (along.square() / variance + variance.log() + math.log(2 * math.pi)).sum(-1)
        return params["log_weight"].unsqueeze(-2) + log_normal.mT, -(along / variance) @ params["vectors"].mT


def _fitted(params: Params) -> FittedMixture:
    return FittedMixture(*(params[name] for name in FittedMixture._fields))

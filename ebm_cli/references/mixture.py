"""A mixture of Gaussians with full covariances, fitted by expectation maximization. Dempster, Laird & Rubin 1977.

    q(x) = sum_k w_k N(x; mu_k, C_k),    C_k = L_k L_k'

With noise of standard deviation sigma, C_k + sigma^2 I replaces C_k; it is computed from the eigenvalues and eigenvectors of C_k.
mixture_fit.py describes the fit and the choice of the number of components and of the shrinkage by the likelihood of held-out points.
Cost: K d^2 operations per point. It is not suited to events of hundreds of coordinates with few training points.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ebm_cli.core.contracts import Reference
from ebm_cli.core.rng import Rng
from ebm_cli.errors import bad
from ebm_cli.references import mixture_fit
from ebm_cli.references.mixture_fit import Fit, Gaussians
from ebm_cli.types import Count, NonNegative, Params, Positive


class Components(NamedTuple):
    """The tensors of the mixture with which points are evaluated and drawn. A weight can be 0."""

    log_weight: Tensor  # (*m, K)
    mean: Tensor  # (*m, K, d)
    factor: Tensor  # L_k, (*m, K, d, d), lower triangular
    precision: Tensor  # the inverse of the factor, (*m, K, d, d)

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
    """`n_components` is K; `shrinkage` is the number of points that the pooled covariance counts as in the covariance of a component.

    Settings that are null are those of the greatest likelihood of the held-out points. The models of a stack may then differ in K: the
    tensors have the size of the largest, and the others have further components of weight 0. `bound` is the largest |f| of a network that
    is tilted by it, E = f - log q, in nats.
    """

    n_components: Count | None
    shrinkage: NonNegative | None
    bound: Positive | None
    smoothable: ClassVar[bool] = True

    @property
    def bound_of_networks(self) -> float | None:
        return self.bound

    def fit(self, x: Tensor, shape: tuple[int, ...], rng: Rng, held_out: Tensor | None = None) -> Params:
        chosen = self._chosen()
        if chosen and (held_out is None or not held_out.shape[-2]):
            hint = {"n_components": "reference.n_components=8", "shrinkage": "reference.shrinkage=1.0"}[chosen[0]]
            raise bad(f"reference.{chosen[0]} is chosen on validation events, and there are none", hint)
        held = _models(held_out) if chosen else None
        return self._tensors(
            [
                mixture_fit.fit(points, self.n_components, self.shrinkage, rng.of(k).at("mixture"), held[k] if held is not None else None)
                for k, points in enumerate(_models(x))
            ],
            x,
        )

    def refit(self, params: Params, x: Tensor, shape: tuple[int, ...], rng: Rng) -> Params:
        """The fit to other points that begins at a fitted mixture and keeps its number of components and its shrinkage."""
        fits = [
            Fit(Gaussians(log_weight[used], mean[used], (factor @ factor.mT)[used]), shrinkage)
            for log_weight, mean, factor, shrinkage in zip(
                *_each(params, "log_weight", "mean", "factor"), self._shrinkages(params), strict=True
            )
            for used in [log_weight > -torch.inf]
        ]
        return self._tensors([mixture_fit.go_on(points, fitted) for points, fitted in zip(_models(x), fits, strict=True)], x)

    def draw(self, params: Params, n: int, rng: Rng, stream: str) -> Tensor:
        return _components(params).draw(n, rng, stream)

    def log_prob(self, params: Params, x: Tensor) -> Tensor:
        return torch.logsumexp(_components(params).log_joint(x), -1)

    def tilt(self, params: Params, x: Tensor, u: Tensor, noise_level: Tensor | None = None) -> Tensor:
        if noise_level is None:
            return -self.log_prob(params, x)
        return -torch.logsumexp(self._smoothed(params, x, noise_level)[0], -1)

    def score(self, params: Params, x: Tensor, u: Tensor, inverse_width: Tensor, noise_level: Tensor | None = None) -> Tensor:
        """The mean of -(C_k + sigma^2 I)^-1 (x - mu_k) over components, weighted by their responsibilities for x."""
        level = x.new_zeros(x.shape[:-1]) if noise_level is None else noise_level
        log_joint, pull = self._smoothed(params, x, level)
        return (log_joint.softmax(-1).mT.unsqueeze(-1) * pull).sum(-3) / inverse_width

    def notes(self, params: Params) -> Sequence[str]:
        if not self._chosen():
            return ()
        (log_weight,) = _each(params, "log_weight")
        n = ", ".join(str(int((row > -torch.inf).sum())) for row in log_weight)
        points = ", ".join(f"{value:g}" for value in self._shrinkages(params))
        return (f"reference: n_components={n}, shrinkage={points}; the validation events chose {' and '.join(self._chosen())}",)

    def _chosen(self) -> list[str]:
        """The settings that the held-out points choose."""
        return [name for name in ("n_components", "shrinkage") if getattr(self, name) is None]

    def _shrinkages(self, params: Params) -> list[float]:
        """The shrinkage of each model."""
        return params["shrinkage"].reshape(-1).tolist()

    def _tensors(self, fits: Sequence[Fit], x: Tensor) -> Params:
        """The tensors of the fitted mixtures of one model or of a stack, in the precision and on the device of x, (*m, N, d)."""
        n = max(len(fitted.gaussians.mean) for fitted in fits)
        log_weight, mean, covariance = (
            torch.stack(parts) for parts in zip(*(_padded(fitted.gaussians, n) for fitted in fits), strict=True)
        )
        factor = torch.linalg.cholesky(covariance)
        variance, vectors = torch.linalg.eigh(covariance)
        tensors = Components(log_weight, mean, factor, torch.linalg.inv(factor))._asdict() | {"variance": variance, "vectors": vectors}
        tensors |= {"shrinkage": torch.tensor([fitted.shrinkage for fitted in fits])}
        return {name: (value if x.ndim == 3 else value[0]).to(x) for name, value in tensors.items()}

    def _smoothed(self, params: Params, x: Tensor, noise_level: Tensor) -> tuple[Tensor, Tensor]:
        """log w_k N(x; mu_k, C_k + sigma^2 I), (*m, N, K), and -(C_k + sigma^2 I)^-1 (x - mu_k), (*m, K, N, d)."""
        variance = params["variance"].unsqueeze(-2) + noise_level.square()[..., None, :, None]  # (*m, K, N, d)
        along = (x.unsqueeze(-3) - params["mean"].unsqueeze(-2)) @ params["vectors"]
        log_normal = -0.5 * (along.square() / variance + variance.log() + math.log(2 * math.pi)).sum(-1)
        return params["log_weight"].unsqueeze(-2) + log_normal.mT, -(along / variance) @ params["vectors"].mT


def _components(params: Params) -> Components:
    return Components(*(params[name] for name in Components._fields))


def _models(x: Tensor) -> Tensor:
    """The points of each model, (*m, N, d) -> (M, N, d), on the CPU."""
    return x.detach().cpu().reshape(-1, *x.shape[-2:])


def _each(params: Params, *names: str) -> list[Tensor]:
    """Tensors with one row for each model, (M, ...), in double precision on the CPU."""
    stacked = params["shrinkage"].ndim
    return [(params[name] if stacked else params[name].unsqueeze(0)).cpu().double() for name in names]


def _padded(gaussians: Gaussians, n: int) -> Gaussians:
    """The mixture with n components, of which the last ones have weight 0 and repeat the last one of the mixture."""
    index = torch.arange(n)
    last = index.clamp(max=len(gaussians.mean) - 1)
    return Gaussians(gaussians.log_weight[last].where(index == last, -torch.inf), gaussians.mean[last], gaussians.covariance[last])

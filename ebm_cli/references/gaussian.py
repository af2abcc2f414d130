"""A Gaussian with independent coordinates and the mean and scale of the training data.

    log q(x) = -|u|^2 / 2 - sum log scale - d/2 log 2 pi,    u = (x - mean) / scale

The tilt is |u|^2 / 2, without the constant. Without such a quadratic tilt Z may be infinite. With noise of standard deviation sigma,
u = (x - mean) / sqrt(scale^2 + sigma^2). Networks tilted by this reference keep their usual initialization: a Gaussian is too far from
most data for an initialization at zero to help. The entries of an array share one scale (`event_scale` in core/standardize.py). In
noise-contrastive estimation its draws would be too easy to distinguish from the data, and the Gaussian with the full covariance
replaces it. It is not suited to multimodal data, since it has a single mode.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ebm_cli.core.contracts import Reference
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import event_scale
from ebm_cli.references.full_gaussian import FullGaussian
from ebm_cli.types import Params


@dataclass(frozen=True)
class Gaussian(Reference):
    """A Gaussian with a diagonal covariance. It has no settings."""

    smoothable: ClassVar[bool] = True
    starts_at_zero: ClassVar[bool] = False

    def fit(self, x: Tensor, shape: tuple[int, ...], rng: Rng, held_out: Tensor | None = None) -> Params:
        return {"mean": x.mean(-2), "scale": event_scale(x.unflatten(-1, shape), len(shape)).flatten(-len(shape))}

    def draw(self, params: Params, n: int, rng: Rng, stream: str) -> Tensor:
        mean, scale = (params[name].unsqueeze(-2) for name in ("mean", "scale"))
        return mean + scale * rng.normal(stream, n, mean.shape[-1])

    def log_prob(self, params: Params, x: Tensor) -> Tensor:
        u = (x - params["mean"].unsqueeze(-2)) / params["scale"].unsqueeze(-2)
        return -0.5 * (u * u).sum(-1) - self.log_normalizer(params).unsqueeze(-1)

    def tilt(self, params: Params, x: Tensor, u: Tensor, noise_level: Tensor | None = None) -> Tensor:
        return 0.5 * (u * u).sum(-1)

    def log_normalizer(self, params: Params) -> Tensor:
        return params["scale"].log().sum(-1) + 0.5 * params["scale"].shape[-1] * math.log(2 * math.pi)

    def score(self, params: Params, x: Tensor, u: Tensor, inverse_width: Tensor, noise_level: Tensor | None = None) -> Tensor:
        return -u

    def as_noise(self) -> FullGaussian:
        return FullGaussian()

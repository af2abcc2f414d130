"""What every network shares: events are standardised, confined, and f becomes an energy or a score.

    E(x) = -log g(f(u)) + confinement/2 |u|^2,    s(x) = (f(u) - confinement u) / scale,    u = (x - mean) / scale

`positive` names g > 0. Low f is likely in all of them, and f = 0 leaves the confinement alone:

    exp        g = exp(-f)         E = f, the usual
    softplus   g = softplus(-f)    exp(-f) where f is large; grows linearly, not exponentially, where f is low
    square     g = (1 - f)^2       as amplitudes are squared: E = 2 f near 0, zeros where f = 1
    abs        g = |1 - f|         E = f near 0

A zero of g would be an infinite energy: squares get FLOOR added, which bounds E by 18.4 nats (abs: 9.2) above where g is 1, and
softplus is expanded where it underflows. Near a zero the curvature is of order 1/FLOOR: square and abs are for objectives that take
energies, not scores. f grows at most linearly, so that a confinement above 0 keeps Z finite; without it Z may be infinite.

A noise-conditional network takes the standard deviation sigma of the noise as well, and is one model for all levels (the
preconditioning of Karras et al. 2022, arXiv:2206.00364, for energies):

    u = (x - mean) / w,    w^2 = scale^2 + sigma^2,    f = f(3 u, log sigma) (|w| / sigma)^power

|w| is the root mean square of w over the coordinates; f = 0 leaves the Gaussian of the noised data's own mean and variance. Scores are of
order 1 / sigma: a score network is given all of it (power 1), an energy half (1/2), since a network whose output is blown up 20-fold is
lazy: it trains without bending its features to fine detail. 3 u weighs against the features of log sigma, which else outnumber u.
Measured on moons, denoising at sigma 0.05 alone: KL 0.022 (power 1 and u alone 0.22; the plain perceptron 0.048).
"""

from collections.abc import Sequence
from math import prod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ebm_cli.types import Energy, NonNegative

FLOOR = 1e-8
Positivity = Literal["exp", "softplus", "square", "abs"]


class Network(nn.Module, Energy):
    """x (B, *d) -> f, u. `mean` and `scale`, (*d), are those of the training data. A subclass makes `network`, (B, n_in) -> (B, n_out)."""

    n_level_features: ClassVar[int] = 0
    input_gain: ClassVar[float] = 1.0  # by which u is multiplied on its way into `network`
    power: ClassVar[float] = 0.5  # of |w| / sigma, which a noise-conditional f is multiplied by

    def __init__(self, shape: Sequence[int], mean: Tensor, scale: Tensor, *, confinement: NonNegative) -> None:
        super().__init__()
        self.n_coordinates = prod(shape)
        self.n_in = self.n_coordinates + self.n_level_features
        self.n_out = self.n_coordinates if self.outputs_score else 1
        self.confinement = confinement
        self.register_buffer("mean", mean)
        self.register_buffer("inverse_scale", 1 / scale)

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f (B, n_out), u (B, *d) and 1/w, which stands against u."""
        u = (x - self.mean) * self.inverse_scale
        return self.network(u.flatten(1)), u, self.inverse_scale


class EnergyNetwork(Network):
    """x (B, *d) -> E(x) (B,)."""

    def __init__(self, shape: Sequence[int], mean: Tensor, scale: Tensor, *, positive: Positivity, confinement: NonNegative) -> None:
        super().__init__(shape, mean, scale, confinement=confinement)
        self.positive = positive

    def forward(self, x: Tensor, *noise_level: Tensor) -> Tensor:
        f, u, _ = self.evaluate(x, *noise_level)
        u = u.flatten(1)
        return minus_log(f.squeeze(-1), self.positive) + 0.5 * self.confinement * (u * u).sum(-1)


class ScoreNetwork(Network):
    """x (B, *d) -> s(x) (B, *d): a vector field, with no energy behind it."""

    outputs_score: ClassVar[bool] = True
    power: ClassVar[float] = 1.0

    def forward(self, x: Tensor, *noise_level: Tensor) -> Tensor:
        f, u, inverse_width = self.evaluate(x, *noise_level)
        return (f.view_as(u) - self.confinement * u) * inverse_width


class NoiseConditional(Network):
    """Mixed in before a network: `forward` takes the noise level (B,) as well."""

    takes_noise_level: ClassVar[bool] = True
    n_level_features: ClassVar[int] = 7
    input_gain: ClassVar[float] = 3.0

    def evaluate(self, x: Tensor, noise_level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sigma = noise_level.reshape(-1, *[1] * (x.ndim - 1))
        variance = self.inverse_scale**-2 + sigma * sigma  # (B, *d)
        u = (x - self.mean) * variance.rsqrt()
        size = variance.flatten(1).mean(-1, keepdim=True).sqrt()
        sigma = sigma.flatten(1)
        features = level_features(sigma / (self.inverse_scale**-2).mean().sqrt())
        f = self.network(torch.cat([self.input_gain * u.flatten(1), features], -1))
        return f * (size / sigma) ** self.power, u, variance.rsqrt()


def level_features(sigma: Tensor) -> Tensor:
    """sigma (B, 1), in units of the data's scale -> t/2 and the sine and cosine of t/2, t and 2 t, t = log sigma, (B, 7)."""
    t = sigma.log()
    waves = torch.cat([0.5 * t, t, 2 * t], -1)
    return torch.cat([0.5 * t, waves.sin(), waves.cos()], -1)


def minus_log(f: Tensor, positive: Positivity) -> Tensor:
    """-log g(f), finite wherever f is, with finite derivatives."""
    if positive == "exp":
        return f
    if positive == "softplus":
        small = (-f.clamp(min=20)).exp()  # log softplus(-f) = -f - exp(-f)/2 + ..., to 1e-17 from f = 20 on
        return torch.where(f > 20, f + 0.5 * small, -softplus(-f.clamp(max=20)).log())
    squared = (1 - f).square() + FLOOR
    return -squared.log() if positive == "square" else -0.5 * squared.log()

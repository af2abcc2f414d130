"""The base classes of networks: they standardize events, turn the output f into an energy or a score, and tilt it by a reference q.

    E(x) = -log g(f(u)) + tilt E_q(x),    s(x) = f(u) / scale + tilt grad log q(x),    u = (x - mean) / scale

E_q = -log q up to a constant. With the default reference, a Gaussian with the mean and scale of the data, E_q = |u|^2 / 2: a quadratic
tilt, without which Z may be infinite. `positive` names the function g > 0. In all of them a low f means a high density, and f = 0 adds
only a constant to the tilt:

    exp        g = exp(-f)         E = f, the usual choice
    softplus   g = softplus(-f)    exp(-f) for large f; grows linearly, not exponentially, for low f
    square     g = (1 - f)^2       the square of an amplitude: E = 2 f near f = 0, g = 0 at f = 1
    abs        g = |1 - f|         E = f near f = 0, g = 0 at f = 1

Where g = 0 the energy would be infinite. FLOOR is therefore added to the squares, which bounds E by 18.4 nats (abs: 9.2) above its value
at g = 1, and softplus is expanded where it underflows. Near a zero of g the curvature is of order 1/FLOOR: use square and abs with
objectives that evaluate energies, not scores. f grows at most linearly, so that a tilt above 0 keeps Z finite.

A reference may have a bound b: then b tanh(f / b) replaces f. The density of the model stays within a factor e^(2b) of a multiple of q,
and the ratios of the weights exp(-f) of importance sampling, from which log Z is known, are bounded. It also limits the overfitting of
small tables. scripts/tune_tables.py compares bounds.

A noise-conditional network also takes the standard deviation sigma of the noise, and is one model for all noise levels (the
preconditioning of Karras et al. 2022, arXiv:2206.00364, for energies):

    u = (x - mean) / w,    w^2 = scale^2 + sigma^2,    f = f(3 u, log sigma) (|w| / sigma)^power

It is tilted by q_sigma, the distribution of a draw from q plus the noise. |w| is the root mean square of w over the coordinates. Scores
are of order 1 / sigma. The output of a score network is multiplied by that order (power 1), that of an energy by its square root (power
1/2), since a network whose output is multiplied by twenty fits fine details without changing its features. u is multiplied by 3 to
balance the more numerous features of log sigma. Measured on moons with denoising at the single level sigma = 0.05: KL 0.022 (with power
1 and u not multiplied 0.22; with the plain perceptron 0.048).
"""

from collections.abc import Sequence
from math import prod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ebm_cli.core.contracts import Energy
from ebm_cli.core.fitted_reference import FittedReference, ReferenceTensors
from ebm_cli.errors import bad
from ebm_cli.types import NonNegative

FLOOR = 1e-8
Positivity = Literal["exp", "softplus", "square", "abs"]


class Network(nn.Module, Energy):
    """x (B, *d) -> f, u. `mean` and `scale`, (*d), are those of the training data.

    A subclass makes `network`, (B, n_in) -> (B, n_out), and then calls `start`.
    """

    n_level_features: ClassVar[int] = 0
    input_gain: ClassVar[float] = 1.0  # factor on u at the input of `network`
    power: ClassVar[float] = 0.5  # exponent of the factor |w| / sigma on a noise-conditional f
    needs_smoothable: ClassVar[bool] = False  # whether the tilt needs the reference with noise, or its score

    def __init__(self, shape: Sequence[int], mean: Tensor, scale: Tensor, reference: FittedReference, *, tilt: NonNegative) -> None:
        super().__init__()
        self.n_coordinates = prod(shape)
        self.n_in = self.n_coordinates + self.n_level_features
        self.n_out = self.n_coordinates if self.outputs_score else 1
        self.tilt, self.q = tilt, reference.reference
        if tilt and self.needs_smoothable and not self.q.smoothable:
            what, name = "outputs the score itself" if self.outputs_score else "takes a noise level", type(self.q).__name__
            hint = "reference=gaussian, full_gaussian or mixture; or energy.tilt=0"
            raise bad(f"reference: a network that {what} cannot be tilted by {name}", hint)
        self.register_buffer("mean", mean)
        self.register_buffer("inverse_scale", 1 / scale)
        if tilt:
            self.reference = ReferenceTensors(reference.params)

    def start(self) -> None:
        """Initialize the last layer at zero if the reference has `starts_at_zero`: the initial model is then the reference."""
        if self.tilt and self.q.starts_at_zero:
            for parameter in [layer for layer in self.network.modules() if isinstance(layer, nn.Linear)][-1].parameters():
                nn.init.zeros_(parameter)

    def evaluate(self, x: Tensor, noise_level: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """f (B, n_out), u (B, *d) and 1/w, which broadcasts against u."""
        u = (x - self.mean) * self.inverse_scale
        return self.network(self.shaped(u)), u, self.inverse_scale

    def shaped(self, u: Tensor) -> Tensor:
        """u in the shape that `network` takes: by default vectors. Convolutional networks override this."""
        return u.flatten(1)


class EnergyNetwork(Network):
    """x (B, *d) -> E(x) (B,)."""

    def __init__(
        self, shape: Sequence[int], mean: Tensor, scale: Tensor, reference: FittedReference, *, positive: Positivity, tilt: NonNegative
    ) -> None:
        super().__init__(shape, mean, scale, reference, tilt=tilt)
        self.positive = positive

    def forward(self, x: Tensor, noise_level: Tensor | None = None) -> Tensor:
        f, u, _ = self.evaluate(x, noise_level)
        energy = minus_log(bounded(f.squeeze(-1), self.q.bound_of_networks if self.tilt else None), self.positive)
        return energy + self.tilt * self.q.tilt(self.reference.params(), x.flatten(1), u.flatten(1), noise_level) if self.tilt else energy


class ScoreNetwork(Network):
    """x (B, *d) -> s(x) (B, *d): a vector field, which need not be the gradient of an energy."""

    outputs_score: ClassVar[bool] = True
    power: ClassVar[float] = 1.0
    needs_smoothable: ClassVar[bool] = True

    def forward(self, x: Tensor, noise_level: Tensor | None = None) -> Tensor:
        f, u, inverse_width = self.evaluate(x, noise_level)
        f = f.view_as(u)
        if self.tilt:
            points = (part.expand_as(u).flatten(1) for part in (x, u, inverse_width))
            f = f + self.tilt * self.q.score(self.reference.params(), *points, noise_level).view_as(u)
        return f * inverse_width


class NoiseConditional(Network):
    """A mixin that precedes a network class: `forward` then also takes the noise level, (B,)."""

    takes_noise_level: ClassVar[bool] = True
    n_level_features: ClassVar[int] = 7
    input_gain: ClassVar[float] = 3.0
    needs_smoothable: ClassVar[bool] = True

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
    """sigma (B, 1), in units of the data's scale -> t/2 and the sines and cosines of t/2, t and 2 t, where t = log sigma, (B, 7)."""
    t = sigma.log()
    waves = torch.cat([0.5 * t, t, 2 * t], -1)
    return torch.cat([0.5 * t, waves.sin(), waves.cos()], -1)


def bounded(f: Tensor, bound: float | None) -> Tensor:
    """b tanh(f / b), which is f near zero and stays within (-b, b); f itself without a bound."""
    return f if bound is None else bound * (f / bound).tanh()


def minus_log(f: Tensor, positive: Positivity) -> Tensor:
    """-log g(f). It and its derivatives are finite for every finite f."""
    if positive == "exp":
        return f
    if positive == "softplus":
        small = (-f.clamp(min=20)).exp()  # log softplus(-f) = -f - exp(-f)/2 + ..., accurate to 1e-17 for f >= 20
        return torch.where(f > 20, f + 0.5 * small, -softplus(-f.clamp(max=20)).log())
    squared = (1 - f).square() + FLOOR
    return -squared.log() if positive == "square" else -0.5 * squared.log()

"""A pinwheel: Gaussians (a, b) = (1 + 0.3 z_1, 0.1 z_2) are sheared into curved arms.

x = 2 (a cos f + b sin f, -a sin f + b cos f) with f = 2 pi k / n_arms + 0.25 e^a and k = 0 .. n_arms - 1 with equal probability.

    p(x) = sum over all (k, a, b) that map to x of  N(a; 1, 0.3^2) N(b; 0, 0.1^2) / (4 n_arms |1 + e^a b / 4|)

In polar coordinates, a = r cos phi, b = r sin phi, r = |x| / 2 and theta = arg x, the roots of all arms are the crossings of levels:

    G(phi) = 0.25 e^{r cos phi} - phi + theta  in  (2 pi / n_arms) Z,    G' = -(1 + e^a b / 4)

G is decreasing, except if the shear folds an arm over (r > 1.7, b < 0): then G decreases, increases and decreases again. On each monotone
piece a root is bracketed for each level. If a piece has very many roots, only those nearest to phi = 0 are used; up to |x| = 11 the
others contribute a fraction of at most e^{-20}. Beyond, the sum is a lower bound. Roots are found without an autograd graph; the last two
Newton steps have one. The modes are the arms.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.densities import Density, in_parts
from ebm_cli.core.rng import Rng
from ebm_cli.types import Count, Positive

SCALE, RATE = 2.0, 0.25
N_STEPS = 26  # Newton steps, replaced by bisection if they leave the bracket
N_HALVINGS = 50  # bisection steps for a zero of G'


@dataclass(frozen=True)
class Pinwheel(Density):
    """`radial_std` and `tangential_std` are the standard deviations of a and b."""

    n_arms: Count
    radial_std: Positive
    tangential_std: Positive
    shape: ClassVar[tuple[int, ...]] = (2,)

    @property
    def box(self) -> list[tuple[float, float]]:
        reach = SCALE * math.hypot(1 + 6.2 * self.radial_std, self.tangential_std)
        return [(-reach, reach)] * 2

    @property
    def length_scale(self) -> float:
        """The width of an arm at three radial standard deviations, where it is sheared most."""
        a = 1 + 3 * self.radial_std
        return SCALE * self.tangential_std / math.hypot(1, RATE * a * math.exp(a))

    @property
    def n_modes(self) -> int:
        return self.n_arms

    def mode(self, x: Tensor) -> Tensor:
        """The arm with the largest term of the sum."""

        def mode(part: Tensor) -> Tensor:
            log_prob, level = self._terms(part)
            return -level.gather(-1, log_prob.argmax(-1, keepdim=True)).squeeze(-1).long()

        return in_parts(mode, x.detach().double(), 4 * self.n_arms) % self.n_arms

    def draw(self, n: int, rng: Rng) -> Tensor:
        a, b = rng.normal("radial", n).mul_(self.radial_std).add_(1), rng.normal("tangential", n).mul_(self.tangential_std)
        f = RATE * a.exp() + 2 * math.pi / self.n_arms * rng.integers("arm", self.n_arms, n)
        return torch.stack([a * f.cos() + b * f.sin(), b * f.cos() - a * f.sin()], -1).mul_(SCALE)

    def log_prob(self, x: Tensor) -> Tensor:
        return in_parts(lambda part: torch.logsumexp(self._terms(part)[0], -1), x.double(), 4 * self.n_arms)

    def _terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The log of each term of the sum, and its level, which is -k modulo n_arms: x (N, 2) -> two tensors (N, roots)."""
        u, v = (x / SCALE).unsqueeze(-1).unbind(-2)
        with torch.no_grad():
            a, level, there = self._roots(torch.hypot(u, v), torch.atan2(v, u))
        turn = 2 * math.pi / self.n_arms * level
        for _ in range(2):
            f = RATE * a.exp() - turn
            b = u * f.sin() + v * f.cos()
            step = (a - u * f.cos() + v * f.sin()) / _away_from_0(1 + RATE * a.exp() * b)
            a = a - torch.where(there, step, 0)  # without a root, a would diverge until exp overflows, and the gradient would be NaN
        f = RATE * a.exp() - turn
        b = u * f.sin() + v * f.cos()
        exponent = ((a - 1) / self.radial_std).square() + (b / self.tangential_std).square()
        norm = math.log(2 * math.pi * self.radial_std * self.tangential_std * self.n_arms * SCALE**2)
        log_prob = -0.5 * exponent - _away_from_0(1 + RATE * a.exp() * b).abs().log() - norm
        return torch.where(there, log_prob, -math.inf), level

    def _roots(self, r: Tensor, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """a, the level, and whether this root exists, all (N, slots), from polar coordinates (N, 1)."""
        spacing = 2 * math.pi / self.n_arms

        def g(phi: Tensor) -> Tensor:
            return RATE * (r * phi.cos()).exp() - phi + theta

        back, fold = torch.full_like(r, math.pi), _steepest(r)
        outer = _crossing(r, -back, fold)  # G increases from here
        inner = _crossing(r, 0 * r, fold)  # and decreases again from here
        many, few = (torch.arange(n, device=r.device) for n in (self.n_arms + 4, self.n_arms // 2 + 2))
        pieces = (  # the ends of each monotone piece, and the levels that are used
            (inner, back / 2, (g(0 * r) / spacing).round() + many - len(many) // 2),
            (back / 2, back, (g(back) / spacing).ceil() + few),
            (outer, inner, (g(inner) / spacing).floor() - many),
            (-back, outer, (g(outer) / spacing).ceil() + few),
        )
        low, high, level = (torch.cat(parts, -1) for parts in zip(*(torch.broadcast_tensors(*piece) for piece in pieces), strict=True))
        target, (at_low, at_high) = level * spacing, (g(low), g(high))
        there = (torch.minimum(at_low, at_high) < target) & (target <= torch.maximum(at_low, at_high))
        rises = at_high > at_low
        phi, aim = 0.5 * (low + high), target - theta
        for _ in range(N_STEPS):
            a = r * phi.cos()
            twist = RATE * a.exp()
            value = twist - phi - aim
            left = (value > 0) == rises  # the root is to the left
            low, high = torch.where(left, low, phi), torch.where(left, phi, high)
            newton = phi + value / _away_from_0(1 + twist * r * phi.sin())
            phi = torch.where((low < newton) & (newton < high), newton, 0.5 * (low + high))
        return r * phi.cos(), level, there


def _steepest(r: Tensor) -> Tensor:
    """The phi < 0 at which G' is largest: r sin^2 phi = cos phi."""
    cosine = 2 * r / (1 + (1 + 4 * r.square()).sqrt())
    return -cosine.clamp(max=1).acos()


def _crossing(r: Tensor, outside: Tensor, fold: Tensor) -> Tensor:
    """The phi between `outside`, where G' is negative, and `fold` at which G' changes sign; `fold` itself if it does not."""
    for _ in range(N_HALVINGS):
        middle = 0.5 * (outside + fold)
        rises = RATE * r * (r * middle.cos()).exp() * middle.sin() < -1
        outside, fold = torch.where(rises, outside, middle), torch.where(rises, middle, fold)
    return fold


def _away_from_0(slope: Tensor) -> Tensor:
    """The slope, bounded away from zero: exactly on a fold the density is infinite."""
    return torch.where(slope.abs() < 1e-12, 1e-12, slope)

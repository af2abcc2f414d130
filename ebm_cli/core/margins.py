"""Distributions of one coordinate, each with its density and its exact maps to and from a standard normal variable z = Phi^-1(F(x)).

`normal` N(0, 1); `laplace` and `logistic` with scale 1; `student_t` with 4 degrees of freedom, whose F and F^-1 are elementary (Shaw
2006); `lognormal`, exp(z/2). Symmetric distributions are mapped through the logarithm of the probability of their tail, which keeps all
digits far out. Tensors are in double precision and of any shape.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from ebm_cli.core.log_densities import LOG_2PI
from ebm_cli.core.normal_tails import ndtri_exp

Margin = Literal["normal", "laplace", "logistic", "student_t", "lognormal"]
LOG_STD = 0.5  # of the lognormal distribution
TINY = 1e-300  # the lognormal distribution has positive values only: others are moved here, where logarithms are finite
LENGTH = {"normal": 1.0, "laplace": 1.0, "logistic": 1.0, "student_t": 1.0, "lognormal": 0.25}  # over which the density changes


def log_density(margin: Margin, x: Tensor) -> Tensor:
    """log f(x) in nats. The lognormal density is 0 below 0."""
    size = x.abs()
    match margin:
        case "normal":
            return -0.5 * (x.square() + LOG_2PI)
        case "laplace":
            return -size - math.log(2)
        case "logistic":
            return -size - 2 * (-size).exp().log1p()
        case "student_t":
            return math.log(0.375) - 2.5 * (x.square() / 4).log1p()
        case "lognormal":
            log_x = x.clamp(min=TINY).log()
            return torch.where(x > 0, -0.5 * ((log_x / LOG_STD).square() + LOG_2PI) - log_x - math.log(LOG_STD), -math.inf)


def to_normal(margin: Margin, x: Tensor) -> Tensor:
    """z = Phi^-1(F(x))."""
    if margin == "normal":
        return x
    if margin == "lognormal":
        return x.clamp(min=TINY).log() / LOG_STD
    sign = torch.where(x < 0, -1.0, 1.0).to(x)
    return -sign * ndtri_exp(_log_tail(margin, sign * x))


def from_normal(margin: Margin, z: Tensor) -> Tensor:
    """x = F^-1(Phi(z))."""
    if margin == "normal":
        return z
    if margin == "lognormal":
        return (LOG_STD * z).exp()
    return z.sign() * _size(margin, torch.special.log_ndtr(-z.abs()))


def _log_tail(margin: Margin, size: Tensor) -> Tensor:
    """log P(X > size) of a symmetric distribution, for size >= 0."""
    match margin:
        case "laplace":
            return -size - math.log(2)
        case "logistic":
            return torch.nn.functional.logsigmoid(-size)
        case "student_t":  # with s = t / sqrt(4 + t^2), the tail is (1 - s)^2 (2 + s) / 4
            square = 4 + size.square()
            rest = 4 / square / (1 + size / square.sqrt())  # 1 - s
            return 2 * rest.log() + (3 - rest).log() - math.log(4)
    raise ValueError(f"{margin} is not symmetric")


def _size(margin: Margin, log_tail: Tensor) -> Tensor:
    """The size with log P(X > size) = log_tail, for log_tail <= log 1/2."""
    match margin:
        case "laplace":
            return -log_tail - math.log(2)
        case "logistic":
            return (-log_tail.exp()).log1p() - log_tail
        case "student_t":  # s = 2 sin(asin(2 F - 1) / 3), written for 1 - s
            angle = 2 / 3 * torch.asin((0.5 * log_tail).exp())
            rest = 2 * (angle / 2).sin().square() + math.sqrt(3) * angle.sin()
            return 2 * (1 - rest) / (rest * (2 - rest)).sqrt()
    raise ValueError(f"{margin} is not symmetric")

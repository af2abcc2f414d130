"""The Stein operator of a score on both sides of a kernel. Liu, Lee & Jordan 2016, arXiv:1602.03253; Chwialkowski et al. 2016.

    u(x, y) = s(x)'s(y) k + s(x)'grad_y k + s(y)'grad_x k + tr grad_x grad_y k

With k a function of r^2 = |x - y|^2, k' and k'' its derivatives in r^2, and d coordinates:

    u(x, y) = k [ s(x)'s(y) - 2 k'/k ( (s(x) - s(y))'(x - y) + d ) - 4 k''/k r^2 ]

The mean of u over independent x and y of one law is never below zero, and zero where s is that law's score: the squared kernel Stein
discrepancy. It knows the model by its score alone.
"""

from collections.abc import Callable

from torch import Tensor

Kernel = Callable[[Tensor, float], tuple[Tensor, Tensor | float, Tensor | float]]  # r^2 and h -> k, k'/k, k''/k


def operator(x: Tensor, score: Tensor, kernel: Kernel, h: float) -> Tensor:
    """u of every pair of points, (..., n, d) twice -> (..., n, n); on the diagonal that of each with itself."""
    x = x - x.mean(-2, keepdim=True)  # only differences count, and far from the origin they would be lost to rounding
    # sums over pairs as products of matrices: (s_i - s_j)'(x_i - x_j) = s_i'x_i + s_j'x_j - s_i'x_j - s_j'x_i
    cross, own, square = score @ x.mT, (score * x).sum(-1), x.square().sum(-1)
    drift = own.unsqueeze(-1) + own.unsqueeze(-2) - cross - cross.mT
    r2 = (square.unsqueeze(-1) + square.unsqueeze(-2) - 2 * x @ x.mT).clamp(min=0)
    k, first, second = kernel(r2, h)
    return k * (score @ score.mT - 2 * first * (drift + x.shape[-1]) - 4 * second * r2)


def gaussian(r2: Tensor, h: float) -> tuple[Tensor, float, float]:
    """exp(-r^2 / 2 h^2): only neighbours within a few h speak to each other."""
    return (-r2 / (2 * h**2)).exp(), -0.5 / h**2, 0.25 / h**4


def inverse_multiquadric(r2: Tensor, h: float) -> tuple[Tensor, Tensor, Tensor]:
    """(1 + r^2 / h^2)^(-1/2). Its tails are heavy: samples that miss the model's law are seen in any dimension. Gorham & Mackey 2017."""
    inverse = 1 / (h**2 + r2)
    return h * inverse.sqrt(), -0.5 * inverse, 0.75 * inverse.square()

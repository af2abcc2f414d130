"""The Stein operator of a score, applied to both arguments of a kernel. Liu, Lee & Jordan 2016, arXiv:1602.03253; Chwialkowski et al. 2016.

    u(x, y) = s(x)'s(y) k + s(x)'grad_y k + s(y)'grad_x k + tr grad_x grad_y k

If k is a function of r^2 = |x - y|^2, with the derivatives k' and k'' in r^2, then in d coordinates:

    u(x, y) = k [ s(x)'s(y) - 2 k'/k ( (s(x) - s(y))'(x - y) + d ) - 4 k''/k r^2 ]

The mean of u over independent x and y from one distribution is the squared kernel Stein discrepancy. It is nonnegative, and zero if s is
the score of that distribution. It depends on the model through its score only.
"""

from collections.abc import Callable

from torch import Tensor

Kernel = Callable[[Tensor, float], tuple[Tensor, Tensor | float, Tensor | float]]  # r^2 and h -> k, k'/k, k''/k


def operator(x: Tensor, score: Tensor, kernel: Kernel, h: float) -> Tensor:
    """u of every pair of points, from points and scores, both (..., n, d): (..., n, n). The diagonal pairs each point with itself."""
    x = x - x.mean(-2, keepdim=True)  # only differences matter, and far from the origin rounding would destroy them
    # sums over pairs as products of matrices: (s_i - s_j)'(x_i - x_j) = s_i'x_i + s_j'x_j - s_i'x_j - s_j'x_i
    cross, own, square = score @ x.mT, (score * x).sum(-1), x.square().sum(-1)
    drift = own.unsqueeze(-1) + own.unsqueeze(-2) - cross - cross.mT
    r2 = (square.unsqueeze(-1) + square.unsqueeze(-2) - 2 * x @ x.mT).clamp(min=0)
    k, first, second = kernel(r2, h)
    return k * (score @ score.mT - 2 * first * (drift + x.shape[-1]) - 4 * second * r2)


def gaussian(r2: Tensor, h: float) -> tuple[Tensor, float, float]:
    """exp(-r^2 / 2 h^2): only pairs within a few h of each other contribute."""
    return (-r2 / (2 * h**2)).exp(), -0.5 / h**2, 0.25 / h**4


def inverse_multiquadric(r2: Tensor, h: float) -> tuple[Tensor, Tensor, Tensor]:
    """(1 + r^2 / h^2)^(-1/2). Its heavy tails detect samples that miss the model in any dimension. Gorham & Mackey 2017."""
    inverse = 1 / (h**2 + r2)
    return h * inverse.sqrt(), -0.5 * inverse, 0.75 * inverse.square()

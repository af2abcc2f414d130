"""The shape of the tail of importance weights. Zhang & Stephens 2009; Vehtari, Simpson, Gelman, Yao & Gabry 2024, arXiv:1507.02646.

A generalized Pareto distribution with the survival function (1 + k x / s)^(-1/k) is fitted to the excesses of the largest weights over a
threshold. Moments of order 1/k and above are infinite: with k >= 1/2 the weights have no variance, and with k >= 1 no mean. Importance
sampling with n draws is reliable up to k = 0.7, and estimates of its error are not reliable beyond.
"""

import math

import torch
from torch import Tensor

RELIABLE = 0.7  # largest k with which importance sampling is reliable
FEWEST = 25  # smallest number of excesses to which the distribution is fitted
PRIOR = 10  # the weight of the prior mean k = 1/2, as a number of excesses


def tail_shape(log_weight: Tensor) -> float:
    """k of the largest weights, from their logs (n,). Infinite if there are too few; minus infinity if the largest are all equal."""
    n = len(log_weight)
    n_tail = math.ceil(min(0.2 * n, 3 * math.sqrt(n)))
    if n_tail < FEWEST:
        return math.inf
    largest = log_weight.double().sort().values[-n_tail - 1 :]
    weight = (largest - largest[-1]).exp()
    excess = weight[1:] - weight[0]
    return shape(excess) if excess[0] < excess[-1] else -math.inf


def shape(excess: Tensor) -> float:
    """k of a generalized Pareto distribution, fitted to excesses >= 0 in ascending order, (n,).

    The mean of k over a posterior of b = -k / s on a grid, as Zhang and Stephens give it, moved towards 1/2 as if by PRIOR excesses.
    """
    n = len(excess)
    m = 30 + int(math.sqrt(n))
    quartile = excess[int(n / 4 + 0.5) - 1].clamp(min=torch.finfo(excess.dtype).tiny)
    i = torch.arange(1, m + 1, dtype=excess.dtype)
    b = 1 / excess[-1] + (1 - (m / (i - 0.5)).sqrt()) / (3 * quartile)
    k = (-b.unsqueeze(-1) * excess).log1p().mean(-1)
    log_likelihood = n * ((-b / k).log() - k - 1)
    b = (log_likelihood.softmax(-1) * b).sum()
    k = (-b * excess).log1p().mean().item()
    return (n * k + 0.5 * PRIOR) / (n + PRIOR)

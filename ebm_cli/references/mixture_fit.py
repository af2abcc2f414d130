"""Fits a mixture of Gaussians to the points of one model by expectation maximization (EM), and chooses its settings.

The M step shrinks the covariance of a component towards the pooled covariance within components, which counts as `shrinkage` points
(regularized discriminant analysis, Friedman 1989), and adds a ridge:

    C_k = (N_k S_k + shrinkage S) / (N_k + shrinkage) + RIDGE I,    S = sum_k N_k S_k / N

N_k is the sum of the responsibilities of component k, and S_k their weighted covariance. Points are standardized first, so the ridge is a
fraction of the data's variance. It bounds the density where a component has a single value in some direction, or holds one point many
times. EM starts at the clusters of k-means, whose first centers are drawn by k-means++ (Arthur & Vassilvitskii 2007).

The log of w_k N(x; mu_k, C_k) is linear in the features 1, x_i and x_i x_j (i >= j). An E step is therefore one matrix product of the
features (N, P) and the coefficients (P, K), and an M step is one of the responsibilities and the features.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import varies

RIDGE = 1e-6  # added to the covariance of every component, in units of the data's variance
N_ITERATIONS = 200  # maximum number of iterations of EM
N_LLOYD = 10  # iterations of k-means
TOLERANCE = 5e-6  # EM stops when the mean log-likelihood grows by less, in nats per coordinate
ROUGH = 5e-4  # the same, while settings are chosen
N_COMPONENTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40)  # candidates
SHRINKAGE = (0.0, 0.25, 1.0, 4.0, 16.0, 64.0, 256.0)  # candidates, in points
FIRST = 4  # the index of the shrinkage that is tried first
PATIENCE = 3  # candidates for the number of components without an improvement, after which larger numbers are not tried
N_STARTS = 3  # starts of k-means for each number of components of small data; one for larger data
SMALL = 5_000, 1 << 20  # most points N and most N d^2 of small data
N_CHOICE = 20_000  # settings are chosen with at most so many training points
MOST = 1 << 31  # most multiplications of an E step while settings are chosen: K N d^2
AT_ONCE = 1 << 20  # numbers in a temporary tensor


class Gaussians(NamedTuple):
    """The components of a mixture, in double precision."""

    log_weight: Tensor  # (K,)
    mean: Tensor  # (K, d)
    covariance: Tensor  # (K, d, d)


class Fit(NamedTuple):
    """A fitted mixture, the shrinkage with which it was fitted, and the mean log-likelihood of the held-out points, if it was chosen."""

    gaussians: Gaussians
    shrinkage: float
    log_likelihood: float = -math.inf


def fit(x: Tensor, n_components: int | None, shrinkage: float | None, rng: Rng, held_out: Tensor | None) -> Fit:
    """Fit to the points x, (N, d). Settings that are None are those of the greatest likelihood of the points `held_out`, (n, d)."""
    units = Units(x)
    points = units.standardized(x)
    if n_components is not None and shrinkage is not None:
        found = Fit(maximize(points, clusters(points, n_components, rng), shrinkage), shrinkage)
    else:
        found = choose(points, units.standardized(held_out), n_components, shrinkage, rng)
    return units.original(improve(points, found, TOLERANCE))


def go_on(x: Tensor, fitted: Fit) -> Fit:
    """EM on the points x, (N, d), from a fitted mixture, with its number of components and its shrinkage."""
    units = Units(x)
    return units.original(improve(units.standardized(x), units.standard(fitted), TOLERANCE))


class Units:
    """The mean and standard deviation of the points, in double precision. A constant coordinate has the standard deviation 1."""

    def __init__(self, x: Tensor) -> None:
        x = x.double()
        self.mean = x.mean(0)
        self.scale = x.std(0, correction=0).where(varies(x, 0), 1)

    def standardized(self, x: Tensor) -> Tensor:
        return (x.double() - self.mean) / self.scale

    def original(self, fitted: Fit) -> Fit:
        """The same mixture in the coordinates of the points."""
        log_weight, mean, covariance = fitted.gaussians
        scaled = Gaussians(log_weight, self.mean + self.scale * mean, covariance * torch.outer(self.scale, self.scale))
        return fitted._replace(gaussians=scaled, log_likelihood=fitted.log_likelihood - self.scale.log().sum().item())

    def standard(self, fitted: Fit) -> Fit:
        """The same mixture in standardized coordinates."""
        log_weight, mean, covariance = fitted.gaussians
        scaled = Gaussians(log_weight, self.standardized(mean), covariance / torch.outer(self.scale, self.scale))
        return fitted._replace(gaussians=scaled)


def choose(x: Tensor, held_out: Tensor, n_components: int | None, shrinkage: float | None, rng: Rng) -> Fit:
    """The mixture of the greatest likelihood of the held-out points.

    The number of components grows until the likelihood does not. For each number, the search for the shrinkage begins at the last choice.
    """
    x = x[: min(N_CHOICE, max(N_CHOICE // 10, MOST // (64 * x.shape[1] ** 2)))]
    most = max(1, min(len(x) // 2, MOST // x[0].numel() ** 2 // len(x)))
    best, misses, at = None, 0, FIRST
    for n in (n_components,) if n_components else [n for n in N_COMPONENTS if n <= most]:
        n_starts = N_STARTS if n > 1 and len(x) <= SMALL[0] and len(x) * x.shape[1] ** 2 <= SMALL[1] else 1
        trials = [_climb(x, held_out, clusters(x, n, rng.at(n).at(start)), at, shrinkage) for start in range(n_starts)]
        found, at = max(trials, key=lambda trial: trial[0].log_likelihood)
        misses = 0 if best is None or found.log_likelihood > best.log_likelihood else misses + 1
        best = best if misses else found
        if misses == PATIENCE:
            break
    return best


def _climb(x: Tensor, held_out: Tensor, start: Tensor, at: int, shrinkage: float | None) -> tuple[Fit, int]:
    """The best mixture from these clusters and its index in SHRINKAGE, from neighbor to neighbor; with a given shrinkage, that mixture."""
    tried: dict[int, Fit] = {}

    def value(index: int) -> float:
        if index not in tried:
            points = SHRINKAGE[index] if shrinkage is None else shrinkage
            fitted = improve(x, Fit(maximize(x, start, points), points), ROUGH)
            tried[index] = fitted._replace(log_likelihood=log_prob(held_out, fitted.gaussians).mean().item())
        return tried[index].log_likelihood

    value(at)
    if shrinkage is None and start.shape[1] > 1:  # a single component has the covariance of the points
        for step in (-1, 1):
            while 0 <= at + step < len(SHRINKAGE) and value(at + step) > value(at):
                at += step
    return tried[at], at


def clusters(x: Tensor, n: int, rng: Rng) -> Tensor:
    """The clusters of k-means, one column for each of n centers, (N, n), with a one in the column of the nearest center."""
    at = rng.uniform("centers", n).cpu().double()
    centers = x[(at[0] * len(x)).long()].unsqueeze(0)
    distance = (x - centers).square().sum(-1)
    for k in range(1, n):
        reached = distance.cumsum(0)
        chosen = torch.searchsorted(reached, at[k] * reached[-1]).clamp(max=len(x) - 1)
        centers = torch.cat([centers, x[chosen].unsqueeze(0)])
        distance = torch.minimum(distance, (x - x[chosen]).square().sum(-1))
    for _ in range(N_LLOYD):
        nearest = torch.cat([_nearest(part, centers) for part in x.split(max(1, AT_ONCE // n))])
        count = torch.bincount(nearest, minlength=n).unsqueeze(-1)
        centers = torch.where(count > 0, torch.zeros_like(centers).index_add_(0, nearest, x) / count.clamp(min=1), centers)
    return torch.nn.functional.one_hot(nearest, n).double()


def _nearest(x: Tensor, centers: Tensor) -> Tensor:
    return (centers.square().sum(-1) - 2 * x @ centers.T).argmin(-1)


def maximize(x: Tensor, share: Tensor, shrinkage: float) -> Gaussians:
    """The components of the greatest likelihood of x, (N, d), with the responsibilities `share`, (N, K)."""
    if share.shape[1] == 1:
        return Gaussians(share.new_zeros(1), x.mean(0, keepdim=True), _with_ridge(x.T.cov(correction=0).reshape(1, *2 * x.shape[1:])))
    rows = _rows(x, share.shape[1])
    return _components(sum(share_.T @ features(x_) for x_, share_ in zip(x.split(rows), share.split(rows), strict=True)), shrinkage)


def improve(x: Tensor, fitted: Fit, tolerance: float) -> Fit:
    """EM on x, (N, d), from a mixture, until the mean log-likelihood grows by less than `tolerance` for each coordinate."""
    gaussians, before, rows = fitted.gaussians, -math.inf, _rows(x, len(fitted.gaussians.mean))
    if len(gaussians.mean) == 1:
        return fitted._replace(gaussians=maximize(x, torch.ones_like(x[:, :1]), fitted.shrinkage))
    kept = [features(part) for part in x.split(rows)] if len(x) * x.shape[1] ** 2 < 32 * AT_ONCE else None
    for _ in range(N_ITERATIONS):
        linear, sums, total = coefficients(gaussians), 0, 0.0
        for part in kept or map(features, x.split(rows)):
            log_joint = part @ linear
            log_prob = log_joint.logsumexp(-1, keepdim=True)
            total += log_prob.sum().item()
            sums = sums + (log_joint - log_prob).exp_().T @ part
        gaussians = _components(sums, fitted.shrinkage)
        if total / len(x) - before < tolerance * x.shape[1]:
            break
        before = total / len(x)
    return fitted._replace(gaussians=gaussians)


def log_prob(x: Tensor, gaussians: Gaussians) -> Tensor:
    """log q(x), (N, d) -> (N,)."""
    log_joint = []
    for log_weight, mean, covariance in zip(*gaussians, strict=True):
        factor = torch.linalg.cholesky(covariance)
        white = torch.linalg.solve_triangular(factor, (x - mean).T, upper=False)
        log_joint.append(log_weight - factor.diagonal().log().sum() - 0.5 * white.square().sum(0))
    return torch.stack(log_joint).logsumexp(0) - 0.5 * x.shape[1] * math.log(2 * math.pi)


def features(x: Tensor) -> Tensor:
    """1, x_i and x_i x_j for i >= j, (N, d) -> (N, P)."""
    i, j = torch.tril_indices(x.shape[1], x.shape[1])
    return torch.cat([torch.ones_like(x[:, :1]), x, x[:, i] * x[:, j]], 1)


def _rows(x: Tensor, n_components: int) -> int:
    """The number of points whose features and responsibilities are held at once."""
    return max(1, AT_ONCE // max(x.shape[1] * (x.shape[1] + 3) // 2 + 1, n_components))


def _components(sums: Tensor, shrinkage: float) -> Gaussians:
    """The components from the sums of the features, weighted by the responsibilities, (K, P)."""
    d = round((math.sqrt(8 * sums.shape[1] + 1) - 3) / 2)
    total = sums[:, 0].clamp(min=1e-9)
    mean, i, j = sums[:, 1 : d + 1] / total.unsqueeze(-1), *torch.tril_indices(d, d)
    covariance = sums.new_empty(len(sums), d, d)
    covariance[:, i, j] = covariance[:, j, i] = sums[:, d + 1 :] / total.unsqueeze(-1)
    covariance = covariance - mean.unsqueeze(-1) * mean.unsqueeze(-2)
    weight = (total / total.sum())[:, None, None]
    pooled, total = (weight * covariance).sum(0), total[:, None, None]
    covariance = (total * covariance + shrinkage * pooled) / (total + shrinkage)
    return Gaussians(weight.flatten().log(), mean, _with_ridge(covariance))


def _with_ridge(covariance: Tensor) -> Tensor:
    return covariance + RIDGE * torch.eye(covariance.shape[-1], dtype=covariance.dtype)


def coefficients(gaussians: Gaussians) -> Tensor:
    """The coefficients of the features in log w_k N(x; mu_k, C_k), (P, K)."""
    log_weight, mean, covariance = gaussians
    factor = torch.linalg.cholesky(covariance)
    precision = torch.cholesky_inverse(factor)
    along = (precision @ mean.unsqueeze(-1)).squeeze(-1)
    constant = log_weight - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) - 0.5 * mean.shape[1] * math.log(2 * math.pi)
    i, j = torch.tril_indices(mean.shape[1], mean.shape[1])
    products = -precision[:, i, j] * torch.where(i == j, 0.5, 1.0)
    return torch.cat([(constant - 0.5 * (mean * along).sum(-1)).unsqueeze(-1), along, products], 1).T.contiguous()

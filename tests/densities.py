"""Checks of an exact density: it integrates to one, has the stated entropy, and is the distribution of its draws.

Statistical checks are seeded; each states its false-alarm rate.
"""

import math

import numpy as np
import torch
from scipy.stats import chisquare

from ebm_cli.config import compatibility, option_files, schema
from ebm_cli.core.rng import Rng
from ebm_cli.metrics import quadrature


def option(name, **changes):
    """The dataset of conf/dataset/NAME.yaml, with some values changed."""
    return schema.build(option_files.node_of(option_files.groups()["dataset"][name].path) | changes)


def real_densities():
    """The options of datasets of real events with a known density."""
    nodes = compatibility.options("dataset", [])
    return sorted(name for name, node in nodes.items() if {"real", "density"} <= compatibility.provides({"dataset": node}))


def check_refused(name, **changes):
    """Each of the changed values is refused because of its type, and the problem names its key."""
    node = option_files.node_of(option_files.groups()["dataset"][name].path)
    for key, value in changes.items():
        problems = []
        schema.check_node(node | {key: value}, "dataset", schema.KINDS["dataset"], problems)
        assert f"dataset.{key}" in str(problems), key


def cells(dataset, n=400, wider=1.0):
    """The edges of n cells of the widened box for each coordinate, and the mass of each of the n^d cells by the midpoint rule."""
    edges = [np.linspace(*ends, n + 1) for ends in quadrature.widen(tuple(dataset.box), wider)]
    middle = torch.cartesian_prod(*(torch.from_numpy((edge[1:] + edge[:-1]) / 2) for edge in edges)).reshape(-1, len(edges))
    volume = math.prod(edge[1] - edge[0] for edge in edges)
    return edges, (dataset.log_prob(middle).exp() * volume).reshape([n] * len(edges)).numpy()


def check_mass_and_entropy(dataset, entropy, *, n=400, tolerance=5e-5, mass=1e-7):
    edges, p = cells(dataset, n)
    log_volume = sum(math.log(edge[1] - edge[0]) for edge in edges)
    assert abs(p.sum() - 1) < mass
    assert abs(-(p * (np.log(np.maximum(p, 1e-300)) - log_volume)).sum() - entropy) < tolerance


def check_box(dataset, n=400):
    """The probability outside the box is below 1e-9 per coordinate."""
    edges, p = cells(dataset, n, wider=1.5)
    for axis, (edge, (low, high)) in enumerate(zip(edges, dataset.box, strict=True)):
        outside = np.abs(edge[1:] + edge[:-1] - low - high) > high - low
        assert np.moveaxis(p, axis, 0)[outside].sum() < 1e-9


def check_draws(dataset, *, n=480, n_draws=100_000):
    """Chi-square test over a 24 x 24 division of the box; cells that expect fewer than 20 draws are merged. False-alarm rate 1e-6."""
    edges, p = cells(dataset, n)
    coarse = p.reshape(24, n // 24, 24, n // 24).sum((1, 3)).ravel()
    draws = dataset.draw(n_draws, Rng(1)).double().numpy()
    observed = np.histogram2d(*draws.T, bins=[edge[:: n // 24] for edge in edges])[0].ravel()
    full = coarse * n_draws >= 20
    expected = np.append(coarse[full], coarse[~full].sum()) * n_draws
    observed = np.append(observed[full], n_draws - observed[full].sum())
    keep = expected > 1
    assert keep.sum() > 20
    assert observed[~keep].sum() < 12  # with an expectation below 1, the false-alarm rate is 1e-9
    assert chisquare(observed[keep], expected[keep] * observed[keep].sum() / expected[keep].sum()).pvalue > 1e-6


def check_mean_log_prob(dataset, entropy, *, n_draws=40_000, seed=0):
    """The mean of -log p over draws is the entropy, within 5 standard errors: one false alarm in 2e6."""
    log_p = dataset.log_prob(dataset.draw(n_draws, Rng(seed)))
    assert abs(log_p.mean() + entropy) < 5 * log_p.std() / n_draws**0.5


def check_streams(dataset):
    """Consecutive points are uncorrelated (5 standard errors: one false alarm in 2e6 per coordinate), and seeds give different points."""
    x = dataset.draw(20_000, Rng(3))
    assert len({tuple(row) for row in x.tolist()}) > 19_990
    for column in (*x.T, *(x.T - x.T.mean(1, keepdim=True)).abs()):
        rank = column.argsort().argsort().double()
        assert abs(torch.corrcoef(torch.stack([rank[1:], rank[:-1]]))[0, 1]) < 5 / 20_000**0.5
    stack = dataset.draw(50, Rng((5, 3)))
    assert torch.equal(stack[1], dataset.draw(50, Rng(3)))
    assert torch.equal(stack[0], dataset.draw(50, Rng(5)))


def check_gradient(dataset, x):
    """Compare the gradient with central differences, in double precision, for points (N, d) and for a stack; log p is finite far out."""
    x = torch.as_tensor(x, dtype=torch.double)
    assert torch.autograd.gradcheck(dataset.log_prob, x.clone().requires_grad_(), eps=1e-6, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(dataset.log_prob(x.expand(3, *x.shape)), dataset.log_prob(x).expand(3, -1))
    assert dataset.log_prob(x.float()).dtype == torch.double
    far = (50 * torch.eye(x.shape[-1], dtype=torch.double)).requires_grad_()
    value = dataset.log_prob(far)
    assert value.isfinite().all()
    assert torch.autograd.grad(value.sum(), far)[0].isfinite().all()
    assert (value < -20).all()


def check_modes(dataset, *, n_draws=50_000):
    """The fractions of draws in the modes are the weights, within 5 standard errors (one false alarm in 2e6 per mode)."""
    weight = dataset.mode_weights
    assert weight.dtype == torch.double
    assert abs(weight.sum() - 1) < 1e-12
    mode = dataset.mode(dataset.draw(n_draws, Rng(2)))
    share = torch.bincount(mode, minlength=len(weight)).double() / n_draws
    assert len(share) == len(weight)
    assert ((share - weight).abs() < 5 * (weight * (1 - weight) / n_draws).sqrt()).all()

"""Moons: the density integrates to one, has the known entropy, and is that of the draws. Statistical checks are seeded."""

import densities
import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from sklearn.datasets import make_moons

from ebm_cli.core.rng import Rng
from ebm_cli.datasets.moons import Moons

CASES = [(0.1, 1.0, 1.0076), (0.2, 2.0, 2.3939)]  # noise, scale, entropy in nats


def fresh(noise, scale):
    return Moons(n_train=None, noise=noise, scale=scale)


def density_on_grid(moons, step=0.5):
    """The axes of a grid, and p at its points. It extends 9 `noise` beyond the arcs, with a spacing of `step` times `noise`."""
    step = step * moons.noise
    reach = 9 * moons.noise
    x, y = (torch.arange(-width - reach, width + reach, step, dtype=torch.double) for width in (1.5 * moons.scale, 0.75 * moons.scale))
    points = torch.cartesian_prod(x, y)
    log_p = torch.cat([moons.log_prob(part) for part in points.split(4096)])
    return x.numpy(), y.numpy(), log_p.exp().reshape(len(x), len(y)).numpy(), step


@pytest.mark.parametrize(("noise", "scale", "entropy"), CASES)
def test_mass_and_entropy(noise, scale, entropy):
    _, _, p, step = density_on_grid(fresh(noise, scale))
    assert abs(p.sum() * step**2 - 1) < 1e-9
    assert abs(-(p * np.log(np.maximum(p, 1e-300))).sum() * step**2 - entropy) < 5e-5


def test_mass_for_small_noise():
    _, _, p, step = density_on_grid(fresh(0.05, 1.5))
    assert abs(p.sum() * step**2 - 1) < 1e-9


@pytest.mark.parametrize(("noise", "scale", "entropy"), CASES)
def test_mean_log_prob_of_its_draws_is_minus_the_entropy(noise, scale, entropy):
    """They agree within 4 standard errors: one false alarm in 16,000."""
    moons = fresh(noise, scale)
    log_p = torch.cat([moons.log_prob(part) for part in moons.draw(20_000, Rng(0)).split(4096)])
    assert abs(log_p.mean() + entropy) < 4 * log_p.std() / 20_000**0.5


@pytest.mark.parametrize(("noise", "scale"), [(0.1, 1.0), (0.6, 2.0)])
def test_draws_follow_the_density(noise, scale):
    """Chi-square test over 8 columns of equal mass, each divided into 6 cells of equal mass. False-alarm rate 1e-6."""
    moons = fresh(noise, scale)
    x, y, p, step = density_on_grid(moons, step=0.25)
    p = p / p.sum()
    draws, observed, expected = moons.draw(200_000, Rng(1)).double().numpy(), [], []
    column_cuts = np.searchsorted(p.sum(1).cumsum(), np.arange(1, 8) / 8)
    for low, high in zip([0, *column_cuts], [*column_cuts, len(x)], strict=True):
        column = p[low:high].sum(0)
        inside = draws[(draws[:, 0] > x[low] - step / 2) & (draws[:, 0] <= x[high - 1] + step / 2), 1]
        cuts = np.searchsorted(column.cumsum() / column.sum(), np.arange(1, 6) / 6)
        expected += np.diff(np.concatenate([[0], column.cumsum()[cuts - 1], [column.sum()]])).tolist()
        observed += np.bincount(np.searchsorted(y[cuts] - step / 2, inside), minlength=6).tolist()
    assert len(observed) == 48
    assert sum(observed) == 200_000
    assert chisquare(observed, 200_000 * np.array(expected)).pvalue > 1e-6


def test_arcs_are_those_of_scikit_learn_centered_at_the_origin():
    """Without noise every draw lies on one of the two half circles, and each has half of the draws (5 standard errors)."""
    moons = fresh(1e-7, 2.0)
    draws = moons.draw(10_000, Rng(0)).double()
    curve = 2 * (torch.from_numpy(make_moons(2000, shuffle=False)[0]) - torch.tensor([0.5, 0.25], dtype=torch.double))
    assert torch.cdist(draws, curve).amin(1).max() < 2 * np.pi / 999  # the spacing of scikit-learn's angles
    on_upper = torch.cdist(draws, curve[:1000]).amin(1) < 2 * np.pi / 999
    assert abs(on_upper.double().mean() - 0.5) < 5 * 0.5 / 100


def test_box_contains_all_but_1e_9_of_the_mass():
    moons = fresh(0.2, 2.0)
    x, y, p, step = density_on_grid(moons)
    outside = (x < moons.box[0][0])[:, None] | (x > moons.box[0][1])[:, None] | (y < moons.box[1][0]) | (y > moons.box[1][1])
    assert p[outside].sum() * step**2 < 1e-9
    assert moons.length_scale == 0.2


def test_modes_are_the_arcs():
    moons = fresh(0.2, 2.0)
    densities.check_modes(moons)
    angle = torch.linspace(0.1, 2 * np.pi, 40)
    assert torch.equal(moons.mode(moons._arc(angle)), (angle > np.pi).long())


def rows(x):
    return {tuple(row) for row in x.tolist()}


def test_a_training_set_is_fixed_per_seed_and_covered_once_per_epoch():
    moons = Moons(n_train=60, noise=0.1, scale=1.0)
    train = moons.split("train", 60, Rng(3)).x
    assert torch.equal(train, Moons(n_train=60, noise=0.1, scale=1.0).split("train", 60, Rng(3)).x)
    assert not rows(train) & rows(moons.split("train", 60, Rng(4)).x)
    epochs = [torch.cat([moons.batch(3 * epoch + i, 20, Rng(3)).x for i in range(3)]) for epoch in range(2)]
    assert rows(epochs[0]) == rows(epochs[1]) == rows(train)
    assert len(rows(train)) == 60
    assert not torch.equal(*epochs)


def test_splits_have_the_requested_size_but_training_sets_are_limited():
    moons = Moons(n_train=60, noise=0.1, scale=1.0)
    assert [len(moons.split(name, n, Rng(3)).x) for name, n in (("validation", 10), ("test", 100), ("train", 100))] == [10, 100, 60]


def test_fresh_draws_do_not_repeat_and_are_a_function_of_the_step():
    moons = fresh(0.1, 1.0)
    batches = [moons.batch(step, 50, Rng(3)).x for step in range(4)]
    assert len(rows(torch.cat(batches))) == 200
    assert torch.equal(batches[2], fresh(0.1, 1.0).batch(2, 50, Rng(3)).x)


@pytest.mark.parametrize("n_train", [None, 60])
def test_splits_are_independent_draws(n_train):
    """They have no row in common, and rows with the same index are uncorrelated (6 standard errors, 12 pairs: one false alarm in 4e7)."""
    moons = Moons(n_train=n_train, noise=0.1, scale=1.0)
    parts = [moons.split(name, 60, Rng(3)).x for name in ("train", "validation", "test")] + [moons.batch(0, 60, Rng(3)).x]
    independent = parts if n_train is None else parts[:3]
    assert len(rows(torch.cat(independent))) == 60 * len(independent)
    centered = torch.stack([part.T for part in independent])
    for i in range(len(independent)):
        for j in range(i):
            for axis in range(2):
                assert abs(torch.corrcoef(torch.stack([centered[i, axis], centered[j, axis]]))[0, 1]) < 6 / 60**0.5


@pytest.mark.parametrize("n_train", [None, 60])
def test_model_m_of_a_stack_has_the_draws_of_a_single_run_with_its_seed(n_train):
    moons = Moons(n_train=n_train, noise=0.1, scale=1.0)
    for m, seed in enumerate((5, 2)):
        for name in ("train", "validation", "test"):
            assert torch.equal(moons.split(name, 60, Rng((5, 2))).x[m], moons.split(name, 60, Rng(seed)).x)
        for step in (0, 4):
            assert torch.equal(moons.batch(step, 20, Rng((5, 2))).x[m], moons.batch(step, 20, Rng(seed)).x)

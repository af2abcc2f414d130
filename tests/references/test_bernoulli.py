"""Independent Bernoulli coordinates by hand and by enumeration. Statistical checks are seeded (false-alarm rate 1e-6 each)."""

from itertools import combinations, product

import numpy as np
import pytest
import torch
from reference_checks import check_entropy, check_no_score, check_stack, check_streams, check_tilt
from scipy.stats import bernoulli, binomtest, chisquare

from ebm_cli.core.rng import Rng
from ebm_cli.references.bernoulli import Bernoulli

pytestmark = pytest.mark.usefixtures("double")

Q = Bernoulli(1.0)
EVENTS = torch.tensor(list(product([0.0, 1.0], repeat=4)), dtype=torch.double)  # all events of four coordinates


def data(n=60, seed=1):
    """The second coordinate equals the first; the last is always 0."""
    x = (Rng(seed).uniform("x", n, 4) < torch.tensor([0.2, 0.5, 0.7, 0.0])).double()
    x[:, 1] = x[:, 0]
    return x


def test_the_marginals_are_smoothed():
    """(n_i + s) / (N + 2 s) for 3 events by hand: strictly between 0 and 1."""
    x = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    torch.testing.assert_close(Bernoulli(1.0).fit(x, x.shape[-1:], Rng(0))["probability"], torch.tensor([4 / 5, 1 / 5, 3 / 5]))
    torch.testing.assert_close(Bernoulli(0.5).fit(x, x.shape[-1:], Rng(0))["probability"], torch.tensor([3.5 / 4, 0.5 / 4, 2.5 / 4]))


def test_log_prob_is_that_of_scipy():
    params = Q.fit(data(), data().shape[-1:], Rng(0))
    expected = bernoulli(params["probability"].numpy()).logpmf(EVENTS.numpy()).sum(-1)
    torch.testing.assert_close(Q.log_prob(params, EVENTS), torch.from_numpy(expected))


def test_it_sums_to_one():
    assert Q.log_prob(Q.fit(data(), data().shape[-1:], Rng(0)), EVENTS).exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    assert Q.log_normalizer(Q.fit(data(), data().shape[-1:], Rng(0))) == 0.0


def test_draws_follow_the_distribution():
    """The frequency of ones in each coordinate, each pair of coordinates, and the sixteen events by a chi-squared test."""
    x_train, n, q = data(), 20_000, Bernoulli(10.0)
    params = q.fit(x_train, x_train.shape[-1:], Rng(0))
    x, p = q.draw(params, n, Rng(1), "start"), params["probability"]
    assert x.unique().tolist() == [0.0, 1.0]
    for column, share in zip(x.T, p.tolist(), strict=True):
        assert binomtest(int(column.sum()), n, share).pvalue > 1e-6
    for i, j in combinations(range(4), 2):  # the correlation of the data is not modeled
        assert binomtest(int((x[:, i] * x[:, j]).sum()), n, (p[i] * p[j]).item()).pvalue > 1e-6
    counts = torch.bincount((x @ torch.tensor([8.0, 4.0, 2.0, 1.0])).long(), minlength=16).numpy()
    expected = n * q.log_prob(params, EVENTS).exp().numpy()
    assert expected.min() > 5
    assert chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-6
    check_entropy(q, x_train, sum(bernoulli(share).entropy() for share in p.tolist()))


def test_tilt():
    check_tilt(Q, data(), EVENTS)
    check_tilt(Q, torch.stack([data(), data(seed=2)]), torch.stack([EVENTS, EVENTS]))


def test_it_has_no_score_and_requires_binary_events():
    check_no_score(Q, data(), EVENTS)
    assert Q.requires == {"binary"}
    assert Q.starts_at_zero
    assert Q.as_noise() is Q


def test_each_model_of_a_stack_equals_the_single_model():
    check_stack(Q, torch.stack([data(), data(seed=2)]))


def test_streams():
    check_streams(Q, data())


def test_draws_have_the_precision_of_the_data():
    params = Q.fit(data().float(), data().float().shape[-1:], Rng(0))
    assert {name: value.dtype for name, value in params.items()} == {"probability": torch.float}
    assert Q.draw(params, 5, Rng(1), "start").dtype == torch.float
    assert np.isfinite(Q.log_prob(params, EVENTS.float()).numpy()).all()

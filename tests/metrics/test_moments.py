"""Errors of means and covariances where they are known. Draws are seeded."""

import math

import pytest
import torch
from contexts import Normal, context_of
from discrete import SPACES, Table

from ebm_cli.core.contracts import Dataset
from ebm_cli.core.indicators import columns
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import states
from ebm_cli.metrics.moments import Moments
from ebm_cli.types import Batch, Space

pytestmark = pytest.mark.usefixtures("double")

DATA = Normal(None, (0.0, 1.0), ((1.0, 0.5), (0.5, 2.0)))


def measured(samples, dataset=DATA, n_points=10_000, max_columns=100):
    module = Table(SPACES["bits"]) if dataset.space.kind != "real" else torch.nn.Linear(2, 1)
    return Moments(n_points, max_columns)(context_of(module, dataset, samples.unsqueeze(1)))


def test_errors_of_shifted_and_stretched_draws_by_hand():
    """Of the test events themselves, moved by 0.3 along x_0 and multiplied by 2 along x_1 around their mean."""
    y = DATA.split("test", 10_000, Rng(0)).x
    mean, covariance = y.mean(0), y.T.cov()
    x = y + torch.tensor([0.3, 0.0])
    x[:, 1] = mean[1] + 2 * (y[:, 1] - mean[1])
    found = measured(x)
    s0, s1 = covariance[0, 0].sqrt(), (2.5 * covariance[1, 1]).sqrt()
    assert found["mean_error_max"] == pytest.approx((0.3 / s0).item())
    assert found["mean_error"] == pytest.approx((0.3 / s0).item() / math.sqrt(2))
    pairs = torch.stack([torch.zeros(()), covariance[0, 1] / (s0 * s1), 3 * covariance[1, 1] / s1**2])
    assert found["covariance_error_max"] == pytest.approx(pairs.max().item())
    assert found["covariance_error"] == pytest.approx(pairs.square().mean().sqrt().item())


def test_independent_draws_have_the_errors_of_the_floor():
    """E d^2 = 1/n + 1/n'. The root mean square over 400 seeds is within 10 % of it: five standard errors of chi-square with 800 degrees."""
    floors = []
    for seed in range(400):
        x, y = DATA.draw(200, Rng(seed).at("x")), DATA.draw(300, Rng(seed).at("y"))
        floors.append(Moments(1, 10).errors(x, y)["mean_error"] ** 2)
    assert sum(floors) / 400 == pytest.approx(1 / 200 + 1 / 300, rel=0.1)
    found = measured(DATA.draw(10_000, Rng(5)))
    assert 0.2 < found["mean_error"] / found["mean_error_floor"] < 5
    assert 0.2 < found["covariance_error"] / found["covariance_error_floor"] < 5


def test_columns_of_bits_are_spins_and_of_categories_indicators():
    bits = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    assert columns(bits, Space((2,), "binary")).tolist() == [[-1, 1], [1, 1]]
    ragged = torch.tensor([[1.0, 3.0, 0.0]])
    assert columns(ragged, SPACES["ragged"]).tolist() == [[0, 1, 0, 0, 0, 1, 1, 0, 0]]
    assert columns(torch.zeros(2, 5, 2, 2), SPACES["bits"]).shape == (2, 5, 4)


class Held(Dataset):
    """All splits are events of two bits of which the first is constant."""

    n_train = 5
    space = Space((2,), "binary")
    provides = frozenset({"binary"})

    def split(self, name, n, rng):
        return Batch(torch.tensor([[0.0, 0.0], [0.0, 1.0]]).repeat(10, 1))


def test_constant_columns_have_no_error_if_they_are_equal():
    data = Held().split("test", 20, None).x
    assert measured(data, Held())["mean_error"] == 0
    assert measured(data, Held())["covariance_error_max"] == 0
    found = measured(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), Held())
    assert "constant in the samples and in the data" in found["mean_error"]
    once = data.clone()
    once[0, 0] = 1  # in one of 20 events: p = 0.05, and d = 2 p / sqrt(4 p (1 - p) n / (n - 1) / 2)
    assert measured(once, Held())["mean_error_max"] == pytest.approx(0.1 / math.sqrt(0.19 * 20 / 19 / 2))


def test_reasons():
    assert measured(torch.full((5, 2), torch.nan)) == "the samples are not finite"
    assert measured(torch.zeros(1, 2)) == "a variance needs two events"
    assert "more than metric.moments.max_columns=1" in measured(DATA.draw(50, Rng(0)), max_columns=1)["covariance_error"]


def test_categories_have_the_errors_of_their_indicators():
    space, events = SPACES["ragged"], states(SPACES["ragged"])
    x, y = columns(events[:17], space), columns(events[3:20], space)
    found = Moments(1, 100).errors(x, y)
    scale = ((x.var(0) + y.var(0)) / 2).sqrt()
    expected = ((x.mean(0) - y.mean(0)) / scale).nan_to_num()
    assert found["mean_error_max"] == pytest.approx(expected.abs().max().item())

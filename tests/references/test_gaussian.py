"""The Gaussian with independent coordinates against scipy. Statistical checks are seeded (false-alarm rate 1e-6 each)."""

import math

import pytest
import torch
from reference_checks import check_entropy, check_score, check_stack, check_streams, check_tilt, coordinates
from scipy.stats import kstest, norm
from targets import log_integral, normal_nodes

from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import event_scale
from ebm_cli.references.full_gaussian import FullGaussian
from ebm_cli.references.gaussian import Gaussian

pytestmark = pytest.mark.usefixtures("double")

Q = Gaussian()


def data(n=400, rng=None):
    """Points that are correlated and off-centre, with two scales."""
    factor = torch.tensor([[2.0, 0.3], [0.0, 0.4]])
    return (rng or Rng(1)).normal("x", n, 2) @ factor + torch.tensor([3.0, -1.0])


def spread(params, reach=9.0):
    """A box that extends `reach` standard deviations to each side of the mean."""
    mean, scale = params["mean"], params["scale"]
    return list(zip((mean - reach * scale).tolist(), (mean + reach * scale).tolist(), strict=True))


def test_it_has_the_mean_and_standard_deviation_of_the_data():
    x = data()
    params = Q.fit(x, x.shape[-1:], Rng(0))
    torch.testing.assert_close(params["mean"], torch.from_numpy(x.numpy().mean(0)))
    torch.testing.assert_close(params["scale"], torch.from_numpy(x.numpy().std(0, ddof=1)))


def test_log_prob_is_that_of_scipy():
    params, x = Q.fit(data(), data().shape[-1:], Rng(0)), 3 * data(50)
    expected = norm(params["mean"].numpy(), params["scale"].numpy()).logpdf(x.numpy()).sum(-1)
    torch.testing.assert_close(Q.log_prob(params, x), torch.from_numpy(expected))


def test_it_integrates_to_one_and_its_tilt_to_the_normalizer():
    """The tilt of a point is |u|^2 / 2."""
    x_train = data()
    params = Q.fit(x_train, x_train.shape[-1:], Rng(0))
    assert log_integral(lambda x: -Q.log_prob(params, x), spread(params)) == pytest.approx(0.0, abs=1e-9)
    integral = log_integral(lambda x: Q.tilt(params, x, coordinates(x_train, x)[0]), spread(params))
    assert integral == pytest.approx(Q.log_normalizer(params).item(), abs=1e-9)
    point = params["mean"] + 3 * params["scale"] * torch.tensor([[1.0, -2.0]])
    torch.testing.assert_close(Q.tilt(params, point, coordinates(x_train, point)[0]), torch.tensor([0.5 * 9 * 5]))


def test_draws_follow_the_distribution():
    x_train = data()
    params = Q.fit(x_train, x_train.shape[-1:], Rng(0))
    white = (Q.draw(params, 20_000, Rng(1), "start") - params["mean"]) / params["scale"]
    assert all(kstest(column.numpy(), "norm").pvalue > 1e-6 for column in white.T)
    assert abs(torch.corrcoef(white.T)[0, 1]) < 4.9 * 20_000**-0.5  # the correlation of the data is not modeled
    check_entropy(Q, x_train, math.log(2 * math.pi * math.e) + params["scale"].log().sum())


def test_tilt():
    check_tilt(Q, data(), 2 * data(30))
    check_tilt(Q, torch.stack([data(), 2 * data() - 1]), torch.stack([data(30), data(30)]))


@pytest.mark.parametrize("sigma", [0.2, 1.0, 3.0])
def test_the_smoothed_distribution_is_the_convolution_with_the_noise(sigma):
    """Up to a constant, E_z q(x + sigma z) by Gauss-Hermite quadrature in each coordinate, and N(mean, scale^2 + sigma^2) of scipy."""
    z, weight = normal_nodes(180)
    params = {"mean": torch.tensor([3.0, -1.0]), "scale": torch.tensor([2.0, 1.5])}  # wide enough for the quadrature at the largest sigma
    x = params["mean"] + params["scale"] * Rng(2).normal("x", 20, 2)
    variance = params["scale"].square() + sigma**2
    tilt = Q.tilt(params, x, (x - params["mean"]) / variance.sqrt(), torch.full((20,), sigma))
    alone = norm(params["mean"].numpy(), params["scale"].numpy())
    convolved = (torch.from_numpy(alone.pdf((x.unsqueeze(1) + sigma * z[:, None]).numpy())) * weight[:, None]).sum(1).log().sum(-1)
    exact = torch.from_numpy(norm(params["mean"].numpy(), variance.sqrt().numpy()).logpdf(x.numpy())).sum(-1)
    torch.testing.assert_close(convolved, exact, atol=1e-6, rtol=0)
    torch.testing.assert_close(tilt - tilt[0], exact[0] - exact)


def test_score():
    x_train, x, level = data(), 2 * data(30), torch.linspace(0.05, 3.0, 30)
    check_score(Q, x_train, x, level)
    params, (u, inverse_width) = Q.fit(x_train, x_train.shape[-1:], Rng(0)), coordinates(x_train, x, level)
    expected = -(x - params["mean"]) / (params["scale"].square() + level.square().unsqueeze(-1))
    torch.testing.assert_close(Q.score(params, x, u, inverse_width, level) * inverse_width, expected)


def test_each_model_of_a_stack_equals_the_single_model():
    check_stack(Q, torch.stack([data(), 2 * data() - 1]))


def test_streams():
    check_streams(Q, data())


def test_as_noise_it_is_the_gaussian_with_the_full_covariance():
    assert Q.as_noise() == FullGaussian()
    assert isinstance(Q.as_noise(), FullGaussian)


def test_networks_tilted_by_it_have_the_usual_initialization():
    assert not Q.starts_at_zero


def test_the_entries_of_an_array_share_one_scale():
    """It is the root mean square of their standard deviations, so a pixel that hardly varies is not narrow. Each entry has its mean."""
    x = data().unflatten(-1, (1, 2))
    params = Q.fit(x.flatten(1), (1, 2), Rng(0))
    own = data().std(0)
    torch.testing.assert_close(params["scale"], own.square().mean().sqrt().expand(2))
    torch.testing.assert_close(params["mean"], data().mean(0))
    assert torch.equal(event_scale(torch.ones(5, 1, 2), 2), torch.ones(1, 2))  # constant data

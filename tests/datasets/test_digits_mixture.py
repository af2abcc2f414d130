"""The mixture that was fitted to digits, compared with torch and with the digits. Statistical checks are seeded."""

import densities
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.distributions import Categorical, LowRankMultivariateNormal, MixtureSameFamily

from ebm_cli.core.rng import Rng
from ebm_cli.datasets.digits_mixture import FILE


def by_torch():
    with np.load(FILE) as file:
        weight, centre, loading, variance = (torch.from_numpy(file[name]).double() for name in ("weight", "centre", "loading", "variance"))
    return MixtureSameFamily(Categorical(weight), LowRankMultivariateNormal(centre, loading, variance))


def digits():
    gray = load_digits().data
    return torch.from_numpy((gray + np.random.default_rng(1).uniform(size=gray.shape)) / 17)


def test_the_file_is_small_and_single_precision():
    assert FILE.stat().st_size < 300_000
    with np.load(FILE) as file:
        assert {name: (file[name].shape, file[name].dtype.name) for name in file} == {
            "weight": ((20,), "float32"),
            "centre": ((20, 64), "float32"),
            "loading": ((20, 64, 8), "float32"),
            "variance": ((20, 64), "float32"),
        }


def test_log_prob_agrees_with_torch():
    dataset = densities.option("digits_mixture")
    x = torch.cat([dataset.draw(50, Rng(0)).double(), digits()[:50], 100 * Rng(2).normal("x", 5, 64).double()])
    torch.testing.assert_close(dataset.log_prob(x), by_torch().log_prob(x), rtol=1e-9, atol=1e-9)


def test_draws_have_the_moments_and_shares_of_the_mixture():
    """The mean and second moments within 6 standard errors, which are measured (one false alarm in 2e5 over all 2,080 moments). The mean
    of the share of a component is its weight, within 5 standard errors (one false alarm in 2e6 per component)."""
    dataset, expected = densities.option("digits_mixture"), by_torch()
    x, weight = dataset.draw(20_000, Rng(0)).double(), expected.mixture_distribution.probs
    parts = expected.component_distribution
    second = torch.einsum("k,kij->ij", weight, parts.covariance_matrix + parts.mean.unsqueeze(-1) * parts.mean.unsqueeze(-2))
    products = torch.einsum("ni,nj->nij", x, x)
    assert ((x.mean(0) - expected.mean).abs() < 6 * x.std(0) / 20_000**0.5).all()
    assert ((products.mean(0) - second).abs() < 6 * products.std(0) / 20_000**0.5).all()
    share = dataset._log_components(x).softmax(-1)
    assert ((share.mean(0) - weight).abs() < 5 * share.std(0) / 20_000**0.5 + 1e-9).all()


def test_it_resembles_the_digits():
    """The mean NLL of the digits, in nats, is near the entropy of the mixture, which was fitted to them with other dequantization noise."""
    dataset = densities.option("digits_mixture")
    nll = -dataset.log_prob(digits())
    entropy = -dataset.log_prob(dataset.draw(4000, Rng(0)))
    assert abs(nll.mean() - entropy.mean()) < 3
    assert nll.mean() < -70


def test_streams_and_box():
    dataset = densities.option("digits_mixture")
    densities.check_streams(dataset)
    low, high = torch.tensor(dataset.box).T
    x = dataset.draw(20_000, Rng(1))
    assert (x > low).all()
    assert (x < high).all()
    parts = by_torch().component_distribution
    reach = 6.5 * parts.variance.sqrt()
    torch.testing.assert_close(high.double(), (parts.mean + reach).amax(0), rtol=1e-5, atol=1e-5)


def test_gradient():
    dataset = densities.option("digits_mixture")
    densities.check_gradient(dataset, dataset.draw(2, Rng(0)))

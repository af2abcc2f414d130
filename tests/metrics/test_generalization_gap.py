"""The generalization gap of Gaussians in closed form. Draws are seeded."""

from dataclasses import dataclass

import pytest
import torch
from contexts import Normal, context_of, reason
from standard import gaussian

from ebm_cli.core.contracts import Dataset
from ebm_cli.core.rng import Rng
from ebm_cli.energies.gaussian import Gaussian
from ebm_cli.energies.score_mlp import ScoreMLP
from ebm_cli.metrics.generalization_gap import GeneralizationGap
from ebm_cli.types import Batch, Space

EYE = ((1.0, 0.0), (0.0, 1.0))
MEAN = (0.5, -1.0)
N_TRAIN, N_TEST = 40, 2000


@dataclass(frozen=True)
class Rows(Dataset):
    """Points without a known density."""

    train: torch.Tensor
    test: torch.Tensor

    @property
    def space(self):
        return Space(tuple(self.train.shape[1:]))

    @property
    def n_train(self):
        return len(self.train)

    def split(self, name, n, rng):
        return Batch({"train": self.train, "validation": -self.test, "test": self.test}[name][:n])


def measure(dataset, mean, *, seed=0, final=True, n_points=N_TEST):
    found = GeneralizationGap(n_points)(
        context_of(Gaussian(mean=list(mean), covariance=[list(row) for row in EYE]), dataset, seed=seed, final=final)
    )
    return found if isinstance(found, str) else tuple(found.values())


def fitted(seed):
    """The mean of the training points of the run with this seed, (2,)."""
    return Normal(N_TRAIN, MEAN, EYE).split("train", N_TRAIN, Rng(seed)).x.mean(0)


@pytest.mark.parametrize("seed", [0, 1])
def test_maximum_likelihood_on_a_few_points(double, seed):
    """E + log p of N(m, I) and N(mu, I) is (mu - m)'x up to a constant: the gap is (m - mean of the test points)'(m - mu)."""
    m, mu = fitted(seed), torch.tensor(MEAN)
    test = Normal(N_TRAIN, MEAN, EYE).split("test", N_TEST, Rng(seed)).x
    gap, error = measure(Normal(N_TRAIN, MEAN, EYE), m.tolist(), seed=seed)
    assert gap == pytest.approx(((m - test.mean(0)) @ (m - mu)).item(), rel=1e-9)
    train = Normal(N_TRAIN, MEAN, EYE).split("train", N_TRAIN, Rng(seed)).x
    assert error == pytest.approx(sum(((x @ (mu - m)).var() / len(x)) for x in (train, test)).sqrt().item(), rel=1e-9)


def test_a_fitted_parameter_costs_one_over_n(double):
    """The gap of a fitted mean is chi^2_2 / n, twice the excess on either side (Akaike 1974). The mean over 400 runs agrees within 4
    standard errors: one false alarm in 16,000."""
    gaps = torch.tensor([measure(Normal(N_TRAIN, MEAN, EYE), fitted(seed).tolist(), seed=seed)[0] for seed in range(400)])
    expected, variance = 2 / N_TRAIN, 4 / N_TRAIN**2 + 2 / N_TRAIN / N_TEST
    assert abs(gaps.mean().item() - expected) < 4 * (variance / 400) ** 0.5


def test_the_true_density_has_no_gap(double):
    gap, error = measure(Normal(N_TRAIN, MEAN, EYE), MEAN)
    assert abs(gap) < 1e-12
    assert error < 1e-12


@pytest.mark.parametrize("final", [True, False])
def test_energies_are_compared_if_no_density_is_known(double, final):
    """E = |x|^2 / 2 has the mean 1 over the test points 0 and (2, 0), and 0.125 over the training points."""
    train, test = torch.tensor([[0.0, 0.5], [0.5, 0.0], [-0.5, 0.0], [0.0, 0.5]]), torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    assert measure(Rows(train, test), (0.0, 0.0), final=final) == (1 - 0.125, pytest.approx(1.0))
    assert measure(Rows(train, test), (0.0, 2.0), n_points=1)[0] == pytest.approx(2 - 1.5**2 / 2)


def test_a_single_point_has_no_standard_error(double):
    gap, error = measure(Rows(torch.zeros(5, 2), torch.ones(1, 2)), (0.0, 0.0))
    assert gap == 1.0
    assert error == "a single point has no standard error"


def test_the_test_points_are_not_used_before_the_end(double):
    train, test = torch.zeros(3, 2), torch.ones(2, 2)
    assert measure(Rows(train, test), (1.0, 1.0), final=False)[0] == 4 - 1  # validation is at (-1, -1)
    assert measure(Rows(train, test), (1.0, 1.0), final=True)[0] == 0 - 1


def test_fresh_draws_have_no_training_set():
    assert "no training set" in measure(Normal(None, MEAN, EYE), MEAN)


def test_a_score_network_has_no_energy():
    score = ScoreMLP((2,), torch.zeros(2), torch.ones(2), gaussian(torch.zeros(2), torch.ones(2)), hidden=[4], activation="tanh", tilt=1.0)
    assert "no energy" in reason(GeneralizationGap(10), context_of(score, Normal(N_TRAIN, MEAN, EYE)))

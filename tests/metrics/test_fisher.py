"""The Fisher divergence in closed form, and its relation to KL. Seeded; tests at 5 standard errors have one false alarm in 1.7e6."""

from pathlib import Path

import densities
import pytest
import torch
from contexts import Normal, context_of, reason
from standard import gaussian
from tables import table
from torch.distributions import MultivariateNormal, kl_divergence

from ebm_cli.core import pointwise
from ebm_cli.core.rng import Rng
from ebm_cli.datasets.gaussian_mixture import GaussianMixture
from ebm_cli.energies.exact import Exact
from ebm_cli.energies.gaussian import Gaussian
from ebm_cli.energies.score_mlp import ScoreMLP
from ebm_cli.metrics import fisher
from ebm_cli.metrics.fisher import Fisher, score_of, true_score
from ebm_cli.metrics.quadrature import Quadrature

pytestmark = pytest.mark.usefixtures("double")

N = 20_000
DATA, MODEL = ((0.5, -0.3), ((0.5, 0.1), (0.1, 0.3))), ((0.0, 0.4), ((1.7, -0.9), (-0.9, 1.1)))  # mean, covariance


def measure(module, dataset, *, n_points=N, **kind):
    return Fisher(n_points)(context_of(module, dataset, **kind)).values()


def of_gaussians(p, q):
    """1/2 tr(D C D) + 1/2 |B (m - b)|^2 for N(m, C) and N(b, B^-1), with D = C^-1 - B."""
    (m, c), (b, s) = [(torch.tensor(mean), torch.tensor(covariance)) for mean, covariance in (p, q)]
    precision = torch.linalg.inv(s)
    difference = torch.linalg.inv(c) - precision
    return 0.5 * (difference @ c @ difference).trace().item() + 0.5 * (precision @ (m - b)).square().sum().item()


@pytest.mark.parametrize(("p", "q"), [(DATA, MODEL), (MODEL, DATA), (((1.0,), ((0.4,),)), ((-0.5,), ((1.3,),)))])
@pytest.mark.parametrize("final", [True, False])
def test_gaussian_against_gaussian(p, q, final):
    found, error = measure(Gaussian(mean=q[0], covariance=q[1]), Normal(None, *p), final=final)
    assert abs(found - of_gaussians(p, q)) < 5 * error
    assert error < 0.02 * found


def test_the_error_is_the_spread_over_sets_of_points():
    """300 sets of 200 points determine the spread with a relative error of 1 / sqrt(2 * 300)."""
    module, dataset = Gaussian(mean=MODEL[0], covariance=MODEL[1]), Normal(None, *DATA)
    found = torch.tensor([[*measure(module, dataset, n_points=200, seed=seed)] for seed in range(300)])
    assert found[:, 0].std().item() == pytest.approx(found[:, 1].square().mean().sqrt().item(), rel=5 / 600**0.5)


@pytest.mark.parametrize("name", sorted(set(densities.real_densities()) - {"checkerboard"}))
def test_zero_at_the_truth_and_finite_elsewhere(name):
    dataset = densities.option(name)
    exact, _ = measure(Exact(dataset=dataset), dataset, n_points=500)
    assert abs(exact) < 1e-8
    other, _ = measure(Gaussian(mean=[0.1] * dataset.shape[0], covariance=torch.eye(dataset.shape[0]).tolist()), dataset, n_points=500)
    assert 0.01 < other < 1e5  # pixels with a standard deviation of 0.02 have scores of 50


def test_scores_are_computed_in_parts(monkeypatch):
    module, dataset = Gaussian(mean=MODEL[0], covariance=MODEL[1]), Normal(None, *DATA)
    context, x = context_of(module, dataset), dataset.draw(100, Rng(1))
    whole = true_score(dataset, x), score_of(context.model, context.params, x)
    monkeypatch.setattr(fisher, "CHUNK", 7)
    monkeypatch.setattr(pointwise, "MOST_POINTS", 7)
    torch.testing.assert_close((true_score(dataset, x), score_of(context.model, context.params, x)), whole)
    torch.testing.assert_close(whole[0], torch.linalg.solve(torch.tensor(DATA[1]), (torch.tensor(DATA[0]) - x).T).T)


def test_noise_lowers_kl_at_the_rate_of_the_fisher_divergence_of_gaussians():
    """d/dt KL(p_t || q_t) = -F(p_t || q_t), with x_t = x + sqrt(t) z for both (Lyu 2012). Both sides have a closed form."""
    t = torch.tensor(0.3, requires_grad=True)
    (m, c), (b, s) = [(torch.tensor(mean), torch.tensor(covariance) + t * torch.eye(2)) for mean, covariance in (DATA, MODEL)]
    (rate,) = torch.autograd.grad(kl_divergence(MultivariateNormal(m, c), MultivariateNormal(b, s)), t)
    p, q = [(mean.tolist(), covariance.tolist()) for mean, covariance in ((m, c), (b, s))]
    assert of_gaussians(p, q) == pytest.approx(-rate.item(), rel=1e-12)
    found, error = measure(Gaussian(mean=q[0], covariance=q[1]), Normal(None, *p))
    assert abs(found + rate) < 5 * error


@pytest.mark.parametrize("t", [0.1, 0.5])
def test_noise_lowers_kl_at_the_rate_of_the_fisher_divergence_of_mixtures(t):
    """With noise they are still mixtures; KL is computed by quadrature at t - h and t + h."""

    def noisy(t):
        std = [(std**2 + t) ** 0.5 for std in (0.5, 0.4)]
        model = Exact(dataset=GaussianMixture(None, [[-1.2, 0.3], [1.1, 0.6]], [0.7, 0.3], std, scale=1.0))
        return model, GaussianMixture(None, [[-1.5, 0.0], [1.0, 1.0]], [0.4, 0.6], std=(0.3**2 + t) ** 0.5, scale=1.0)

    h = 1e-3
    before, after = (Quadrature(tolerance=0.01, margin=1.5)(context_of(*noisy(t + side)))["kl"] for side in (-h, h))
    found, error = measure(*noisy(t))
    assert abs(found - (before - after) / (2 * h)) < 5 * error
    assert error < 0.02 * found


def test_a_score_network_has_a_fisher_divergence():
    module = ScoreMLP((2,), torch.zeros(2), torch.ones(2), gaussian(torch.zeros(2), torch.ones(2)), hidden=[4], activation="tanh", tilt=1.0)
    dataset = densities.option("moons")
    found, _ = measure(module, dataset, n_points=300)
    context = context_of(module, dataset)
    x = context.held_out(300)
    assert found == pytest.approx(0.5 * (true_score(dataset, x) - module(x).detach()).square().sum(-1).mean().item())


def test_a_reason_replaces_a_missing_number():
    Path("two.csv").write_text("a,b\n" + "".join(f"{i % 7},{i % 3}\n" for i in range(40)))
    module = Gaussian(mean=[0.0, 0.0], covariance=[[1.0, 0.0], [0.0, 1.0]])
    assert "not known" in reason(Fisher(100), context_of(module, table("two.csv")))
    assert "jumps" in Fisher(100)(context_of(module, densities.option("checkerboard")))

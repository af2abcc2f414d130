"""The trainable Gaussian against that of torch, its log Z against quadrature, and the result of training."""

import pytest
import torch
from targets import log_integral

from ebm_cli.config import compose
from ebm_cli.core.model import tensors
from ebm_cli.core.rng import Rng
from ebm_cli.energies.quadratic import Quadratic
from ebm_cli.runner.experiment import Experiment

MEAN, SCALE = torch.tensor([3.0, -1.0], dtype=torch.double), torch.tensor([2.0, 0.4], dtype=torch.double)


@pytest.fixture
def module(double):
    module = Quadratic((2,), MEAN, SCALE)
    with torch.no_grad():
        module.centre.copy_(torch.tensor([0.3, -0.6]))
        module.raw_factor.copy_(torch.tensor([[0.2, 9.0], [0.7, -0.5]]))  # the entry 9 is unused
    return module


def test_it_is_a_gaussian(module):
    """N(mean + scale mu, D A^-1 D) with A = L L', L = [[e^0.2, 0], [0.7, e^-0.5]]."""
    factor = torch.tensor([[0.2, 0.0], [0.7, -0.5]])
    factor = torch.tensor([[factor[0, 0].exp(), 0.0], [0.7, factor[1, 1].exp()]])
    precision = (factor @ factor.T) / torch.outer(SCALE, SCALE)
    distribution = torch.distributions.MultivariateNormal(MEAN + SCALE * torch.tensor([0.3, -0.6]), precision_matrix=precision)
    x = 3 + 2 * Rng(0).normal("x", 6, 2)
    torch.testing.assert_close(-module(x) - module.log_z, distribution.log_prob(x))


def test_log_z_by_quadrature(module):
    box = [(m - 30 * s, m + 30 * s) for m, s in zip(MEAN.tolist(), SCALE.tolist(), strict=True)]
    assert module.log_z.item() == pytest.approx(log_integral(module, box), abs=1e-9)


def test_it_starts_as_the_uncorrelated_gaussian_of_the_data(double):
    distribution = torch.distributions.Normal(MEAN, SCALE)
    module, x = Quadratic((2,), MEAN, SCALE), Rng(0).normal("x", 6, 2)
    torch.testing.assert_close(-module(x) - module.log_z, distribution.log_prob(x).sum(-1))


def test_score_matching_finds_the_covariance_of_the_data(double):
    """On moons: at the optimum A^-1 is the covariance of the data (in units of u), for every shape of the data.

    400 minibatches of 512: the covariance's error is of order 0.005; the tolerance of 0.05 is ten of these.
    """
    words = ["energy=quadratic", "objective=ssm", "trainer.n_steps=400", "trainer.batch_size=512", "optimizer.lr=0.03", "device=cpu"]
    trainer = Experiment.of(compose.compose(words)).trainer()
    for _ in trainer.steps():
        pass
    module = Quadratic((2,), trainer.fit["mean"], trainer.fit["scale"])
    module.load_state_dict({name: value for name, value in trainer.named(trainer.state.ema).items() if name in tensors(module)})
    covariance = torch.linalg.inv((module.factor @ module.factor.T).detach())
    data = trainer.dataset.split("test", 20_000, trainer.rng).x.double()
    expected = torch.cov(((data - trainer.fit["mean"]) / trainer.fit["scale"]).T)
    torch.testing.assert_close(covariance, expected, rtol=0, atol=0.05)
    assert tensors(module).keys() | trainer.reference.named.keys() == trainer.frozen.keys()

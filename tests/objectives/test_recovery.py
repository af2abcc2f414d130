"""Recovery likelihood: noise levels, points of each level, and the gradient in closed form. Statistical checks are seeded."""

from dataclasses import dataclass

import pytest
import torch
from scipy.stats import chisquare, kstest
from targets import assert_mean
from torch import nn

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.errors import InputError
from ebm_cli.objectives.recovery import RecoveryLikelihood
from ebm_cli.samplers.annealed import AnnealedLangevin
from ebm_cli.samplers.langevin import Langevin, State
from ebm_cli.samplers.mala import MALA
from ebm_cli.samplers.sgld import SGLD

pytestmark = pytest.mark.usefixtures("double")

LEVELS, BELOW, ABOVE = (0.2, 0.4, 0.8), (0.0, 0.4, 0.8), (0.4, 0.8, 1.6)  # for sigma_min = 0.4, sigma_max = 1.6 and three levels
EPS = 0.5  # step size of the chains
DRL = {"sigma_max": 1.6, "sigma_min": 0.4, "n_levels": 3}


def precision(level):
    """The precision of N(0, I) with the noise of a level. The lowest level, for which the network receives sigma_min / 2, has no noise."""
    return 1 / (1 + torch.where(level < 0.3, 0.0, level).square())


class Levels(nn.Module):
    """E(x, sigma) = a |x|^2 / (2 (1 + sigma^2)): at a = 1 the marginal distribution of x_t if x_0 ~ N(0, I)."""

    takes_noise_level = True

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.ones(()))

    def forward(self, x, noise_level):
        return 0.5 * self.a * precision(noise_level) * x.flatten(1).square().sum(-1)


@dataclass(frozen=True)
class Exact(Sampler):
    """Draws from the tilted distribution of `Levels`, N(c / (sigma^2 P), 1/P) with P = a precision + 1 / sigma^2, in its units."""

    def init(self, model, params, x):
        assert (x == 0).all()  # chains start at x_{t+1}
        return State(x, x.new_zeros(model.model_shape(params)))

    def noise(self, rng, state, n_steps):
        return (rng.normal("exact", n_steps, *state.x.shape[state.step_size.ndim :]),)

    def step(self, model, params, state, noise):
        pull = params["wrapper.sigma"] ** -2
        total = params["a"].detach().unsqueeze(-1) * precision(params["wrapper.noise_level"]) + pull
        x = expand(pull / total, noise[0]) * params["wrapper.center"] + noise[0] / expand(total, noise[0]).sqrt()
        return state._replace(x=(x - params["wrapper.center"]) / expand(params["wrapper.sigma"], x)), {}


@dataclass(frozen=True)
class Still(Exact):
    """Does not move the chains."""

    def step(self, model, params, state, noise):
        return state, {}


def model_of(shape=(1,), *, stacked=False):
    return Model(Levels(), event_ndim=len(shape), stacked=stacked)


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_points_of_each_level(shape):
    """x_t has noise `below` (none at level 0) and x_{t+1} noise `above`; the network receives the noise level of x_t.

    Kolmogorov-Smirnov and chi-squared tests with false-alarm rates of 1e-6.
    """
    n, model, drl = 30_000, model_of(shape), RecoveryLikelihood(Still(), 1, 0.0, EPS, **DRL)
    x = Rng(0).normal("x", n, *shape)
    aux, carry, _ = drl.prepare(model, {"a": torch.tensor(1.0)}, {}, x, Rng(1))
    assert carry == {}
    assert (drl.init(model, {}, x, Rng(0))[1]["step_size"] == EPS).all()
    here, above = (aux[name].flatten(1) - x.flatten(1) for name in ("noised", "negatives"))
    counts = []
    for level, low, high in zip(LEVELS, BELOW, ABOVE, strict=True):
        at_level = torch.isclose(aux["noise_level"], torch.tensor(level))
        counts.append(int(at_level.sum()))
        if low:
            assert all(kstest(column.numpy() / low, "norm").pvalue > 1e-6 for column in here[at_level].T)
        else:
            assert (here[at_level] == 0).all()
        step = (high**2 - low**2) ** 0.5
        steps = (above - here)[at_level] / step
        assert all(kstest(column.numpy(), "norm").pvalue > 1e-6 for column in steps.T)
        assert_mean(steps[:, 0] * here[at_level][:, 0], 0.0)  # the added noise is independent of x_t
        assert_mean(steps[:, 0] * steps[:, 1], 0.0)
    assert sum(counts) == n
    assert chisquare(counts).pvalue > 1e-6


@pytest.mark.parametrize("sampler", [Exact(), MALA(0.5, None)])
def test_gradient_on_a_gaussian_at_each_level(sampler):
    """dL/da = precision d/2 (V_t - E y^2), E y^2 = 1/P + V_{t+1} / (sigma^4 P^2): zero at a = 1, with the right signs on both sides.

    For each level, within 5 standard errors: one false alarm in 1.7e6 each.
    """
    n, d = 12_000, 2
    model, drl = model_of((d,)), RecoveryLikelihood(sampler, 60 if isinstance(sampler, MALA) else 1, 0.0, EPS, **DRL)
    x = Rng(0).normal("x", n, d)
    for a in (0.5, 1.0, 1.8):
        aux, _, _ = drl.prepare(model, {"a": torch.tensor(a)}, {}, x, Rng(2))
        leaf = torch.full((n, 1), a, requires_grad=True)
        stack = Model(Levels(), event_ndim=1, stacked=True)  # each data point is a model, which gives separate gradients
        alone = {name: value.unsqueeze(1) for name, value in aux.items()}
        loss, _ = drl.loss(stack, {"a": leaf.squeeze(-1)}, x.unsqueeze(1), alone)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        for level, low, high in zip(LEVELS, BELOW, ABOVE, strict=True):
            at_level, step = torch.isclose(aux["noise_level"], torch.tensor(level)), high**2 - low**2
            here, total = 1 / (1 + low**2), a / (1 + low**2) + 1 / step
            expected = here * d / 2 * (1 + low**2 - 1 / total - (1 + high**2) / (step * total) ** 2)
            assert_mean(gradient[at_level], expected)
            assert a == 1 or expected * (a - 1) > 0
            assert a != 1 or abs(expected) < 1e-12


@pytest.mark.parametrize("sampler", [Langevin(0.01, None), MALA(0.01, None)])
def test_no_gradient_through_negatives(sampler):
    model, params, x = model_of((2,)), {"a": torch.tensor(0.8, requires_grad=True)}, Rng(0).normal("x", 20, 2)
    drl = RecoveryLikelihood(sampler, 3, 0.0, EPS, **DRL)
    aux, _, _ = drl.prepare(model, params, {}, x, Rng(1))
    assert not any(value.requires_grad for value in aux.values())
    loss, info = drl.loss(model, params, x, aux)
    each = precision(aux["noise_level"]) / 2
    positive, negative = (each * aux[name].square().sum(-1) for name in ("noised", "negatives"))
    torch.testing.assert_close(info["energy"].detach(), 0.8 * positive)
    torch.testing.assert_close(info["energy_negatives"].detach(), 0.8 * negative)
    torch.testing.assert_close(loss.detach(), 0.8 * (positive - negative))
    torch.testing.assert_close(torch.autograd.grad(loss.mean(), params["a"])[0], (positive - negative).mean())


def test_the_model_is_measured_at_the_lowest_level():
    model, x, params = model_of(), Rng(0).normal("x", 6, 1), {"a": torch.tensor(0.7)}
    trained = RecoveryLikelihood(Exact(), 1, 0.0, EPS, **DRL).trained(model)
    assert trained.levels == pytest.approx((0.8, 0.4, 0.2))
    torch.testing.assert_close(trained.energy(params, x), 0.35 * x.square().sum(-1))
    assert RecoveryLikelihood(Exact(), 1, 0.0, 1.0, 0.5, 0.5, 1).trained(model).levels == pytest.approx((0.25,))


def test_each_model_of_a_stack_has_its_own_levels_and_chains():
    stack, drl, a, rng = (
        model_of((2,), stacked=True),
        RecoveryLikelihood(MALA(0.02, None), 3, 0.0, EPS, **DRL),
        torch.tensor([0.5, 2.0]),
        Rng((3, 4)),
    )
    x = rng.normal("x", 6, 2)
    together, _, _ = drl.prepare(stack, {"a": a}, {}, x, rng)
    for m, seed in enumerate((3, 4)):
        alone, _, _ = drl.prepare(stack.alone(), {"a": a[m]}, {}, x[m], Rng(seed))
        for name, value in alone.items():
            torch.testing.assert_close(together[name][m], value)


def test_sigma_min_that_is_not_less_than_sigma_max_is_refused():
    with pytest.raises(InputError, match=r"objective\.sigma_min: 0\.5 is not less than sigma_max, 0\.5"):
        RecoveryLikelihood(Exact(), 1, 0.0, 1.0, 0.5, 0.5, 3)


def test_chains_at_a_temperature_other_than_1_are_refused():
    with pytest.raises(InputError, match="temperature"):
        RecoveryLikelihood(SGLD(0.1, None, 0.2), 5, 0.0, EPS, **DRL)


def test_samples_of_the_lowest_level_are_not_denoised():
    """E(., 0) is the energy of the data without noise, so that annealed dynamics returns x unchanged."""
    model, params = model_of((1,)), {name: torch.tensor(1.0) for name in model_of((1,)).names}
    trained = RecoveryLikelihood(Langevin(0.1, None), 5, 0.0, EPS, **DRL).trained(model)
    x, annealed = torch.tensor([[1.0], [-2.0]]), AnnealedLangevin(0.1, 5)
    assert torch.equal(annealed.finish(trained, params, annealed.init(trained, params, x)), x)

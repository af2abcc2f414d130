"""The base classes of networks: the positive functions of f and noise-conditional preconditioning, against closed forms."""

import pytest
import torch
from standard import gaussian
from targets import by_differences
from torch import nn

from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.energies.mlp import MLP, NoiseMLP
from ebm_cli.energies.network import FLOOR, level_features, minus_log
from ebm_cli.energies.score_mlp import NoiseScoreMLP

pytestmark = pytest.mark.usefixtures("double")

MEAN, SCALE = torch.tensor([3.0, -1.0], dtype=torch.double), torch.tensor([2.0, 0.5], dtype=torch.double)
G = {
    "exp": lambda f: torch.exp(-f),
    "softplus": lambda f: torch.log1p(torch.exp(-f)),
    "square": lambda f: (1 - f) ** 2,
    "abs": lambda f: (1 - f).abs(),
}


@pytest.mark.parametrize("form", G)
def test_minus_log_of_each_positive_function(form):
    """For g above 1e-3 the floor changes E by at most 1e-5. A low f means a high density, and g(0) is 1 or log 2."""
    f = torch.tensor([-3.0, -0.7, 0.0, 0.4, 0.9, 1.3, 5.0])
    torch.testing.assert_close(minus_log(f, form), -G[form](f).log(), rtol=0, atol=1e-5 if form in ("square", "abs") else 1e-12)
    slope = torch.func.grad(lambda f: minus_log(f, form))(torch.tensor(0.0))
    assert slope == pytest.approx(
        {"exp": 1.0, "softplus": 0.5 / torch.log(torch.tensor(2.0)).item(), "square": 2.0, "abs": 1.0}[form], rel=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float, torch.double])
@pytest.mark.parametrize("form", G)
def test_every_positive_function_gives_finite_energies(form, dtype):
    """The first three derivatives are finite as well: score matching uses the third."""
    for value in (-1e4, -200.0, -20.0, 0.0, 1.0, 1.0 + 1e-6, 19.999, 20.0, 20.001, 104.0, 1e4):
        f = torch.tensor(value, dtype=dtype, requires_grad=True)
        derivative = minus_log(f, form)
        assert derivative.dtype == dtype
        for _ in range(4):
            assert derivative.isfinite()
            if not derivative.requires_grad:
                break
            (derivative,) = torch.autograd.grad(derivative, f, create_graph=True)


def test_where_g_is_zero_the_floor_bounds_the_energy():
    f = torch.tensor(1.0)
    assert minus_log(f, "square") == pytest.approx(18.42, abs=0.01)
    assert minus_log(f, "abs") == pytest.approx(9.21, abs=0.01)
    assert minus_log(f, "square") == -torch.log(torch.tensor(FLOOR))


def test_softplus_is_smooth_where_it_is_expanded():
    f = torch.tensor([20 - 1e-6, 20 + 1e-6])
    low, high = minus_log(f, "softplus")
    assert (high - low).item() == pytest.approx(2e-6, rel=1e-6)
    assert minus_log(torch.tensor(60.0), "softplus") == pytest.approx(60.0, abs=1e-12)


def noise(kind=NoiseMLP, *, tilt=0.7, seed=0, **more):
    torch.manual_seed(seed)
    more = more or ({} if kind is NoiseScoreMLP else {"positive": "exp"})
    module = kind((2,), MEAN, SCALE, gaussian(MEAN, SCALE), hidden=[5, 4], activation="silu", tilt=tilt, **more)
    return module, {name: value.detach() for name, value in tensors(module).items()}


X, LEVEL = 3 + 2 * Rng(0).normal("x", 6, 2).double(), torch.tensor([0.05, 0.1, 0.4, 1.0, 2.0, 3.0], dtype=torch.double)


@pytest.mark.parametrize("form", G)
def test_noise_conditional_energy_by_hand(form):
    """The positive function of f (|w| / sigma)^(1/2), with the network at (3 u, log sigma) and u = (x - mean) / w."""
    module, params = noise(positive=form)
    width = (SCALE**2 + LEVEL[:, None] ** 2).sqrt()
    u = (X - MEAN) / width
    t = (LEVEL / (SCALE**2).mean().sqrt()).log()[:, None]
    features = torch.cat([t / 2, (t / 2).sin(), t.sin(), (2 * t).sin(), (t / 2).cos(), t.cos(), (2 * t).cos()], -1)
    f = module.network(torch.cat([3 * u, features], -1))[:, 0] * ((width**2).mean(-1).sqrt() / LEVEL).sqrt()
    expected = -(G[form](f) if form in ("exp", "softplus") else (1 - f) ** 2 + FLOOR).log() * (0.5 if form == "abs" else 1)
    energy = Model(module, event_ndim=1, stacked=False).energy(params, X, LEVEL)
    torch.testing.assert_close(energy, expected.detach() + 0.35 * u.square().sum(-1))


def test_noise_conditional_score_by_hand():
    module, params = noise(NoiseScoreMLP)
    width = (SCALE**2 + LEVEL[:, None] ** 2).sqrt()
    u = (X - MEAN) / width
    features = level_features(LEVEL[:, None] / (SCALE**2).mean().sqrt())
    f = module.network(torch.cat([3 * u, features], -1)) * (width**2).mean(-1, keepdim=True).sqrt() / LEVEL[:, None]
    score = Model(module, event_ndim=1, stacked=False).score(params, X, LEVEL)
    torch.testing.assert_close(score, ((f - 0.7 * u) / width).detach())


@pytest.mark.parametrize("kind", [NoiseMLP, NoiseScoreMLP])
def test_without_a_network_it_is_the_gaussian_with_noise(kind):
    """f = 0, tilt 1: N(mean, scale^2 + sigma^2), the distribution of N(mean, scale^2) with added noise."""
    module, params = noise(kind, tilt=1.0)
    params |= {name: torch.zeros_like(value) for name, value in params.items() if name.startswith("network")}
    normal = torch.distributions.Normal(MEAN, (SCALE**2 + LEVEL[:, None] ** 2).sqrt())
    model = Model(module, event_ndim=1, stacked=False)
    torch.testing.assert_close(
        model.score(params, X, LEVEL), by_differences(lambda x: -normal.log_prob(x).sum(-1), X), rtol=1e-6, atol=1e-8
    )


def test_the_network_depends_on_the_noise_level():
    module, params = noise()
    model = Model(module, event_ndim=1, stacked=False)
    assert model.provides == {"energy", "noise_level", "unconditional"}
    low, high = (model.energy(params, X, torch.full((6,), sigma)) * sigma**0.5 for sigma in (0.05, 0.1))
    assert (low - high).abs().max() > 1e-3


def test_a_network_that_is_not_noise_conditional_takes_no_level():
    module = MLP((2,), MEAN, SCALE, gaussian(MEAN, SCALE), hidden=[4], activation="silu", positive="exp", tilt=1.0)
    assert isinstance(module, nn.Module)
    assert Model(module, event_ndim=1, stacked=False).provides == {"energy", "unconditional"}

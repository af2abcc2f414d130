"""The perceptron energy against a hand computation from its tensors."""

import pytest
import torch
from standard import gaussian
from torch import nn
from torch.nn import functional

from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.energies.mlp import MLP

pytestmark = pytest.mark.usefixtures("double")

MEAN, SCALE = torch.tensor([3.0, -1.0], dtype=torch.double), torch.tensor([2.0, 0.5], dtype=torch.double)
BY_NAME = {
    "elu": functional.elu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "tanh": torch.tanh,
}


def mlp(shape=(2,), *, tilt=0.7, activation="silu", seed=0):
    torch.manual_seed(seed)
    mean, scale = MEAN.reshape(shape), SCALE.reshape(shape)
    module = MLP(shape, mean, scale, gaussian(mean, scale), hidden=[5, 4], activation=activation, positive="exp", tilt=tilt)
    return module, {name: value.detach() for name, value in tensors(module).items()}


def by_hand(params, x, tilt, activation):
    u = (x.flatten(1) - MEAN) / SCALE
    h = activation(u @ params["network.0.weight"].T + params["network.0.bias"])
    h = activation(h @ params["network.2.weight"].T + params["network.2.bias"])
    f = h @ params["network.4.weight"].T + params["network.4.bias"]
    return f[:, 0] + tilt * (u[:, 0] ** 2 + u[:, 1] ** 2) / 2


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
@pytest.mark.parametrize("tilt", [0.0, 0.7])
@pytest.mark.parametrize("activation", BY_NAME)
def test_energy_by_hand(activation, tilt, shape):
    module, params = mlp(shape, tilt=tilt, activation=activation)
    x = 3 + 2 * Rng(0).normal("x", 6, *shape)
    energy = Model(module, event_ndim=len(shape), stacked=False).energy(params, x)
    torch.testing.assert_close(energy, by_hand(params, x, tilt, BY_NAME[activation]))


@pytest.mark.parametrize("tilt", [0.0, 0.7])
@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_score_is_minus_the_finite_difference(shape, tilt):
    module, params = mlp(shape, tilt=tilt)
    model, x, h = Model(module, event_ndim=len(shape), stacked=False), 3 + 2 * Rng(0).normal("x", 6, *shape), 1e-5
    for i, score in enumerate(model.score(params, x).flatten(1).unbind(-1)):
        step = h * torch.eye(2)[i].reshape(shape)
        difference = (model.energy(params, x + step) - model.energy(params, x - step)) / (2 * h)
        torch.testing.assert_close(score, -difference, rtol=1e-7, atol=1e-8)


def test_without_a_network_it_is_a_gaussian_around_the_data():
    """The tilt t without the network is N(mean, scale^2 / t) up to log Z."""
    module, params = mlp(tilt=0.7)
    params |= {name: torch.zeros_like(value) for name, value in params.items() if name.startswith("network")}
    x = 3 + 2 * Rng(0).normal("x", 6, 2)
    log_prob = torch.distributions.Normal(MEAN, SCALE / 0.7**0.5).log_prob
    energy = Model(module, event_ndim=1, stacked=False).energy(params, x)
    torch.testing.assert_close(energy, log_prob(MEAN).sum() - log_prob(x).sum(-1))


def test_a_stack_is_a_loop_over_its_models():
    single = [mlp(seed=seed)[1] for seed in range(3)]
    params = {name: torch.stack([params[name] for params in single]) for name in single[0]}
    params["mean"] = params["mean"] + torch.arange(3.0).unsqueeze(-1)  # each model has its own data
    stacked, x = Model(mlp()[0], event_ndim=1, stacked=True), Rng((0, 1, 2)).normal("x", 6, 2)
    energy, score = stacked.energy_and_score(params, x)
    for m in range(3):
        own = {name: value[m] for name, value in params.items()}
        torch.testing.assert_close(energy[m], by_hand(own, x[m] - m, 0.7, BY_NAME["silu"]))
        torch.testing.assert_close(score[m], stacked.alone().score(own, x[m]))


def test_hidden_gives_the_widths_of_the_layers():
    layers = [layer for layer in mlp()[0].network if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(2, 5), (5, 4), (4, 1)]

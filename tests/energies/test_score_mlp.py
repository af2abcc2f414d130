"""The perceptron that outputs a score, against a hand computation from its tensors."""

import pytest
import torch
from standard import gaussian

from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.energies.score_mlp import ScoreMLP

pytestmark = pytest.mark.usefixtures("double")

MEAN, SCALE = torch.tensor([3.0, -1.0], dtype=torch.double), torch.tensor([2.0, 0.5], dtype=torch.double)


def score_mlp(shape=(2,), *, tilt=0.7, seed=0):
    torch.manual_seed(seed)
    module = ScoreMLP(
        shape,
        MEAN.reshape(shape),
        SCALE.reshape(shape),
        gaussian(MEAN.reshape(shape), SCALE.reshape(shape)),
        hidden=[5],
        activation="tanh",
        tilt=tilt,
    )
    return module, {name: value.detach() for name, value in tensors(module).items()}


def by_hand(params, x, tilt):
    """(f(u) - tilt u) / scale."""
    u = (x.flatten(1) - MEAN) / SCALE
    h = torch.tanh(u @ params["network.0.weight"].T + params["network.0.bias"])
    f = h @ params["network.2.weight"].T + params["network.2.bias"]
    return ((f - tilt * u) / SCALE).view_as(x)


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
@pytest.mark.parametrize("tilt", [0.0, 0.7])
def test_score_by_hand(tilt, shape):
    module, params = score_mlp(shape, tilt=tilt)
    x = 3 + 2 * Rng(0).normal("x", 6, *shape)
    model = Model(module, event_ndim=len(shape), stacked=False)
    torch.testing.assert_close(model.score(params, x), by_hand(params, x, tilt))
    assert "energy" not in model.provides


def test_without_a_network_it_is_the_score_of_a_gaussian_around_the_data():
    """The tilt t without the network is grad log N(x; mean, scale^2 / t)."""
    module, params = score_mlp()
    params |= {name: torch.zeros_like(value) for name, value in params.items() if name.startswith("network")}
    x = (3 + 2 * Rng(0).normal("x", 6, 2)).requires_grad_()
    (expected,) = torch.autograd.grad(torch.distributions.Normal(MEAN, SCALE / 0.7**0.5).log_prob(x).sum(), x)
    torch.testing.assert_close(Model(module, event_ndim=1, stacked=False).score(params, x.detach()), expected)


def test_a_stack_is_a_loop_over_its_models():
    single = [score_mlp(seed=seed)[1] for seed in range(3)]
    params = {name: torch.stack([params[name] for params in single]) for name in single[0]}
    params["mean"] = params["mean"] + torch.arange(3.0).unsqueeze(-1)  # each model has its own data
    x = Rng((0, 1, 2)).normal("x", 6, 2)
    score = Model(score_mlp()[0], event_ndim=1, stacked=True).score(params, x)
    for m in range(3):
        torch.testing.assert_close(score[m], by_hand({name: value[m] for name, value in params.items()}, x[m] - m, 0.7))

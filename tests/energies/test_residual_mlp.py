"""The residual perceptron against a hand computation from its tensors."""

import pytest
import torch
from standard import gaussian
from torch.nn.functional import silu

from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.energies.residual_mlp import NoiseResidualMLP, ResidualMLP

pytestmark = pytest.mark.usefixtures("double")

MEAN, SCALE = torch.tensor([3.0, -1.0], dtype=torch.double), torch.tensor([2.0, 0.5], dtype=torch.double)


def residual(kind=ResidualMLP, *, n_blocks=2):
    torch.manual_seed(0)
    module = kind((2,), MEAN, SCALE, gaussian(MEAN, SCALE), width=5, n_blocks=n_blocks, activation="silu", positive="exp", tilt=0.7)
    return module, {name: value.detach() for name, value in tensors(module).items()}


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_energy_by_hand(n_blocks):
    module, params = residual(n_blocks=n_blocks)
    x = 3 + 2 * Rng(0).normal("x", 6, 2)
    u = (x - MEAN) / SCALE

    def linear(name, h):
        return h @ params[f"network.{name}.weight"].T + params[f"network.{name}.bias"]

    h = linear("0", u)
    for k in range(1, n_blocks + 1):
        h = h + linear(f"{k}.branch.3", silu(linear(f"{k}.branch.1", silu(h))))
    expected = linear(str(n_blocks + 2), silu(h))[:, 0] + 0.35 * u.square().sum(-1)
    torch.testing.assert_close(Model(module, event_ndim=1, stacked=False).energy(params, x), expected)


def test_blocks_with_zero_weights_give_a_shallow_network():
    module, params = residual()
    params |= {name: torch.zeros_like(value) for name, value in params.items() if ".branch." in name}
    u = Rng(0).normal("x", 6, 2)
    h = silu(u @ params["network.0.weight"].T + params["network.0.bias"])
    expected = (h @ params["network.4.weight"].T + params["network.4.bias"])[:, 0] + 0.35 * u.square().sum(-1)
    torch.testing.assert_close(Model(module, event_ndim=1, stacked=False).energy(params, u * SCALE + MEAN), expected)


def test_noise_conditional():
    module, params = residual(NoiseResidualMLP)
    assert params["network.0.weight"].shape == (5, 2 + 7)
    energy = Model(module, event_ndim=1, stacked=False).energy(params, Rng(0).normal("x", 6, 2), torch.full((6,), 0.1))
    assert energy.shape == (6,)

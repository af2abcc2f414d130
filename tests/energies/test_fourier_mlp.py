"""The perceptron on random Fourier features: features by hand, their distribution, and that they differ between models and stay fixed."""

import pytest
import torch
from standard import gaussian
from torch import nn
from torch.nn.functional import silu

from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.energies.fourier_mlp import FourierMLP, NoiseFourierMLP

pytestmark = pytest.mark.usefixtures("double")

MEAN, SCALE = torch.tensor([3.0, -1.0], dtype=torch.double), torch.tensor([2.0, 0.5], dtype=torch.double)


def fourier(kind=FourierMLP, *, n_features=3, bandwidth=2.5, seed=0):
    torch.manual_seed(seed)
    settings = {"n_features": n_features, "bandwidth": bandwidth, "hidden": [5], "activation": "silu", "positive": "exp", "tilt": 0.7}
    module = kind((2,), MEAN, SCALE, gaussian(MEAN, SCALE), **settings)
    return module, {name: value.detach() for name, value in tensors(module).items()}


def test_energy_by_hand():
    module, params = fourier()
    x = 3 + 2 * Rng(0).normal("x", 6, 2)
    u = (x - MEAN) / SCALE
    phase = torch.einsum("fd,bd->bf", params["network.0.frequencies"], u)
    h = silu(torch.cat([u, phase.cos(), phase.sin()], -1) @ params["network.1.weight"].T + params["network.1.bias"])
    expected = (h @ params["network.3.weight"].T + params["network.3.bias"])[:, 0] + 0.35 * u.square().sum(-1)
    torch.testing.assert_close(Model(module, event_ndim=1, stacked=False).energy(params, x), expected)


def test_the_bandwidth_is_the_standard_deviation_of_the_frequencies():
    """The standard deviation of 4,000 normal numbers is within 1/20 of its mean, except for one in 10^5 seeds."""
    _, params = fourier(n_features=2000, bandwidth=2.5)
    assert params["network.0.frequencies"].std() == pytest.approx(2.5, rel=0.05)


def test_frequencies_are_fixed_and_differ_between_seeds(trainer):
    stack = trainer("energy=fourier_mlp", "objective=ssm", "seeds=2")
    before = stack.frozen["network.0.frequencies"].clone()
    assert before.shape == (2, 32, 2)
    assert not torch.equal(before[0], before[1])
    stack.step()
    assert torch.equal(stack.frozen["network.0.frequencies"], before)
    assert "network.0.frequencies" not in stack.shapes


def test_the_bandwidth_has_the_same_meaning_with_a_noise_level():
    """The input u is three times as large, so the frequencies are a third."""
    _, plain = fourier()
    _, noise = fourier(NoiseFourierMLP)
    torch.testing.assert_close(3 * noise["network.0.frequencies"], plain["network.0.frequencies"])


def test_the_noise_level_has_no_fourier_features():
    module, params = fourier(NoiseFourierMLP)
    assert params["network.0.frequencies"].shape == (3, 2)
    assert params["network.1.weight"].shape == (5, 2 + 7 + 2 * 3)
    assert isinstance(module, nn.Module)

"""The perceptron on random Fourier features: its features by hand, their law, and that they are each model's own and not trained."""

import pytest
import torch
from torch import nn
from torch.nn.functional import silu

from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.energies.fourier_mlp import FourierMLP, NoiseFourierMLP

pytestmark = pytest.mark.usefixtures("double")

MEAN, SCALE = torch.tensor([3.0, -1.0], dtype=torch.double), torch.tensor([2.0, 0.5], dtype=torch.double)


def fourier(kind=FourierMLP, *, n_features=3, bandwidth=2.5, seed=0):
    torch.manual_seed(seed)
    module = kind(
        (2,), MEAN, SCALE, n_features=n_features, bandwidth=bandwidth, hidden=[5], activation="silu", positive="exp", confinement=0.7
    )
    return module, {name: value.detach() for name, value in tensors(module).items()}


def test_energy_by_hand():
    module, params = fourier()
    x = 3 + 2 * Rng(0).normal("x", 6, 2)
    u = (x - MEAN) / SCALE
    phase = torch.einsum("fd,bd->bf", params["network.0.frequencies"], u)
    h = silu(torch.cat([u, phase.cos(), phase.sin()], -1) @ params["network.1.weight"].T + params["network.1.bias"])
    expected = (h @ params["network.3.weight"].T + params["network.3.bias"])[:, 0] + 0.35 * u.square().sum(-1)
    torch.testing.assert_close(Model(module, event_ndim=1, stacked=False).energy(params, x), expected)


def test_the_bandwidth_is_the_frequencies_standard_deviation():
    """4,000 normal numbers: their standard deviation is within 1/20 of its mean but for one in 10^5 seeds."""
    _, params = fourier(n_features=2000, bandwidth=2.5)
    assert params["network.0.frequencies"].std() == pytest.approx(2.5, rel=0.05)


def test_frequencies_are_fixed_and_every_seeds_own(trainer):
    one = trainer("energy=fourier_mlp", "objective=ssm", "seeds=2")
    before = one.frozen["network.0.frequencies"].clone()
    assert before.shape == (2, 32, 2)
    assert not torch.equal(before[0], before[1])
    one.step()
    assert torch.equal(one.frozen["network.0.frequencies"], before)
    assert "network.0.frequencies" not in one.shapes


def test_the_bandwidth_means_the_same_with_a_noise_level():
    """u comes in three times as large, so the frequencies are a third."""
    _, plain = fourier()
    _, noise = fourier(NoiseFourierMLP)
    torch.testing.assert_close(3 * noise["network.0.frequencies"], plain["network.0.frequencies"])


def test_of_the_noise_level_no_waves_are_made():
    module, params = fourier(NoiseFourierMLP)
    assert params["network.0.frequencies"].shape == (3, 2)
    assert params["network.1.weight"].shape == (5, 2 + 7 + 2 * 3)
    assert isinstance(module, nn.Module)

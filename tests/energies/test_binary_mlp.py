"""Networks of discrete events: their inputs, and the reference that they start at."""

import pytest
import torch
from discrete import SPACES

from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import levels, states
from ebm_cli.energies.binary_mlp import BinaryMLP
from ebm_cli.energies.binary_resnet import BinaryResNet
from ebm_cli.references.categorical import Categorical

pytestmark = pytest.mark.usefixtures("double")

NETWORKS = {
    "mlp": (BinaryMLP, {"hidden": [5, 4]}),
    "resnet": (BinaryResNet, {"width": 6, "n_blocks": 2}),
}


def built(network, space, tilt=1.0, seed=0):
    x = states(space)[torch.arange(40) % len(states(space))]
    reference = FittedReference.fit(Categorical(1.0).on(space), x, space.shape, Rng(0))
    torch.manual_seed(seed)
    cls, options = NETWORKS[network]
    return cls(space, reference, **options, activation="tanh", positive="exp", tilt=tilt), reference


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_inputs(network, kind):
    """s = 2x - 1 for bits, and one column for each value of each coordinate for categories."""
    space, seen = SPACES[kind], []
    energy, _ = built(network, space, tilt=0.0)
    energy.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = states(space)
    f = energy(x)
    if kind == "bits":
        torch.testing.assert_close(seen[0], 2 * x.flatten(1) - 1)
    else:
        most = max(levels(space, 3))
        expected = torch.zeros(len(x), 3, most).scatter(-1, x.long().unsqueeze(-1), 1.0)
        torch.testing.assert_close(seen[0], expected.flatten(1))
    torch.testing.assert_close(f, energy.network(seen[0]).squeeze(-1))
    assert len(f.unique()) > len(x) // 2


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_initial_model_is_the_reference(network, kind):
    """E = f - tilt log q with f = 0, and with other weights of the last layer E + tilt log q is the output of the network."""
    space = SPACES[kind]
    for tilt in (1.0, 0.4):
        energy, reference = built(network, space, tilt)
        x = states(space)
        torch.testing.assert_close(energy(x), -tilt * reference.log_prob(x))
        torch.nn.init.constant_(energy.network[-1].bias, 0.7)
        torch.testing.assert_close(energy(x) + tilt * reference.log_prob(x), torch.full((len(x),), 0.7))

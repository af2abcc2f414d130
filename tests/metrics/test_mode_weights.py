"""Mode weights of samples and densities with known weights. Draws are seeded."""

import itertools
import math

import densities
import pytest
import torch
from torch import nn

from ebm_cli.core import log_densities
from ebm_cli.core.metric import MetricContext
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.metrics.mode_weights import ModeWeights

METRIC = ModeWeights(tolerance=0.01, margin=1.5, max_states=1 << 20)
DATASET = {"centres": [[-2.0, 0.0], [2.0, 1.0], [1.0, -3.0]], "weights": [0.5, 0.3, 0.2], "std": 0.3}


class Mixture(nn.Module):
    """The energy of a mixture with the dataset's centres and other weights; log Z = 1.5."""

    def __init__(self, weights, std=0.3, tilt=0.0):
        super().__init__()
        self.centre, self.log_weight = nn.Parameter(torch.tensor(DATASET["centres"])), nn.Parameter(torch.tensor(weights).log())
        self.std, self.tilt = std, tilt

    def forward(self, x):
        return -log_densities.mixture(x, self.centre, self.log_weight, self.std) - 1.5 - self.tilt * x.square().sum(-1)


def measure(module, samples, dataset=None):
    model, params = Model(module, event_ndim=2, stacked=False), {name: value.detach() for name, value in tensors(module).items()}
    dataset = dataset or densities.option("gaussian_mixture", **DATASET)
    found = METRIC(MetricContext(model, params, dataset, Rng(0), samples))
    if isinstance(found, str):
        return found, found
    assert list(found) == ["mode_weight_error", "mode_weight_error_density"]
    return found.values()


def samples_of(*counts):
    """The given numbers of points near each centre, in two chains, (2, n, 2)."""
    points = torch.cat([torch.tensor([centre]).expand(n, 2) for centre, n in zip(DATASET["centres"], counts, strict=True)])
    return (points + 0.2 * Rng(0).normal("z", len(points), 2)).view(2, -1, 2)


@pytest.mark.parametrize(("counts", "error"), [((500, 300, 200), 0.0), ((300, 500, 200), 0.2), ((0, 1000, 0), 0.7), ((600, 300, 100), 0.1)])
def test_samples(counts, error):
    """The error is half the sum of the absolute differences of the weights, over all chains together."""
    of_samples, of_density = measure(Mixture([0.5, 0.3, 0.2]), samples_of(*counts))
    assert of_samples == pytest.approx(error, abs=1e-12)
    assert of_density == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("weights", "error"), [([0.2, 0.3, 0.5], 0.3), ([0.5, 0.1, 0.4], 0.2), ([0.05, 0.05, 0.9], 0.7)])
def test_density(weights, error):
    of_samples, of_density = measure(Mixture(weights), samples_of(500, 300, 200))
    assert of_samples == pytest.approx(0, abs=1e-12)
    assert of_density == pytest.approx(error, abs=1e-5)


class Round(nn.Module):
    """The energy of N(0, v I)."""

    def __init__(self, v):
        super().__init__()
        self.precision = nn.Parameter(torch.tensor(1 / v))

    def forward(self, x):
        return 0.5 * self.precision * x.square().sum(-1)


@pytest.mark.parametrize("name", ["rings", "moons", "checkerboard"])
def test_modes_that_are_not_components(name):
    """The samples are draws from the data; the density is a round Gaussian. The boundaries between rings are at the mean radii; arcs and
    squares are symmetric."""
    dataset = densities.option(name)
    n_modes = len(dataset.mode_weights)
    of_samples, of_density = measure(Round(0.16 if name == "moons" else 1.44), dataset.draw(20_000, Rng(0)).unsqueeze(1), dataset)
    assert of_samples < 3 * (n_modes / (2 * math.pi * 20_000)) ** 0.5
    if name == "rings":
        beyond = [1.0, *(math.exp(-(radius**2) / 2.88) for radius in (1.125, 1.875, 2.625)), 0.0]
        assert of_density == pytest.approx(0.5 * sum(abs(a - b - 0.25) for a, b in itertools.pairwise(beyond)), abs=2e-3)
    if name == "moons":
        assert of_density == pytest.approx(0, abs=2e-3)
    if name == "checkerboard":  # the two squares at the centre have too much mass
        assert of_density > 0.3


def test_a_reason_replaces_a_missing_number():
    bad = samples_of(500, 300, 200)
    bad[0, 0, 0] = math.inf
    of_samples, of_density = measure(Mixture([0.5, 0.3, 0.2]), bad)
    assert of_samples == "the samples are not finite"
    assert of_density == pytest.approx(0, abs=1e-6)
    _, of_density = measure(Mixture([0.5, 0.3, 0.2], tilt=6.0), samples_of(500, 300, 200))  # the tilt grows faster than the Gaussians decay
    assert "normalizable" in of_density
    for found in measure(Round(1.0), bad, densities.option("swissroll")):
        assert found == "this dataset has no known modes"

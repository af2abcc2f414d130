"""Samples of a trained model at several temperatures. Seeded, with 5 standard errors: false alarms in one seed of 2e6."""

import pytest
import torch
from standard import gaussian
from targets import Quadratic, assert_mean

from ebm_cli.core.chain import Draws
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.core.wrappers import Tempered
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.samplers.langevin import Langevin
from ebm_cli.samplers.mala import MALA
from ebm_cli.samplers.sgld import SGLD
from ebm_cli.types import Space

N = 20_000


@pytest.mark.parametrize("t", [0.25, 1.0, 3.0])
@pytest.mark.parametrize(
    "sampler", [MALA(0.3, None), SGLD(0.02, None, 0.1), Langevin(0.02, None)], ids=lambda sampler: type(sampler).__name__
)
def test_samples_follow_the_model_at_the_temperature_at_which_it_is_measured(sampler, t):
    """exp(-E / T) = N(0, T / a) for any temperature of the sampler, up to the bias of its step size."""
    network, a = Model(Quadratic(), event_ndim=1, stacked=False), 1.6
    params, fit = {"a": torch.tensor(a)}, {"mean": torch.zeros(1), "scale": torch.ones(1)}
    reference = gaussian(**fit)
    coordinates = Standardization.identity((1,)), Rng(0), ["x0"], Space((1,))
    trained = TrainedModel(network, Tempered(network, t), params, {}, fit, reference, *coordinates)
    samples, _ = trained.draw(sampler, Draws(N, N, 600))
    v = t / a
    bias = 1 if isinstance(sampler, MALA) else 1 / (1 - 0.02 * sampler.temperature / (2 * v))
    assert_mean(samples.square(), v * bias)
    assert trained.model.temperature == t

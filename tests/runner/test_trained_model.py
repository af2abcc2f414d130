"""Samples of a trained model at several temperatures. Seeded, with 5 standard errors: false alarms in one seed of 2e6."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from standard import gaussian
from targets import Quadratic, assert_mean

from ebm_cli.core.chain import Draws
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.core.wrappers import Tempered
from ebm_cli.errors import InputError
from ebm_cli.runner import trained_model
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


KNOTS = {"v": [[0.0, 1.0]], "z": [[0.0, 1.0]], "slope": [[1.0, 1.0]]}
WARP = {"center": [0.0], "width": [1.0], **KNOTS}


@pytest.mark.parametrize(
    "facts",
    [
        *({"mean": value} for value in (0, [], [[0.0, 0.0]], [0.0], [0.0, None], [0.0, float("inf")])),
        *({"scale": value} for value in ([], [1.0], [1.0, 0.0], [1.0, -1.0], ["1", "1"])),
        *({"matrix": value} for value in (0, "x", {}, [], [[]], [[1.0, 0.0]], True)),
        *({"warp": value} for value in (0, "x", {}, [], {"center": 1}, WARP | {"width": [0.0]}, WARP | {"v": [[1.0, 0.0]]})),
        *({"warp": value} for value in (WARP | {"slope": [[1.0]]}, WARP | {"more": [1.0]}, WARP | {"z": [[0.0, float("nan")]]})),
    ],
    ids=str,
)
def test_units_that_do_not_fit_the_events_are_refused(facts):
    run, stored = SimpleNamespace(path=Path("run")), {"columns": ["a", "b"], "mean": [0.0, 1.0], "scale": [1.0, 2.0], "matrix": None}
    for warp in (None, WARP):
        assert trained_model.standardization_of(run, stored | {"warp": warp}, Space((2,))).mean.tolist() == [0.0, 1.0]
    with pytest.raises(InputError, match=r"run: mean, scale, matrix and warp in its dataset\.json do not fit its events"):
        trained_model.standardization_of(run, stored | {"warp": None} | facts, Space((2,)))


@pytest.mark.parametrize(
    ("kind", "n_states"), [("categorical", None), ("categorical", [2]), ("binary", [2, 2]), ("real", 3), ("categorical", [2, 2, 2])]
)
def test_numbers_of_states_that_do_not_fit_the_events_are_refused(kind, n_states):
    stored = {"columns": ["a", "b"], "shape": [2], "kind": kind, "n_states": n_states}
    with pytest.raises(InputError, match=r"run: n_states in its dataset\.json does not fit its events"):
        trained_model.space_of(SimpleNamespace(path=Path("run")), stored)

"""The map from the units of the model to those of the data."""

import json
import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from ebm_cli.config import compose
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization, spread
from ebm_cli.runner.experiment import Experiment

UNITS = Standardization(torch.tensor([3.0, -1.0], dtype=torch.double), torch.tensor([2.0, 0.5], dtype=torch.double))


def test_by_hand_both_ways():
    data, model = torch.tensor([[5.0, -1.0], [3.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert torch.equal(UNITS.to_data(model), data.double())
    assert torch.equal(UNITS.from_data(data), model.double())


def test_log_density_in_data_units_is_smaller_by_log_det():
    """If u ~ N(0, I), then y ~ N(mean, scale^2)."""
    assert math.isclose(UNITS.log_det, math.log(2.0) + math.log(0.5), abs_tol=1e-15)
    units = Standardization(UNITS.mean, 3 * UNITS.scale)
    y = torch.tensor([4.0, 0.3], dtype=torch.double)
    in_model_units = Normal(0.0, 1.0).log_prob(units.from_data(y)).sum()
    torch.testing.assert_close(in_model_units - units.log_det, Normal(units.mean, units.scale).log_prob(y).sum())


def test_fitted_rows_have_mean_0_and_mean_square_1():
    y = torch.tensor([[1.0, 10.0], [2.0, 30.0], [6.0, 20.0]])
    units = Standardization.of(y)
    torch.testing.assert_close(units.mean, torch.tensor([3.0, 20.0], dtype=torch.double))
    torch.testing.assert_close(units.scale, torch.tensor([(4 + 1 + 9) / 3, 200 / 3], dtype=torch.double).sqrt())


def test_round_trips():
    y = torch.tensor([[0.1, 1e5], [-7.3, 2e-5]], dtype=torch.double)
    torch.testing.assert_close(UNITS.to_data(UNITS.from_data(y)), y, rtol=1e-14, atol=1e-14)
    again = Standardization.from_json(UNITS.to_json())
    assert torch.equal(again.mean, UNITS.mean)
    assert torch.equal(again.scale, UNITS.scale)
    assert again.matrix is None


def projected(n_components):
    """Rows with various means, scales and correlations, and their principal components."""
    mix = Rng(1).normal("mix", 4, 4) + 2 * torch.eye(4)
    y = (Rng(0).normal("y", 500, 4) @ mix).double() * torch.tensor([1.0, 30.0, 0.01, 2.0]) + 5
    return y, Standardization.of(y).principal(y, n_components)


@pytest.mark.parametrize("n_components", [1, 3, 4])
def test_principal_components_are_white_and_have_the_largest_variance(n_components):
    """They have unit covariance, and retain the variance of the largest eigenvalues of the correlation matrix."""
    y, units = projected(n_components)
    u = units.from_data(y)
    torch.testing.assert_close(u.T @ u / 500, torch.eye(n_components).double(), atol=1e-10, rtol=0)
    assert u.mean(0).abs().max() < 1e-10
    left = (units.from_data(y) @ units.matrix.T).square().mean(0).sum()
    greatest = torch.linalg.eigvalsh(torch.corrcoef(y.T)).flip(0)
    torch.testing.assert_close(left, greatest[:n_components].sum())
    torch.testing.assert_close(units.matrix.square().sum(0), greatest[:n_components])
    assert (units.matrix.gather(0, units.matrix.abs().argmax(0, keepdim=True)) > 0).all()


@pytest.mark.parametrize("n_components", [1, 3, 4])
def test_components_map_to_the_nearest_point_of_the_data_space_and_back(n_components):
    y, units = projected(n_components)
    u = units.from_data(y)
    torch.testing.assert_close(units.from_data(units.to_data(u)), u)
    missing = (y - units.to_data(u)) / units.scale
    torch.testing.assert_close(missing @ units.matrix, torch.zeros_like(u), atol=1e-10, rtol=0)
    assert (missing.abs().max() < 1e-10) == (n_components == 4)
    again = Standardization.from_json(json.loads(json.dumps(units.to_json())))
    assert torch.equal(again.from_data(y), u)
    assert units.log_det == 0


def test_identity_changes_nothing():
    y = torch.tensor([[0.1, 5.0]], dtype=torch.double)
    assert torch.equal(Standardization.identity((2,)).to_data(y), y)
    assert Standardization.identity((2,)).log_det == 0


def test_spread_is_the_standard_deviation_and_one_for_a_constant_coordinate():
    x = Rng(0).normal("x", 3, 40, 2)
    x[1, :, 0] = 0.1  # of one model of a stack
    expected = x.std(1)
    expected[1, 0] = 1.0
    assert torch.equal(spread(x, 1), expected)
    assert spread(x, -2, keepdim=True).shape == (3, 1, 2)


LINES = {
    "gaussian": ["objective=nce"],
    "full_gaussian": ["objective=nce", "reference=full_gaussian"],
    "mixture": ["objective=nce", "reference=mixture"],
    "uniform": ["objective=nce", "reference=uniform", "reference.margin=1"],
    "lsd": ["objective=lsd", "objective.hidden=[8]"],
    "pcd": ["objective=pcd", "objective.n_steps=2", "objective.n_chains=64"],
    "noise": ["objective=dsm_multi", "energy=noise_mlp"],
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_pixel_that_never_changes_does_not_end_training(line):
    images = np.random.default_rng(0).normal(size=(300, 1, 2, 2))
    images[:, 0, 0, 1] = 0.1
    np.save("images.npy", images)
    words = ["dataset=table", "dataset.path=images.npy", "energy=mlp", *line, "energy.hidden=[8]", "trainer.batch_size=64", "metric=[]"]
    trainer = Experiment.of(compose.compose([*words, "device=cpu"])).trainer()
    for _ in range(3):
        trainer.step()
    assert all(value.isfinite().all() for value in trainer.params.values())
    x = trainer.dataset.batch(0, 64, trainer.rng).x
    aux, _, _ = trainer.objective.prepare(trainer.model, trainer.frozen, trainer.state.carry, x, trainer.rng.at("step").at(9))
    assert trainer.objective.loss(trainer.model, trainer.params, x, aux)[0].isfinite().all()

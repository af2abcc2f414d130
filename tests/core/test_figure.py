"""The input of figures: arrays in data units, for one model with its data and samples. Seeded."""

import math
from pathlib import Path

import densities
import numpy as np
import pytest
import tables
import torch
from contexts import Normal
from targets import Coupled, CoupledScore
from torch import nn

from ebm_cli.core import figure as figure_module
from ebm_cli.core.figure import N_POINTS, Scene
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization

UNITS = Standardization(torch.tensor([4.0, -1.0]).double(), torch.tensor([2.5, 0.5]).double())


def scene_of(module=None, draws=None, *, standardization=UNITS, dataset=None, log_z=None, event_ndim=1, **more):
    module = module or Coupled()
    params = {name: value.detach() for name, value in module.named_parameters()}
    model, draws = Model(module, event_ndim=event_ndim, stacked=False), torch.zeros(2, 5, 2) if draws is None else draws
    names = standardization.default_names
    return Scene(model, params, Rng(0), standardization, names, dataset, draws, log_z, [], "a title", {}, **more)


def table(n=300, **options):
    """A file with n distinct rows."""
    values = np.random.default_rng(0).standard_normal((n, 2)) * [30.0, 0.2] + [5.0, 1.0]
    np.savetxt("table.csv", values, delimiter=",", fmt="%.17g")
    return tables.table("table.csv", **options), values


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_samples_are_in_data_units_as_vectors(shape):
    units = Standardization(UNITS.mean.view(shape), UNITS.scale.view(shape))
    draws = Rng(0).normal("draws", 3, 40, *shape)
    found = scene_of(draws=draws, standardization=units, event_ndim=len(shape)).samples
    expected = draws.reshape(120, 2).double() * UNITS.scale + UNITS.mean
    np.testing.assert_allclose(found, expected.numpy())


def test_samples_that_are_not_finite_are_dropped_and_many_samples_are_thinned_evenly():
    draws = torch.arange(20_000.0).view(4, 2500, 2)
    draws[1, 7, 0], draws[2, 9, 1] = math.nan, math.inf
    found = scene_of(draws=draws, standardization=Standardization.identity((2,))).samples
    assert found.shape == (N_POINTS, 2)
    assert np.isfinite(found).all()
    steps = np.diff(found[:, 0]) / 2
    assert set(steps) <= {2.0, 3.0, 4.0}  # every 2.5th of 10,000; a step is longer by one if a sample is missing
    assert found[0, 0] == 0
    assert found[-1, 0] == 19_998
    assert scene_of(draws=torch.full((2, 5, 2), math.nan)).samples.shape == (0, 2)


def test_data_of_a_known_density_are_fresh_test_points_in_data_units():
    dataset = Normal(50, (0.5, -0.3), ((0.5, 0.1), (0.1, 0.3)), scale=2.5)
    scene = scene_of(dataset=dataset, standardization=dataset.standardization)
    expected = dataset.standardization.to_data(dataset.split("test", N_POINTS, Rng(0)).x)
    np.testing.assert_array_equal(scene.data, expected.numpy())
    assert scene.data.shape == (N_POINTS, 2)
    assert scene.knows_density


def test_energies_and_scores_of_a_transformed_table_are_those_of_the_data():
    """The density on a grid integrates to one, and the score is minus the gradient of the energy, per unit of the model."""
    values = np.exp(np.random.default_rng(0).standard_normal((300, 2)))
    np.savetxt("skewed.csv", values, delimiter=",", fmt="%.17g")
    dataset = tables.table("skewed.csv", transform="quantile")
    scene = Scene.of(dataset)
    v = torch.linspace(-12, 12, 401, dtype=torch.double)
    y = torch.cartesian_prod(torch.sinh(v), torch.sinh(v))
    density = np.exp(-scene.energy(y) - scene.log_z) * torch.cosh(torch.asinh(y)).prod(-1).numpy()
    assert density.sum() * (v[1] - v[0]).item() ** 2 == pytest.approx(1.0, abs=1e-3)
    points, units = torch.tensor([[0.5, 1.0], [3.0, 0.2]], dtype=torch.double), dataset.standardization
    for i in range(2):
        step = 1e-4 * torch.eye(2, dtype=torch.double)[i]
        slope = (scene.energy(points - step) - scene.energy(points + step)) / 2e-4
        np.testing.assert_allclose(scene.score(points)[:, i], slope / units.slope(points)[:, i].numpy(), rtol=1e-2, atol=1e-2)


def test_data_of_a_table_are_rows_of_all_splits_with_the_test_rows_first(monkeypatch):
    dataset, values = table()
    scene = scene_of(dataset=dataset, standardization=dataset.standardization)
    np.testing.assert_allclose(np.sort(scene.data, 0), np.sort(values, 0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scene.data[:60], dataset.rows("test"), rtol=1e-5, atol=1e-5)
    assert not scene.knows_density
    monkeypatch.setattr(figure_module, "N_POINTS", 70)
    few = scene_of(dataset=dataset, standardization=dataset.standardization).data
    np.testing.assert_array_equal(few, scene.data[:70])
    assert scene_of().data is None
    assert not scene_of().knows_density


def test_the_box_is_the_frame_if_there_is_one():
    frame = [[-1.0, 2.0], [0.0, 5.0]]
    assert scene_of(frame=frame, dataset=densities.option("moons")).box == ((-1.0, 2.0), (0.0, 5.0))


@pytest.mark.parametrize("name", ["moons", "student_t"])
def test_the_box_of_a_density_contains_the_data_but_not_its_long_tails(name):
    """It lies within the box of the density, and is at most three times as wide as the central 99.6 % of the data."""
    dataset = densities.option(name)
    scene = scene_of(dataset=dataset, standardization=dataset.standardization)
    for (low, high), (bottom, top), column in zip(scene.box, dataset.box, scene.data.T, strict=True):
        assert bottom <= low < high <= top
        assert ((column > low) & (column < high)).mean() > 0.99
        assert high - low <= 3.001 * np.subtract(*np.quantile(column, [0.998, 0.002]))
    assert (name == "moons") == (scene.box == tuple(map(tuple, dataset.box)))


def test_the_box_of_other_data_contains_rows_and_samples():
    """It extends from quantile to quantile, plus 15 % of the width on each side; without data, the quantiles are of the samples."""
    dataset, _ = table()
    draws = 3 * Rng(0).normal("draws", 10, 100, 2) + torch.tensor([9.0, 0.0])
    for data in (dataset, None):
        scene = scene_of(draws=draws, dataset=data, standardization=dataset.standardization)
        points = scene.samples if data is None else np.concatenate([scene.data, scene.samples])
        for (low, high), column in zip(scene.box, points.T, strict=True):
            bottom, top = np.quantile(column, [0.002, 0.998])
            assert low == pytest.approx(bottom - 0.15 * (top - bottom))
            assert high == pytest.approx(top + 0.15 * (top - bottom))


def test_grid_by_hand():
    """The rows of an image correspond to values of the second coordinate."""
    x, y, points = scene_of(frame=[[0.0, 2.0], [10.0, 16.0]]).grid(3)
    assert x.tolist() == [0.0, 1.0, 2.0]
    assert y.tolist() == [10.0, 13.0, 16.0]
    assert points.dtype == torch.double
    assert points.tolist() == [[a, b] for b in (10.0, 13.0, 16.0) for a in (0.0, 1.0, 2.0)]
    np.testing.assert_array_equal(points[:, 0].numpy().reshape(3, 3)[0], x)


def test_energies_and_scores_at_points_in_data_units():
    """They are computed in the precision of the draws; scores are per unit of the model, so that arrows keep their angle."""
    scene, y = scene_of(), torch.tensor([[4.0, -1.0], [6.5, -1.0], [4.0, 0.0]])
    u = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    np.testing.assert_allclose(scene.energy(y), Coupled()(u).detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(scene.score(y), CoupledScore()(u).detach().numpy(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(scene_of(CoupledScore()).score(y), scene.score(y), rtol=1e-6, atol=1e-6)


class Labelled(nn.Module):
    """An energy that takes labels."""

    takes_labels = True

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.ones(()))

    def forward(self, x, label):
        return self.a * x.square().sum(-1)


def test_what_a_scene_can_show():
    """An energy that takes no labels can be shown, and a density if also log Z is known and the model is of the columns."""
    dataset, _ = table(n_components=1)
    cases = {  # has_energy, has_density, projected
        (True, True, False): scene_of(log_z=0.3),
        (True, False, False): scene_of(),
        (True, False, True): scene_of(draws=torch.zeros(2, 5, 1), log_z=0.3, standardization=dataset.standardization, dataset=dataset),
    }
    for expected, scene in cases.items():
        assert (scene.has_energy, scene.has_density, scene.projected) == expected
        assert scene.n_columns == 2
    for module in (CoupledScore(), Labelled()):
        scene = scene_of(module, log_z=0.3)
        assert (scene.has_energy, scene.has_density) == (False, False)


def test_samples_and_data_of_principal_components_are_mapped_to_the_columns():
    dataset, values = table(n_components=1)
    scene = scene_of(draws=torch.ones(2, 5, 1), dataset=dataset, standardization=dataset.standardization)
    units = dataset.standardization
    np.testing.assert_allclose(scene.samples, (units.matrix[:, 0] * units.scale + units.mean).expand(10, 2).numpy(), rtol=1e-6)
    assert scene.data.shape == values.shape
    assert Path("table.csv").exists()


def test_a_plane_has_two_real_columns():
    three = Standardization.identity((3,))
    assert scene_of().is_plane
    assert not scene_of(kind="binary").is_plane
    assert not scene_of(draws=torch.zeros(2, 5, 3), standardization=three).is_plane


def test_held_out_points_are_test_rows_only():
    dataset, _ = table()
    scene = scene_of(dataset=dataset, standardization=dataset.standardization)
    np.testing.assert_allclose(scene.held_out(1000), dataset.rows("test"), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(scene.held_out(7), scene.held_out(1000)[:7])
    assert scene_of().held_out(7) is None


def test_a_scene_without_a_run_is_of_the_standard_normal_in_the_coordinates_of_the_model():
    dataset, values = table()
    scene = Scene.of(dataset)
    assert scene.shape == (2,)
    assert scene.samples.shape == (1000, 2)
    np.testing.assert_allclose(scene.samples.mean(0), values.mean(0), atol=5 * values.std(0).max() / 1000**0.5)  # 5 standard errors
    y = torch.tensor(values[:5])
    u = (y - dataset.standardization.mean) / dataset.standardization.scale
    log_prob = torch.distributions.Normal(dataset.standardization.mean, dataset.standardization.scale).log_prob(y).sum(1)
    np.testing.assert_allclose(-scene.energy(y) - scene.log_z, log_prob, rtol=1e-5)
    np.testing.assert_allclose(scene.score(y), -u, rtol=1e-5, atol=1e-6)
    assert scene.has_density


def test_a_scene_without_a_run_has_the_given_energy_and_samples():
    dataset, values = table()
    scene = Scene.of(dataset, Coupled(), values[:20], log_z=0.5, rows=[{"step": 1, "loss": 2.0}])
    np.testing.assert_allclose(scene.samples, values[:20], rtol=1e-5, atol=1e-5)
    u = dataset.standardization.from_data(torch.tensor(values[:3])).float()
    np.testing.assert_allclose(scene.energy(torch.tensor(values[:3])), Coupled()(u).detach().numpy(), rtol=1e-5)
    assert (scene.log_z, scene.rows) == (0.5, [{"step": 1, "loss": 2.0}])


def test_a_figure_that_returns_nothing_is_told_so(tmp_path):
    class Forgetful(figure_module.Figure):
        def plot(self, scene):
            pass

    with pytest.raises(TypeError, match=r"Forgetful\.plot returned None"):
        Forgetful().save(scene_of(), tmp_path / "a.png")

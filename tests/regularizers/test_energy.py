"""Penalties on energies, computed by hand."""

import pytest
import torch
from torch import nn

from ebm_cli.core.model import CountingModel, Model
from ebm_cli.regularizers.energy import BoundedEnergy, EnergyL1, EnergyL2

X, Y = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 2.0]])  # |x|^2 / 2 = 2.5, 4.5 and |y|^2 / 2 = 0.5, 4
PARAMS = {"a": torch.tensor(-2.0)}  # E(x) = -5, -9 and E(y) = -1, -8


class Quadratic(nn.Module):
    """E(x) = a |x|^2 / 2."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return 0.5 * self.a * x.square().sum(-1)


@pytest.mark.parametrize(
    ("aux", "expected", "n_evaluated"),
    [
        ({}, [0.3 * 25, 0.3 * 81], 2),
        ({"negatives": Y}, [0.3 * (25 + 1), 0.3 * (81 + 64)], 4),
        ({"energy": torch.tensor([-5.0, -9.0])}, [0.3 * 25, 0.3 * 81], 0),
        ({"energy": torch.tensor([-5.0, -9.0]), "negatives": Y}, [0.3 * (25 + 1), 0.3 * (81 + 64)], 2),
        (
            {"energy": torch.tensor([-5.0, -9.0]), "negatives": Y, "energy_negatives": torch.tensor([-1.0, -8.0])},
            [0.3 * (25 + 1), 0.3 * (81 + 64)],
            0,
        ),
    ],
)
def test_penalty_reuses_the_energies_of_the_objective(aux, expected, n_evaluated):
    model = CountingModel(Model(Quadratic(), event_ndim=1, stacked=False))
    torch.testing.assert_close(EnergyL2(0.3).penalty(model, PARAMS, X, aux), torch.tensor(expected))
    assert model.counts["energy"] == n_evaluated


def test_gradient_by_hand():
    """d/da weight (a^2 |x|^4 / 4) = weight a |x|^4 / 2."""
    params = {"a": torch.tensor(-2.0, requires_grad=True)}
    model = Model(Quadratic(), event_ndim=1, stacked=False)
    (gradient,) = torch.autograd.grad(EnergyL2(0.3).penalty(model, params, X, {"negatives": Y}).sum(), params["a"])
    torch.testing.assert_close(gradient, torch.tensor(0.3 * -2.0 * (25 + 81 + 1 + 64) / 2))


def test_a_stack_is_penalized_model_by_model():
    model = Model(Quadratic(), event_ndim=1, stacked=True)
    penalty = EnergyL2(0.3).penalty(model, {"a": torch.tensor([-2.0, 1.0])}, torch.stack([X, Y]), {"negatives": torch.stack([Y, X])})
    torch.testing.assert_close(penalty, 0.3 * torch.tensor([[25.0 + 1, 81 + 64], [0.25 + 6.25, 16 + 20.25]]))


def test_other_sizes_by_hand():
    """The energies are -5, -9 and, on negatives, -1, -8."""
    model = Model(Quadratic(), event_ndim=1, stacked=False)
    l1, bounded = (
        EnergyL1(0.3).penalty(model, PARAMS, X, {"negatives": Y}),
        BoundedEnergy(0.3, 6.0).penalty(model, PARAMS, X, {"negatives": Y}),
    )
    torch.testing.assert_close(l1, 0.3 * torch.tensor([5.0 + 1, 9.0 + 8]))
    torch.testing.assert_close(bounded, 0.3 * torch.tensor([0.0, 9.0 + 4]))


class AtLevel(nn.Module):
    """E(x, sigma) = sigma |x|^2."""

    takes_noise_level = True

    def forward(self, x, noise_level):
        return noise_level * x.square().sum(-1)


def test_energies_are_taken_at_the_noise_levels_of_the_objective():
    model, level = Model(AtLevel(), event_ndim=1, stacked=False), torch.tensor([1.0, 3.0])
    penalty = EnergyL1(0.5).penalty(model, {}, 7 * X, {"noised": X, "negatives": Y, "noise_level": level})
    torch.testing.assert_close(penalty, 0.5 * level * (X.square().sum(-1) + Y.square().sum(-1)))

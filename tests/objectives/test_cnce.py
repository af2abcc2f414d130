"""Conditional noise-contrastive estimation against closed forms and quadrature. Statistical checks are seeded, at 5 standard errors."""

import pytest
import torch
from targets import LogGamma, Quadratic, assert_mean, normal_nodes, pairs, spread_points
from torch.nn.functional import softplus

from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.objectives.cnce import ConditionalNoiseContrastive

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_loss_formula(shape):
    """The loss is the mean of softplus(E(x_i) - E(x~_ij)) over the copies x~_ij of each data point."""
    model, cnce, a = Model(Quadratic(), event_ndim=len(shape), stacked=False), ConditionalNoiseContrastive(1e-3, 3), 700.0
    x = Rng(0).normal("x", 5, *shape)
    aux, carry, _ = cnce.prepare(model, {}, {}, x, Rng(1))
    assert carry == {}
    assert aux["points"].shape == (20, *shape)
    torch.testing.assert_close(aux["points"][:5], x)
    loss, info = cnce.loss(model, {"a": torch.tensor(a)}, x, aux)
    torch.testing.assert_close(info["energy"], a * x.flatten(1).square().sum(-1) / 2)
    for i in range(5):
        own = [y for y in aux["points"][5:] if (y - x[i]).norm() < 0.01]
        assert len(own) == 3
        torch.testing.assert_close(loss[i], sum(softplus(a * (x[i].square().sum() - y.square().sum()) / 2) for y in own) / 3)


def test_copies_are_normal_with_standard_deviation_eps():
    x = torch.full((5000, 2), 3.0)
    aux, _, _ = ConditionalNoiseContrastive(0.4, 4).prepare(Model(Quadratic(), event_ndim=1, stacked=False), {}, {}, x, Rng(0))
    z = (aux["points"][5000:] - 3.0) / 0.4
    for column in z.T:
        assert_mean(column, 0.0)
        assert_mean(column**2, 1.0)
        assert_mean(column**4, 3.0)
    assert_mean(z[:, 0] * z[:, 1], 0.0)
    assert_mean(z[:5000, 0] * z[5000:10_000, 0], 0.0)  # copies have independent noise


def test_data_points_use_several_widths_in_turn():
    x = torch.full((9000, 1), 3.0)
    aux, _, _ = ConditionalNoiseContrastive([1.0, 10.0], 2).prepare(Model(Quadratic(), event_ndim=1, stacked=False), {}, {}, x, Rng(0))
    for copy in (aux["points"][9000:] - 3.0).chunk(2):
        assert_mean(copy[::2].square().flatten(), 1.0)
        assert_mean(copy[1::2].square().flatten(), 100.0)


@pytest.mark.parametrize("a", [0.6, 1.0, 1.7])
def test_tends_to_score_matching(a):
    """For x ~ N(0, I), 4 / eps^2 (loss - log 2) tends to a^2 d/2 - a d, with an error of order eps^2."""
    d, eps = 3, 0.02
    model, cnce = Model(Quadratic(), event_ndim=1, stacked=False), ConditionalNoiseContrastive(eps, 1)
    x, z = pairs(spread_points((d,), 2 * d), spread_points((d,), 2 * d))
    loss, _ = cnce.loss(model, {"a": torch.tensor(a)}, x, {"points": torch.cat([x, x + eps * z])})
    value = 4 / eps**2 * (loss.mean() - torch.tensor(2.0).log())
    assert abs(value - (a * a * d / 2 - a * d)) < 10 * eps**2


def test_value_on_a_gaussian():
    """At a large eps, the mean of softplus(-(a eps z x + a eps^2 z^2 / 2)) over x and z by Gauss-Hermite quadrature."""
    eps, (node, weight) = 0.8, normal_nodes(60)
    x, z = pairs(node, node)
    weight = torch.outer(weight, weight).flatten()
    for a in (0.6, 1.7):
        loss, _ = ConditionalNoiseContrastive(eps, 1).loss(
            Model(Quadratic(), event_ndim=1, stacked=False),
            {"a": torch.tensor(a)},
            x.unsqueeze(-1),
            {"points": torch.cat([x, x + eps * z]).unsqueeze(-1)},
        )
        torch.testing.assert_close(loss @ weight, (1 + (-a * (eps * z * x + (eps * z) ** 2 / 2)).exp()).log() @ weight)


def test_minimum_is_at_the_truth_of_a_skewed_distribution():
    """The gradients in k and b vanish at the truth and have the right signs around it; by the trapezoid rule on a grid of pairs (x, x~)."""
    x = torch.linspace(-3.0, 12.0, 301)
    step = x[1] - x[0]
    shift = step * torch.arange(-60, 61)
    here, away = pairs(x, shift)
    model, eps = Model(LogGamma(), event_ndim=1, stacked=False), 0.7
    truth = {"k": torch.tensor(2.0), "b": torch.tensor(0.0)}
    weight = torch.exp(-model.energy(truth, here.unsqueeze(-1)) - (away / eps) ** 2 / 2) * step**2 / (eps * (2 * torch.pi) ** 0.5)
    assert abs(weight.sum() - 1) < 1e-3
    aux = {"points": torch.cat([here, here + away]).unsqueeze(-1)}

    def gradient(k, b):
        params = {"k": torch.tensor(k, requires_grad=True), "b": torch.tensor(b, requires_grad=True)}
        loss, _ = ConditionalNoiseContrastive(eps, 1).loss(model, params, here.unsqueeze(-1), aux)
        return torch.autograd.grad(loss @ weight, params.values())

    assert all(abs(component) < 1e-6 for component in gradient(2.0, 0.0))
    assert gradient(1.6, 0.0)[0] < -0.003
    assert gradient(2.5, 0.0)[0] > 0.003
    assert gradient(2.0, -0.2)[1] < -0.003
    assert gradient(2.0, 0.2)[1] > 0.003

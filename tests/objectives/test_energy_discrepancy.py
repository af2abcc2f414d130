"""Energy discrepancy against closed forms. Statistical checks are seeded, with a tolerance of 5 standard errors."""

from math import log

import pytest
import torch
from discrete import SPACES, Table
from targets import LogGamma, Quadratic, assert_mean, log_gamma_nodes, normal_nodes, pairs

from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import levels, states
from ebm_cli.objectives.energy_discrepancy import EnergyDiscrepancy

pytestmark = pytest.mark.usefixtures("double")

M = 400


def ways(x, z, t):
    """The aux of `prepare` for x (B,) and z (B,), with z_j at the midpoints of M equal parts of N(0, 1) in place of M draws."""
    middle = torch.special.ndtri((torch.arange(M) + 0.5) / M)
    return {"points": torch.cat([x, (x + t * z + t * middle.unsqueeze(-1)).flatten()]).unsqueeze(-1)}


@pytest.mark.parametrize("w", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_loss_formula(shape, w):
    """log(w/M + 1/M sum_j exp(E(x) - E(y_j))) of each data point and its own M negatives."""
    model, a = Model(Quadratic(), event_ndim=len(shape), stacked=False), torch.tensor(7e4)
    ed, x = EnergyDiscrepancy(1e-4, 3, w, 0.1), Rng(0).normal("x", 5, *shape)
    aux, carry, _ = ed.prepare(model, {}, {}, x, Rng(1))
    assert carry == {}
    assert aux["points"].shape == (20, *shape)
    torch.testing.assert_close(aux["points"][:5], x)
    loss, info = ed.loss(model, {"a": a}, x, aux)
    torch.testing.assert_close(info["energy"], a * x.flatten(1).square().sum(-1) / 2)
    for i in range(5):
        own = [y for y in aux["points"][5:] if (y - x[i]).norm() < 0.01]
        assert len(own) == 3
        total = w / 3 + sum((a / 2 * (x[i].square().sum() - y.square().sum())).exp() for y in own) / 3
        torch.testing.assert_close(loss[i], total.log())


def test_the_negatives_of_a_data_point_share_its_perturbation():
    """y_j - x = t (z + z_j) has variance 2 t^2; its covariance is t^2 between negatives of a point, and 0 between points or coordinates."""
    n, t, x = 20_000, 0.6, torch.full((20_000, 2), 3.0)
    aux, _, _ = EnergyDiscrepancy(t, 2, 1.0, 0.1).prepare(Model(Quadratic(), event_ndim=1, stacked=False), {}, {}, x, Rng(0))
    first, second = ((aux["points"][n:] - 3.0) / t).chunk(2)
    for way in (first, second):
        assert_mean(way[:, 0], 0.0)
        assert_mean(way[:, 1] ** 2, 2.0)
        assert_mean(way[:, 0] * way[:, 1], 0.0)
    assert_mean(first[:, 0] * second[:, 0], 1.0)
    assert_mean(first[:, 0] * second[:, 1], 0.0)
    assert_mean(first[1:, 0] * second[:-1, 0], 0.0)


def test_data_points_use_several_widths_in_turn():
    """With t = (1, 10, 100), data points 0, 3, 6, ... have t = 1: y_j - x has variance 2 t^2, for one model and for a stack."""
    for m in ((), (2,)):
        model, x = Model(Quadratic(), event_ndim=1, stacked=bool(m)), torch.full((*m, 20_000, 1), 3.0)
        rng = Rng((0, 1)) if m else Rng(0)
        aux, _, _ = EnergyDiscrepancy([1.0, 10.0, 100.0], 2, 1.0, 0.1).prepare(model, {}, {}, x, rng)
        back = aux["points"][..., 20_000:40_000, 0] - 3.0  # one negative of each data point
        for k, t in enumerate((1.0, 10.0, 100.0)):
            assert_mean((back[..., k::3] / t).square().flatten(), 2.0)


@pytest.mark.parametrize("t", [0.5, 1.3])
def test_value_and_gradient_on_a_gaussian(t):
    """For large M and w = 0: a/2 - log(1 + a t^2)/2 - a (1 + t^2) / (2 (1 + a t^2)), minimal at a = 1. M = 400 has an error of 3e-3."""
    (node, weight), model = normal_nodes(16), Model(Quadratic(), event_ndim=1, stacked=False)
    x, z = pairs(node, node)
    weight = torch.outer(weight, weight).flatten()
    for a in (0.6, 1.0, 1.7):
        leaf, exact = torch.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
        loss = EnergyDiscrepancy(t, M, 0.0, 0.1).loss(model, {"a": leaf}, x.unsqueeze(-1), ways(x, z, t))[0]
        expected = exact / 2 - (1 + exact * t**2).log() / 2 - exact * (1 + t**2) / (2 * (1 + exact * t**2))
        torch.testing.assert_close((loss @ weight).detach(), expected.detach(), atol=3e-3, rtol=0)
        (gradient,), (slope,) = torch.autograd.grad(loss @ weight, leaf), torch.autograd.grad(expected, exact)
        torch.testing.assert_close(gradient, slope, atol=3e-3, rtol=0)
        assert (a == 1 and abs(slope) < 1e-12) or slope * (a - 1) > 0


def test_minimum_is_at_the_truth_of_a_skewed_distribution():
    """For exp(-x) ~ Gamma(2) the gradients in k and b vanish, up to 5e-3 at M = 400, and have the right signs around the truth."""
    (data, weight), (node, more), model, t = log_gamma_nodes(2, 30), normal_nodes(16), Model(LogGamma(), event_ndim=1, stacked=False), 0.6
    x, z = pairs(data.squeeze(-1), node)
    weight = torch.outer(weight, more).flatten()

    def gradient(k, b):
        params = {"k": torch.tensor(k, requires_grad=True), "b": torch.tensor(b, requires_grad=True)}
        loss, _ = EnergyDiscrepancy(t, M, 0.0, 0.1).loss(model, params, x.unsqueeze(-1), ways(x, z, t))
        return torch.autograd.grad(loss @ weight, params.values())

    assert all(abs(component) < 5e-3 for component in gradient(2.0, 0.0))
    assert gradient(1.5, 0.0)[0] < -0.02
    assert gradient(2.6, 0.0)[0] > 0.02
    assert gradient(2.0, -0.2)[1] < -0.02
    assert gradient(2.0, 0.2)[1] > 0.02


def test_the_stabiliser_counts_as_w_negatives_of_equal_energy():
    """If E is constant every term is 1, and the loss is log((w + M) / M)."""
    x = torch.zeros(4, 2)
    for w, m in ((0.0, 5), (1.0, 5), (3.0, 2)):
        ed = EnergyDiscrepancy(0.3, m, w, 0.1)
        model = Model(Quadratic(), event_ndim=1, stacked=False)
        aux, _, _ = ed.prepare(model, {}, {}, x, Rng(0))
        torch.testing.assert_close(ed.loss(model, {"a": torch.tensor(0.0)}, x, aux)[0], torch.full((4,), log((w + m) / m)))


def kernel(space, flip):
    """q(y | x), the probability of every state y after one way from every state x, (N, N). It is symmetric."""
    x = states(space).flatten(1)
    numbers = torch.tensor(levels(space, x.shape[1]), dtype=x.dtype)
    return torch.where(x.unsqueeze(1) == x, 1 - flip, flip / (numbers - 1)).prod(-1)


@pytest.mark.parametrize("kind", ["bits", "sites"])
def test_the_minimum_on_discrete_events(kind):
    """With the exact distribution of both perturbations the gradient vanishes at the truth and pulls back from both sides."""
    space, flip = SPACES[kind], 0.25 if kind == "bits" else 0.5
    q = kernel(space, flip)
    n = len(q)
    torch.testing.assert_close(q, q.T)
    m = 256 if kind == "bits" else 64
    times = (q * m).round().long()
    assert torch.equal(times.to(q) / m, q)  # the M negatives have exactly the distribution of x_j given y
    x, y = (part.flatten() for part in torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij"))
    negatives = torch.stack([torch.arange(n).repeat_interleave(times[k]) for k in range(n)])[y]  # (n n, M)
    points = states(space)[torch.cat([x, negatives.T.flatten()])]
    truth = Table(space, seed=1).value.detach()
    weight = ((-truth).softmax(0).unsqueeze(-1) * q).flatten()
    model = Model(Table(space), event_ndim=len(space.shape), stacked=False, space=space)
    objective = EnergyDiscrepancy(1.0, m, 0.0, flip)

    def gradient(value):
        leaf = value.clone().requires_grad_()
        loss = objective.loss(model, {"value": leaf}, states(space)[x], {"points": points})[0] @ weight
        return torch.autograd.grad(loss, leaf)[0]

    torch.testing.assert_close(gradient(truth), torch.zeros(n), atol=1e-12, rtol=0)
    for k in (0, 5, n - 1):
        for step in (-0.4, 0.4):
            moved = truth.clone()
            moved[k] += step
            assert gradient(moved)[k] * step > 0


@pytest.mark.parametrize("kind", ["bits", "ragged"])
def test_discrete_perturbations(kind):
    """A coordinate differs from x_i after one way with probability f, to each other value alike, and both ways are independent."""
    space, n, flip = SPACES[kind], 40_000, 0.3
    numbers = levels(space, len(states(space)[0].flatten()))
    x = states(space)[-1].expand(n, *space.shape)
    model = Model(Table(space), event_ndim=len(space.shape), stacked=False, space=space)
    aux, _, _ = EnergyDiscrepancy(1.0, 2, 1.0, flip).prepare(model, {}, {}, x, Rng(0))
    assert torch.equal(aux["points"][:n], x)
    first, second = (part.flatten(1) for part in aux["points"][n:].chunk(2))
    for i, k in enumerate(numbers):
        stays = (1 - flip) ** 2 + flip**2 / (k - 1)
        both = (1 - flip) ** 3 + flip**3 / (k - 1) ** 2  # both negatives return: the way there is shared
        for value in range(k):
            share = stays if value == k - 1 else (1 - stays) / (k - 1)
            assert_mean((first[:, i] == value).double(), share)
        assert_mean(((first[:, i] == k - 1) & (second[:, i] == k - 1)).double(), both)
    assert_mean(
        ((first[:, 0] == numbers[0] - 1) & (first[:, 1] == numbers[1] - 1)).double(), returns(numbers[0], flip) * returns(numbers[1], flip)
    )


def returns(k, flip):
    """The probability that a coordinate has its value again after both ways."""
    return (1 - flip) ** 2 + flip**2 / (k - 1)


def test_events_use_several_probabilities_in_turn():
    space, n = SPACES["bits"], 30_000
    model = Model(Table(space), event_ndim=2, stacked=False, space=space)
    aux, _, _ = EnergyDiscrepancy(1.0, 1, 1.0, [0.0, 0.1, 0.5]).prepare(model, {}, {}, torch.zeros(n, 2, 2), Rng(0))
    for k, flip in enumerate((0.0, 0.1, 0.5)):
        assert_mean(aux["points"][n:].flatten(1)[k::3, 0], 2 * flip * (1 - flip))

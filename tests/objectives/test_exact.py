"""Exact maximum likelihood against closed forms: there is no Monte Carlo error, and all tolerances are for rounding."""

import math

import pytest
import torch
from discrete import SPACES, Table, gradient_of
from targets import LogGamma, Quadratic, log_gamma_nodes, spread_points

from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import states
from ebm_cli.errors import InputError
from ebm_cli.objectives.exact import ExactLikelihood
from ebm_cli.types import Space

pytestmark = pytest.mark.usefixtures("double")


class Shifts:
    """A fake Rng for M models, whose grids are shifted by 0, 1/M, 2/M, ... of their spacing."""

    def __init__(self, m):
        self.model_shape = (m,)

    def uniform(self, stream, *shape):
        return (torch.arange(*self.model_shape) / self.model_shape[0]).unsqueeze(-1).expand(*self.model_shape, *shape)


def wide(shape, half=9.0):
    """Training data whose box is [-half, half] in every coordinate."""
    return torch.tensor([-half, half]).reshape(2, *[1] * len(shape)).expand(2, *shape)


@pytest.mark.parametrize("shape", [(1,), (2,), (1, 2)])
@pytest.mark.parametrize("a", [0.6, 1.0, 1.7])
def test_value_and_gradient_on_a_gaussian(shape, a):
    """a d/2 + (d/2) log(2 pi / a), with the derivative d/2 (1 - 1/a) and its minimum at the truth."""
    d, model, exact = math.prod(shape), Model(Quadratic(), event_ndim=len(shape), stacked=False), ExactLikelihood(60, 0.1)
    x, leaf = spread_points(shape, 4 * d), torch.tensor(a, requires_grad=True)
    extra, carry = exact.init(model, {}, wide(shape), Rng(0))
    assert extra == {}
    aux, _, _ = exact.prepare(model, {"a": leaf}, carry, x, Rng(3))
    loss, info = exact.loss(model, {"a": leaf}, x, aux)
    (gradient,) = torch.autograd.grad(loss.mean(), leaf)
    torch.testing.assert_close(info["log_z"], torch.tensor(d / 2 * math.log(2 * math.pi / a)))
    torch.testing.assert_close(loss.mean(), torch.tensor(a * d / 2 + d / 2 * math.log(2 * math.pi / a)))
    torch.testing.assert_close(gradient, torch.tensor(d / 2 * (1 - 1 / a)))


def test_loss_of_each_sample_is_its_negative_log_likelihood():
    model, exact, x = Model(Quadratic(), event_ndim=1, stacked=False), ExactLikelihood(60, 0.1), Rng(0).normal("x", 5, 2)
    _, carry = exact.init(model, {}, wide((2,)), Rng(0))
    aux, _, _ = exact.prepare(model, {}, carry, x, Rng(3))
    loss, info = exact.loss(model, {"a": torch.tensor(1.7)}, x, aux)
    torch.testing.assert_close(info["energy"], 0.85 * x.square().sum(-1))
    torch.testing.assert_close(loss, 0.85 * x.square().sum(-1) + math.log(2 * math.pi / 1.7))


def test_gradient_on_a_skewed_distribution():
    """k (x - b) + exp(b - x) + log Gamma(k) under k = 2, b = 0: the gradient is digamma(k) - digamma(2) in k and 2 e^b - k in b."""
    (x, weights), model = log_gamma_nodes(2, 40), Model(LogGamma(), event_ndim=1, stacked=False)
    exact = ExactLikelihood(300, 0.2)
    _, carry = exact.init(model, {}, torch.tensor([[-4.0], [22.0]]), Rng(0))
    for k, b in ((2.0, 0.0), (1.5, 0.0), (2.6, 0.0), (2.0, 0.3), (2.0, -0.3)):
        params = {"k": torch.tensor(k, requires_grad=True), "b": torch.tensor(b, requires_grad=True)}
        aux, _, _ = exact.prepare(model, params, carry, x, Rng(3))
        gradient = torch.stack(torch.autograd.grad(exact.loss(model, params, x, aux)[0] @ weights, params.values()))
        expected = torch.stack([torch.digamma(params["k"]) - torch.digamma(torch.tensor(2.0)) - params["b"], 2 * params["b"].exp() - k])
        torch.testing.assert_close(gradient, expected.detach(), atol=2e-3, rtol=0)  # the quadrature is exact for exp(-x), but not for x


@pytest.mark.parametrize(("n_points", "d"), [(3, 1), (2, 2)])
def test_z_is_unbiased_over_the_shifts_of_a_grid_that_is_too_coarse(n_points, d):
    """The mean over shifts of exp(log Z) is Z, although single shifts are far from it."""
    m = 400
    model, exact, x = Model(Quadratic(), event_ndim=1, stacked=True), ExactLikelihood(n_points, 0.0), torch.zeros(m, 1, d)
    _, carry = exact.init(model, {}, wide((d,), 6.0).expand(m, 2, d), Shifts(m))
    aux, _, _ = exact.prepare(model, {}, carry, x, Shifts(m))
    if d == 2:  # every pair of shifts: 20 x 20
        start = (
            carry["grid"][:, :1]
            + carry["spacing"].unsqueeze(1) * torch.cartesian_prod(torch.arange(20), torch.arange(20)).unsqueeze(1) / 20
        )
        aux["grid"] = carry["grid"] - carry["grid"][:, :1] + start
    z = exact.loss(model, {"a": torch.full((m,), 2.0)}, x, aux)[1]["log_z"].exp()
    torch.testing.assert_close(z.mean(), torch.tensor(math.pi ** (d / 2)))
    assert z.std() > 0.5


def test_error_is_that_of_the_trapezoid_rule_and_decays_exponentially():
    """By Poisson summation, Z_h / Z - 1 = 2 sum_k exp(-2 pi^2 k^2 / (a h^2)) cos(2 pi k c / h), c a point of the grid."""
    a, model = 0.8, Model(Quadratic(), event_ndim=1, stacked=False)
    for n in (6, 8, 12, 24):
        exact = ExactLikelihood(n, 0.25)
        _, carry = exact.init(model, {}, wide((1,), 8.0), Rng(0))
        aux, _, _ = exact.prepare(model, {}, carry, torch.zeros(1, 1), Rng(n))
        log_z = exact.loss(model, {"a": torch.tensor(a)}, torch.zeros(1, 1), aux)[1]["log_z"]
        h, c, k = 24 / n, aux["grid"][0, 0], torch.arange(1, 4)
        error = 2 * ((-2 * (math.pi * k / h) ** 2 / a).exp() * torch.cos(2 * math.pi * k * c / h)).sum()
        torch.testing.assert_close(log_z.exp() / math.sqrt(2 * math.pi / a) - 1, error, atol=1e-10, rtol=1e-6)


def test_grid_covers_the_box_of_the_data_with_margin_and_shifts_by_less_than_a_spacing():
    model, exact = Model(Quadratic(), event_ndim=1, stacked=True), ExactLikelihood(10, 0.5)
    x = torch.tensor([[[0.0, 2.0], [4.0, 10.0]], [[-1.0, 0.0], [0.0, 1.0]]])  # two models, two boxes
    _, carry = exact.init(model, {}, x, Rng((0, 1)))
    low, width = torch.tensor([[-2.0, -2.0], [-1.5, -0.5]]), torch.tensor([[8.0, 16.0], [2.0, 2.0]])
    torch.testing.assert_close(carry["spacing"], width / 10)
    torch.testing.assert_close(carry["grid"].amin(1), low)
    torch.testing.assert_close(carry["grid"].amax(1), low + 0.9 * width)
    assert len(carry["grid"][0].unique(dim=0)) == 100
    shifts = [exact.prepare(model, {}, carry, x, Rng((0, 1)).at(step))[0]["grid"] - carry["grid"] for step in range(2)]
    for shift in shifts:
        torch.testing.assert_close(shift, shift[:, :1].expand_as(shift))
        assert ((shift[:, 0] > 0) & (shift[:, 0] < width / 10)).all()
    assert (shifts[0] != shifts[1]).all()  # a new shift at each step


@pytest.mark.parametrize("shape", [(3,), (2, 2)])
def test_three_coordinates_are_refused(shape):
    with pytest.raises(InputError, match="at most 2 coordinates"):
        ExactLikelihood(10, 0.1).init(Model(Quadratic(), event_ndim=len(shape), stacked=False), {}, torch.zeros(4, *shape), Rng(0))


@pytest.mark.parametrize("kind", SPACES)
def test_the_loss_of_discrete_events_is_the_negative_log_likelihood(kind):
    """E(x) + log sum exp(-E) for any energy; the gradient is p_model - p_data up to its sign, and vanishes at the truth."""
    space, exact = SPACES[kind], ExactLikelihood(60, 0.1)
    truth, value = (Table(space, seed=seed).value.detach() for seed in (1, 2))
    p = (-truth).softmax(0)
    loss, gradient = gradient_of(exact, space, value, p)
    assert loss == pytest.approx((p @ value + (-value).logsumexp(0)).item())
    torch.testing.assert_close(gradient, p - (-value).softmax(0))
    torch.testing.assert_close(gradient_of(exact, space, truth, p)[1], torch.zeros_like(p), atol=1e-12, rtol=0)


class Known(Table):
    """An energy that states its log Z, wrongly by 5."""

    has_log_partition = True

    def log_partition(self):
        return (-self.value).logsumexp(0) + 5


@pytest.mark.parametrize("stacked", [False, True])
def test_an_energy_that_knows_its_log_z_is_not_summed(stacked):
    space, exact = SPACES["bits"], ExactLikelihood(60, 0.1)
    model = Model(Known(space), event_ndim=2, stacked=stacked, space=space)
    value, x = Known(space).value.detach(), states(space)[:3]
    value, x = (torch.stack([value, -value]), torch.stack([x, x])) if stacked else (value, x)
    aux, _, _ = exact.prepare(model, {"value": value}, {}, x, Rng(0))
    assert aux == {}
    loss, info = exact.loss(model, {"value": value}, x, aux)
    torch.testing.assert_close(loss, value[..., :3] + (-value).logsumexp(-1, keepdim=True) + 5)
    assert info["log_z"].shape == ((2,) if stacked else ())


def test_too_many_states_are_refused():
    class Ones(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1).sum(-1)

    for n, refused in ((16, False), (17, True)):
        model = Model(Ones(), event_ndim=1, stacked=False, space=Space((n,), "binary"))
        if not refused:
            assert ExactLikelihood(60, 0.1).init(model, {}, torch.zeros(5, n), Rng(0)) == ({}, {})
            continue
        with pytest.raises(InputError, match="at most 65536 states"):
            ExactLikelihood(60, 0.1).init(model, {}, torch.zeros(5, n), Rng(0))

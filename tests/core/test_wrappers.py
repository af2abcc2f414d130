"""Views of a model against explicit formulas, for one model and for a stack."""

import pytest
import torch
from targets import Coupled
from torch import nn

from ebm_cli.core.model import CountingModel, Model
from ebm_cli.core.rng import Rng
from ebm_cli.core.wrappers import AnnealingPath, AtNoiseLevel, Differentiable, Tempered, Tilted

pytestmark = pytest.mark.usefixtures("double")


class Levels(nn.Module):
    """E(x, sigma) = a |x - sigma|^2 / 2, with the score -a (x - sigma)."""

    takes_noise_level = True

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.ones(()))

    def forward(self, x, sigma):
        return 0.5 * self.a * (x.flatten(1) - sigma.unsqueeze(-1)).square().sum(-1)


@pytest.fixture(params=[((), 0), ((2,), (3, 4))], ids=["one", "stack"])
def case(request):
    """(m, rng, a): the shape of the stack, its numbers, the parameter of each model."""
    m, seeds = request.param
    return m, Rng(seeds), torch.tensor([0.7, 1.9]) if m else torch.tensor(0.7)


def all_answers(view, params, x, *level):
    """E, s by itself, and both together, where E must be the same."""
    energy, (again, score) = view.energy(params, x, *level), view.energy_and_score(params, x, *level)
    torch.testing.assert_close(energy, again)
    torch.testing.assert_close(view.score(params, x, *level), score)
    return energy, score


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_tempered(case, shape):
    m, rng, a = case
    model, x = Model(Coupled(), event_ndim=len(shape), stacked=bool(m)), rng.normal("x", 5, *shape)
    energy, score = all_answers(Tempered(model, 2.5), {"a": a}, x)
    torch.testing.assert_close(energy, model.energy({"a": a}, x) / 2.5)
    torch.testing.assert_close(score, model.score({"a": a}, x) / 2.5)


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
def test_laddered_answers_at_its_smallest_level_unless_told(case, shape):
    m, rng, a = case
    model, x = Model(Levels(), event_ndim=len(shape), stacked=bool(m)), rng.normal("x", 5, *shape)
    view, scale = AtNoiseLevel(model, (3.0, 1.0, 0.2)), a.reshape(*m, *[1] * (len(shape) + 1))
    assert view.levels == (3.0, 1.0, 0.2)
    energy, score = all_answers(view, {"a": a}, x)
    torch.testing.assert_close(score, -scale * (x - 0.2))
    torch.testing.assert_close(energy, a.unsqueeze(-1) / 2 * (x - 0.2).square().sum(model.event_axes))
    energy, score = all_answers(view, {"a": a}, x, torch.full((*m, 5), 1.5))
    torch.testing.assert_close(score, -scale * (x - 1.5))
    torch.testing.assert_close(energy, a.unsqueeze(-1) / 2 * (x - 1.5).square().sum(model.event_axes))


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
def test_tilted(case, shape):
    """E(x, level) + |u|^2 / 2 at x = c + sigma u, and minus its gradient in u: centre, sigma and level differ from chain to chain."""
    m, rng, a = case
    model, u, centre = Model(Levels(), event_ndim=len(shape), stacked=bool(m)), rng.normal("x", 5, *shape), rng.normal("c", 5, *shape)
    sigma, level = 0.2 + rng.uniform("sigma", 5), rng.uniform("level", 5)
    params = {"a": a, "wrapper.centre": centre, "wrapper.sigma": sigma, "wrapper.noise_level": level}
    energy, score = all_answers(Tilted(model), params, u)

    def wide(value):
        return value.reshape(value.shape + (1,) * (u.ndim - value.ndim))

    x = centre + wide(sigma) * u
    torch.testing.assert_close(Tilted(model).place(params, u), x)
    away = (x - wide(level)).square().sum(model.event_axes)
    torch.testing.assert_close(energy, a.unsqueeze(-1) / 2 * away + u.square().sum(model.event_axes) / 2)
    torch.testing.assert_close(score, -wide(sigma) * wide(a) * (x - wide(level)) - u)
    leaf = u.clone().requires_grad_()
    torch.testing.assert_close(score, -torch.autograd.grad(Tilted(model).energy(params, leaf).sum(), leaf)[0])


def test_differentiable_scores_carry_a_graph_to_the_parameters_and_others_do_not():
    """The mean score of E = a |x - 1|^2 / 2 at x: -a (x - 1), with the derivative -(x - 1) in a."""
    model, x, leaf = Model(Levels(), event_ndim=1, stacked=False), torch.tensor([[3.0]]), torch.tensor(0.7, requires_grad=True)
    view, params = Differentiable(AtNoiseLevel(model, (1.0,))), {"a": leaf}
    for score in (view.score(params, x), view.energy_and_score(params, x)[1], view.score(params, x, create_graph=False)):
        torch.testing.assert_close(score.detach(), torch.tensor([[-1.4]]))
        assert torch.autograd.grad(score.sum(), leaf)[0] == -2.0
    assert torch.autograd.grad(view.energy_and_score(params, x)[0].sum(), leaf)[0] == 2.0
    assert not AtNoiseLevel(model, (1.0,)).score(params, x).requires_grad


@pytest.mark.parametrize(
    "view", [lambda model: Tempered(model, 2.5), lambda model: AtNoiseLevel(model, (3.0, 0.2)), lambda model: Tempered(Tilted(model), 0.5)]
)
def test_alone_is_the_view_of_one_model_of_a_stack(view):
    rng = Rng((3, 4))
    stack, x = view(Model(Levels(), event_ndim=1, stacked=True)), rng.normal("x", 5, 2)
    tilt = {"wrapper.centre": rng.normal("c", 5, 2), "wrapper.sigma": 0.5 + rng.uniform("s", 5), "wrapper.noise_level": rng.uniform("l", 5)}
    params = {"a": torch.tensor([0.7, 1.9])} | tilt
    level = (rng.uniform("given", 5),) if isinstance(getattr(stack, "base", None), Model) and type(stack.base) is Model else ()
    single = stack.alone()
    assert stack.stacked
    assert not single.stacked
    assert single.model_shape({"a": params["a"][0]}) == ()
    assert stack.model_shape(params) == (2,)
    energy, score = stack.energy_and_score(params, x, *level)
    for m in range(2):
        one = {name: value[m] for name, value in params.items()}
        alone = single.energy_and_score(one, x[m], *(part[m] for part in level))
        torch.testing.assert_close(alone, (energy[m], score[m]))


def test_a_view_is_not_trained_through_and_its_points_are_counted():
    counting = CountingModel(Model(Coupled(), event_ndim=1, stacked=False))
    view, x = Tempered(counting, 2.0), torch.zeros(5, 2)
    view.energy({"a": torch.tensor(0.7)}, x)
    view.score({"a": torch.tensor(0.7)}, x)
    assert dict(counting.counts) == {"energy": 5, "score": 5, "hvp": 0}
    with pytest.raises(NotImplementedError, match="Tempered is not for training"):
        view.score_and_vjp({"a": torch.tensor(0.7)}, x)


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_bridge(shape, beta):
    """(1 - beta) |u|^2 / 2 + beta E(mean + scale u) and minus its gradient in u; its gap is its loss per unit of beta."""
    model, rng = Model(Coupled(), event_ndim=len(shape), stacked=False), Rng(3)
    u, mean, scale = rng.normal("u", 5, *shape), rng.normal("mean", *shape), 0.5 + rng.uniform("scale", *shape)
    params = {"a": torch.tensor(0.7), "wrapper.mean": mean, "wrapper.scale": scale, "wrapper.beta": torch.tensor(beta)}
    energy, score = all_answers(AnnealingPath(model), params, u)
    gauss, own = 0.5 * u.flatten(1).square().sum(-1), model.energy(params, mean + scale * u)
    torch.testing.assert_close(energy, (1 - beta) * gauss + beta * own)
    torch.testing.assert_close(AnnealingPath(model).gap(params, u), gauss - own)
    leaf = u.clone().requires_grad_()
    torch.testing.assert_close(score, -torch.autograd.grad(AnnealingPath(model).energy(params, leaf).sum(), leaf)[0])

"""Wrappers of a model, compared with explicit formulas, for one model and for a stack."""

import math

import pytest
import torch
from standard import gaussian
from targets import Coupled
from torch import distributions, nn

from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import CountingModel, Model
from ebm_cli.core.rng import Rng
from ebm_cli.core.wrappers import AnnealingPath, AtNoiseLevel, Differentiable, Tempered, Tilted
from ebm_cli.references.full_gaussian import FullGaussian
from ebm_cli.references.gaussian import Gaussian
from ebm_cli.references.mixture import Mixture
from ebm_cli.references.uniform import Uniform

pytestmark = pytest.mark.usefixtures("double")


class Levels(nn.Module):
    """E(x, sigma) = a |x - sigma|^2 / 2, with the score -a (x - sigma)."""

    takes_noise_level = True

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.ones(()))

    def forward(self, x, noise_level):
        return 0.5 * self.a * (x.flatten(1) - noise_level.unsqueeze(-1)).square().sum(-1)


@pytest.fixture(params=[((), 0), ((2,), (3, 4))], ids=["one", "stack"])
def case(request):
    """(m, rng, a): the shape of the stack, its random numbers, the parameter of each model."""
    m, seeds = request.param
    return m, Rng(seeds), torch.tensor([0.7, 1.9]) if m else torch.tensor(0.7)


def all_answers(wrapper, params, x, *level):
    """E and s, which must be the same whether they are computed separately or together."""
    energy, (again, score) = wrapper.energy(params, x, *level), wrapper.energy_and_score(params, x, *level)
    torch.testing.assert_close(energy, again)
    torch.testing.assert_close(wrapper.score(params, x, *level), score)
    return energy, score


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_tempered(case, shape):
    m, rng, a = case
    model, x = Model(Coupled(), event_ndim=len(shape), stacked=bool(m)), rng.normal("x", 5, *shape)
    energy, score = all_answers(Tempered(model, 2.5), {"a": a}, x)
    torch.testing.assert_close(energy, model.energy({"a": a}, x) / 2.5)
    torch.testing.assert_close(score, model.score({"a": a}, x) / 2.5)


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
def test_at_noise_level_uses_its_smallest_level_by_default(case, shape):
    m, rng, a = case
    model, x = Model(Levels(), event_ndim=len(shape), stacked=bool(m)), rng.normal("x", 5, *shape)
    wrapper, scale = AtNoiseLevel(model, (3.0, 1.0, 0.2)), a.reshape(*m, *[1] * (len(shape) + 1))
    assert wrapper.levels == (3.0, 1.0, 0.2)
    energy, score = all_answers(wrapper, {"a": a}, x)
    torch.testing.assert_close(score, -scale * (x - 0.2))
    torch.testing.assert_close(energy, a.unsqueeze(-1) / 2 * (x - 0.2).square().sum(model.event_axes))
    energy, score = all_answers(wrapper, {"a": a}, x, torch.full((*m, 5), 1.5))
    torch.testing.assert_close(score, -scale * (x - 1.5))
    torch.testing.assert_close(energy, a.unsqueeze(-1) / 2 * (x - 1.5).square().sum(model.event_axes))


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
def test_tilted(case, shape):
    """The energy is E(x, level) + |u|^2 / 2 at x = c + sigma u, and the score is minus its gradient in u. The centre, sigma and level
    differ between chains."""
    m, rng, a = case
    model, u, centre = Model(Levels(), event_ndim=len(shape), stacked=bool(m)), rng.normal("x", 5, *shape), rng.normal("c", 5, *shape)
    sigma, level = 0.2 + rng.uniform("sigma", 5), rng.uniform("level", 5)
    params = {"a": a, "wrapper.center": centre, "wrapper.sigma": sigma, "wrapper.noise_level": level}
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


def test_differentiable_scores_have_a_graph_to_the_parameters_and_others_do_not():
    """The score of E = a |x - 1|^2 / 2 is -a (x - 1), with the derivative -(x - 1) in a."""
    model, x, leaf = Model(Levels(), event_ndim=1, stacked=False), torch.tensor([[3.0]]), torch.tensor(0.7, requires_grad=True)
    wrapper, params = Differentiable(AtNoiseLevel(model, (1.0,))), {"a": leaf}
    for score in (wrapper.score(params, x), wrapper.energy_and_score(params, x)[1], wrapper.score(params, x, create_graph=False)):
        torch.testing.assert_close(score.detach(), torch.tensor([[-1.4]]))
        assert torch.autograd.grad(score.sum(), leaf)[0] == -2.0
    assert torch.autograd.grad(wrapper.energy_and_score(params, x)[0].sum(), leaf)[0] == 2.0
    assert not AtNoiseLevel(model, (1.0,)).score(params, x).requires_grad


@pytest.mark.parametrize(
    "wrapper",
    [lambda model: Tempered(model, 2.5), lambda model: AtNoiseLevel(model, (3.0, 0.2)), lambda model: Tempered(Tilted(model), 0.5)],
)
def test_alone_is_the_wrapper_of_one_model_of_a_stack(wrapper):
    rng = Rng((3, 4))
    stack, x = wrapper(Model(Levels(), event_ndim=1, stacked=True)), rng.normal("x", 5, 2)
    tilt = {"wrapper.center": rng.normal("c", 5, 2), "wrapper.sigma": 0.5 + rng.uniform("s", 5), "wrapper.noise_level": rng.uniform("l", 5)}
    params = {"a": torch.tensor([0.7, 1.9])} | tilt
    level = (rng.uniform("given", 5),) if isinstance(getattr(stack, "base", None), Model) and type(stack.base) is Model else ()
    single = stack.alone()
    assert stack.stacked
    assert not single.stacked
    assert single.model_shape({"a": params["a"][0]}) == ()
    assert stack.model_shape(params) == (2,)
    energy, score = stack.energy_and_score(params, x, *level)
    for m in range(2):
        own = {name: value[m] for name, value in params.items()}
        alone = single.energy_and_score(own, x[m], *(part[m] for part in level))
        torch.testing.assert_close(alone, (energy[m], score[m]))


def test_vector_jacobian_products_are_those_of_the_wrapper_and_are_counted():
    """For E / T everything is divided by T, and is differentiable in the parameters as without a wrapper."""
    counting, a = CountingModel(Model(Coupled(), event_ndim=1, stacked=False)), torch.tensor(0.7, requires_grad=True)
    wrapper, x, v = Tempered(counting, 2.0), Rng(0).normal("x", 5, 2), Rng(0).normal("v", 5, 2)
    wrapper.energy({"a": a}, x)
    wrapper.score({"a": a}, x)
    assert dict(counting.counts) == {"energy": 5, "score": 5, "hvp": 0}
    found, expected = wrapper.score_and_vjp({"a": a}, x, v), Model(Coupled(), event_ndim=1, stacked=False).score_and_vjp({"a": a}, x, v)
    torch.testing.assert_close(found, tuple(part / 2.0 for part in expected))
    for part, whole in zip(found, expected, strict=True):
        (gradient,), (full,) = (torch.autograd.grad(values.sum(), a, retain_graph=True) for values in (part, whole))
        torch.testing.assert_close(gradient, full / 2.0)
    assert counting.counts["score"] == 10


def coordinates(shape, beta):
    """u (5, *d), and the params without the tensors of the reference."""
    rng = Rng(3)
    mean, scale = rng.normal("mean", *shape), 0.5 + rng.uniform("scale", *shape)
    u, beta = rng.normal("u", 5, *shape), torch.tensor(beta)
    return u, {"a": torch.tensor(0.7), "wrapper.mean": mean, "wrapper.scale": scale, "wrapper.beta": beta}


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_path_from_a_gaussian(shape, beta):
    """The energy is -(1 - beta) log q(x) + beta E(x), x = mean + scale u, and the score is minus its gradient in u. The gap is the
    decrease of the energy per unit of beta."""
    model, (u, params) = Model(Coupled(), event_ndim=len(shape), stacked=False), coordinates(shape, beta)
    path, fitted = AnnealingPath(model, Gaussian()), gaussian(params["wrapper.mean"], params["wrapper.scale"])
    params |= fitted.named
    energy, score = all_answers(path, params, u)
    x = params["wrapper.mean"] + params["wrapper.scale"] * u
    gauss = 0.5 * u.flatten(1).square().sum(-1) + 1.5 * math.log(2 * math.pi) + params["wrapper.scale"].log().sum()
    own = model.energy(params, x)
    torch.testing.assert_close(energy, (1 - beta) * gauss + beta * own)
    torch.testing.assert_close(path.gap(params, u), gauss - own)
    leaf = u.clone().requires_grad_()
    torch.testing.assert_close(score, -torch.autograd.grad(path.energy(params, leaf).sum(), leaf)[0])


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("reference", [Gaussian(), FullGaussian(), Mixture(2, 0.0, None), Uniform(4.0)])
def test_path_from_any_reference(reference, shape, beta):
    """(1 - beta) (-log q(x)) + beta E(x), x = mean + scale u, with q from torch.distributions and scores from autograd in u. The mean and
    scale of the coordinates need not be those of the reference."""
    model, (u, params) = Model(Coupled(), event_ndim=len(shape), stacked=False), coordinates(shape, beta)
    data = 0.5 + Rng(4).normal("data", 200, *shape) * torch.tensor([0.7, 1.9, 1.0])
    data[:80] += 3.0
    fitted, path = FittedReference.fit(reference, data, shape, Rng(0)), AnnealingPath(model, reference)
    params |= fitted.named

    def log_prob(x):
        held, flat = fitted.params, data.flatten(1)
        if isinstance(reference, Uniform):
            reach = 4.0 * (flat.amax(0) - flat.amin(0))
            box = distributions.Uniform(flat.amin(0) - reach, flat.amax(0) + reach)
            return distributions.Independent(box, 1).log_prob(x.flatten(1))
        if isinstance(reference, Gaussian):
            return distributions.Independent(distributions.Normal(held["mean"], held["scale"]), 1).log_prob(x.flatten(1))
        components = distributions.MultivariateNormal(held["mean"], scale_tril=held["factor"])
        return distributions.MixtureSameFamily(distributions.Categorical(logits=held["log_weight"]), components).log_prob(x.flatten(1))

    leaf = u.clone().requires_grad_()
    x = params["wrapper.mean"] + params["wrapper.scale"] * leaf
    start, own = -log_prob(x), model.energy(params, x)
    direct = (1 - beta) * start + beta * own
    energy, score = all_answers(path, params, u)
    torch.testing.assert_close(energy, direct.detach())
    torch.testing.assert_close(score, -torch.autograd.grad(direct.sum(), leaf)[0])
    torch.testing.assert_close(path.gap(params, u), (start - own).detach())


def test_the_energy_of_a_path_is_infinite_outside_the_support_of_its_reference():
    """Exact samplers therefore stay inside the support."""
    _, params = coordinates((2,), 0.3)
    fitted = FittedReference.fit(Uniform(0.0), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), (2,), Rng(0))
    path = AnnealingPath(Model(Coupled(), event_ndim=1, stacked=False), fitted.reference)
    params |= fitted.named | {"wrapper.mean": torch.zeros(2), "wrapper.scale": torch.ones(2)}
    inside = torch.tensor([[0.5, 0.5], [0.5, 1.5], [-0.1, 0.5], [0.9, 0.1]])
    assert path.energy(params, inside).isfinite().tolist() == [True, False, False, True]

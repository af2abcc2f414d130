"""The learned Stein discrepancy: derivative, optimizer and limit of the critic, and the gradient of the model. Seeded."""

import pytest
import torch
from targets import Coupled, CoupledScore, Quadratic
from torch import nn

from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.objectives.lsd import LearnedSteinDiscrepancy

pytestmark = pytest.mark.usefixtures("double")

X = torch.tensor([[0.3, -1.0], [1.2, 0.4], [-0.7, 2.0], [0.1, 0.5]], dtype=torch.double)


def critic_of(carry, n_layers):
    """The critic as a torch network: standardization, then linear layers with SiLU between them."""
    layers = []
    for i in range(n_layers):
        weight, bias = carry[f"critic.weight.{i}"], carry[f"critic.bias.{i}"]
        layer = nn.Linear(*weight.shape)
        layer.weight.data, layer.bias.data = weight.T.clone(), bias[0].clone()
        layers += [layer, nn.SiLU()]
    return nn.Sequential(*layers[:-1])


def value_and_trace(critic, carry, x):
    def value_at(y):
        return critic((y - carry["mean"][0]) / carry["scale"][0])

    jacobian = torch.stack([torch.autograd.functional.jacobian(value_at, y, create_graph=True) for y in x])
    return torch.stack([value_at(y) for y in x]), jacobian.diagonal(dim1=1, dim2=2).sum(-1)


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_critic_and_its_adam_are_those_of_torch(shape):
    """Six ascent steps on s'f + tr grad f - lambda |f|^2, against the Jacobian of autograd and torch.optim.Adam; then the loss."""
    lsd, model = LearnedSteinDiscrepancy([5, 4], 3, 0.02, 0.7), Model(Coupled(), event_ndim=len(shape), stacked=False)
    x, params = X.reshape(4, *shape), {"a": torch.tensor(0.7, requires_grad=True)}
    _, carry = lsd.init(model, {}, 2 * x + 1, Rng(0))
    score, critic = CoupledScore()(X).detach(), critic_of(carry, 3)
    torch.testing.assert_close(carry["mean"].flatten(), (2 * X + 1).mean(0))
    torch.testing.assert_close(carry["scale"].flatten(), (2 * X).std(0))
    adam = torch.optim.Adam(critic.parameters(), lr=0.02, betas=(0.5, 0.9), eps=1e-8)
    for step in range(2):
        aux, carry, info = lsd.prepare(model, params, carry, x, Rng(0).at(step))
    for _ in range(6):
        value, trace = value_and_trace(critic, carry, X)
        gain = ((score * value).sum(-1) + trace - 0.7 * value.square().sum(-1)).mean()
        adam.zero_grad()
        (-gain).backward()
        adam.step()
    assert carry["critic.n"] == 6
    for i, layer in enumerate(critic[::2]):
        torch.testing.assert_close(carry[f"critic.weight.{i}"], layer.weight.detach().T)
        torch.testing.assert_close(carry[f"critic.bias.{i}"][0], layer.bias.detach())
    value, trace = (part.detach() for part in value_and_trace(critic, carry, X))
    torch.testing.assert_close(aux["critic"], value.view_as(x))
    torch.testing.assert_close(aux["trace"], trace)
    torch.testing.assert_close(info["stein"], (score * value).sum(-1) + trace)
    loss, _ = lsd.loss(model, params, x, aux)
    torch.testing.assert_close(loss, (score * value).sum(-1) + trace - 0.7 * value.square().sum(-1))


def test_no_gradient_of_the_model_through_the_critic():
    """For E = a |x|^2 / 2 the gradient of the loss in a is exactly -mean x'f(x); the carry holds no graph."""
    lsd, model = LearnedSteinDiscrepancy([8], 2, 0.02, 0.7), Model(Quadratic(), event_ndim=1, stacked=False)
    params = {"a": torch.tensor(1.6, requires_grad=True)}
    _, carry = lsd.init(model, {}, X, Rng(0))
    for step in range(3):
        aux, carry, _ = lsd.prepare(model, params, carry, X, Rng(0).at(step))
        assert not any(value.requires_grad for value in (*aux.values(), *carry.values()))
    (gradient,) = torch.autograd.grad(lsd.loss(model, params, X, aux)[0].mean(), params["a"])
    torch.testing.assert_close(gradient, -(X * aux["critic"]).sum(-1).mean())


def test_critic_converges_to_the_difference_of_scores_and_the_objective_to_the_fisher_divergence():
    """x ~ N(1, 4), E = a x^2 / 2 for a stack of three a: f = (s - s_data) / (2 lambda), the objective |s - s_data|^2 / (4 lambda).

    After 750 steps the error of f is below 0.1 of its root mean square, other errors below 0.05. Each model has its own critic. The
    gradient reduces the Fisher divergence: d/da = E [-x (s - s_data)] / (2 lambda), negative below the best a and positive above.
    """
    a, penalty = torch.tensor([0.05, 0.8, 0.4]), 0.3
    lsd, model, rng = LearnedSteinDiscrepancy([16], 5, 0.02, penalty), Model(Quadratic(), event_ndim=1, stacked=True), Rng((0, 1, 2))
    params = {"a": a.clone().requires_grad_()}
    _, carry = lsd.init(model, {}, 1 + 2 * rng.normal("first", 2000, 1), rng)
    for step in range(150):
        x = 1 + 2 * rng.at(step).normal("x", 512, 1)
        _, carry, _ = lsd.prepare(model, params, carry, x, rng)
    middle = torch.special.ndtri((torch.arange(512) + 0.5) / 512)
    x = (1 + 2 * middle).reshape(1, 512, 1).expand(3, 512, 1)
    aux, _, _ = lsd.prepare(model, params, carry, x, rng)
    apart = -a.reshape(3, 1, 1) * x + (x - 1) / 4  # s - s_data
    best = apart / (2 * penalty)
    error, size = (aux["critic"] - best).square().mean((1, 2)).sqrt(), best.square().mean((1, 2)).sqrt()
    loss = lsd.loss(model, params, x, aux)[0].mean(-1)
    (gradient,) = torch.autograd.grad(loss.sum(), params["a"])
    assert (error < 0.1 * size).all()
    torch.testing.assert_close(loss.detach(), apart.square().mean((1, 2)) / (4 * penalty), rtol=0.05, atol=0.0)
    torch.testing.assert_close(gradient, (-x * best).mean((1, 2)), rtol=0.05, atol=0.0)
    assert gradient[0] < 0 < gradient[1]

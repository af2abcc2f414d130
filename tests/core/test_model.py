"""From a network to energy, score and vector-Jacobian products, against explicit derivatives."""

import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian

from ebm_cli.core.model import CountingModel, Model, expand, tensors
from ebm_cli.core.rng import Rng

pytestmark = pytest.mark.usefixtures("double")


class Skewed(nn.Module):
    """E(x) = a (x_0 + exp(-x_0)) + x_0 x_1 shift + x_1^4; `shift` is a buffer."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.7))
        self.register_buffer("shift", torch.tensor(1.3))

    def forward(self, x):
        u = x.flatten(1)
        return self.a * (u[:, 0] + (-u[:, 0]).exp()) + u[:, 0] * u[:, 1] * self.shift + u[:, 1] ** 4


class Swirl(nn.Module):
    """A score that is no gradient: its Jacobian is not symmetric."""

    outputs_score = True

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        u = x.flatten(1)
        return torch.stack([self.a * u[:, 1] ** 2, -u[:, 0] * u[:, 1] + self.a], -1).view_as(x)


def stack_of(module):
    """Two models of one network."""
    return {name: torch.stack([value.detach(), 2 * value.detach() + 0.1]) for name, value in tensors(module).items()}


def one_of(params, m):
    return {name: value[m] for name, value in params.items()}


def loaded(module, params):
    """The module with these tensors in its own slots."""
    module.load_state_dict(params)
    return module


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_energy_and_score_of_a_stack_are_each_models_own(shape):
    params, x = stack_of(Skewed()), Rng((0, 1)).normal("x", 5, *shape)
    model = Model(Skewed(), event_ndim=len(shape), stacked=True)
    energy, score = model.energy_and_score(params, x)
    for m in range(2):
        module, leaf = loaded(Skewed(), one_of(params, m)), x[m].clone().requires_grad_()
        expected = module(leaf)
        (gradient,) = torch.autograd.grad(expected.sum(), leaf)
        torch.testing.assert_close(energy[m], expected.detach())
        torch.testing.assert_close(score[m], -gradient)
        torch.testing.assert_close(model.alone().score(one_of(params, m), x[m]), -gradient)
    torch.testing.assert_close(model.energy(params, x), energy)
    torch.testing.assert_close(model.score(params, x), score)


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("shape", [(2,), (1, 2)])
@pytest.mark.parametrize("network", [Skewed, Swirl])
def test_vjp_is_v_times_the_jacobian_of_the_score(network, shape, stacked):
    """(v' grad s)_j = sum_i v_i d s_i / d x_j, for each of two directions."""
    params = stack_of(network()) if stacked else one_of(stack_of(network()), 1)
    rng, model = Rng((0, 1)) if stacked else Rng(0), Model(network(), event_ndim=len(shape), stacked=stacked)
    x, directions = rng.normal("x", 3, *shape), (rng.normal("v", 3, *shape), rng.normal("w", 3, *shape))
    score, *vjps = model.score_and_vjp(params, x, *directions)
    torch.testing.assert_close(score, model.score(params, x))
    alone = Model(network(), event_ndim=len(shape), stacked=False)
    for index in [(m, n) for m in range(2) for n in range(3)] if stacked else [(n,) for n in range(3)]:
        own = one_of(params, index[0]) if stacked else params
        full = jacobian(lambda one, own=own: alone.score(own, one[None], create_graph=True)[0].flatten(), x[index]).reshape(2, 2)
        for v, vjp in zip(directions, vjps, strict=True):
            torch.testing.assert_close(vjp[index].flatten(), v[index].flatten() @ full)


@pytest.mark.parametrize("network", [Skewed, Swirl])
def test_gradients_in_the_parameters_with_create_graph_and_none_without(network):
    """d/da of a score matching loss against its central difference."""
    model, x, v = Model(network(), event_ndim=1, stacked=False), Rng(0).normal("x", 3, 2), Rng(0).normal("v", 3, 2)
    base = {name: value.detach() for name, value in tensors(network()).items()}

    def loss(a):
        score, vjp = model.score_and_vjp(base | {"a": a}, x, v)
        return (model.inner(vjp, v) + 0.5 * model.inner(score, score)).sum()

    a = torch.tensor(0.7, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(a), a)
    torch.testing.assert_close(gradient, ((loss(a + 1e-5) - loss(a - 1e-5)) / 2e-5).detach(), rtol=1e-7, atol=1e-7)
    assert not model.score(base | {"a": a}, x).requires_grad
    assert model.score(base | {"a": a}, x, create_graph=True).requires_grad
    if network is Skewed:
        assert not any(part.requires_grad for part in model.energy_and_score(base | {"a": a}, x))
        (score_in_x,) = torch.autograd.grad(model.energy(base | {"a": a}, leaf := x.clone().requires_grad_()).sum(), leaf)
        torch.testing.assert_close(model.score(base, x), -score_in_x)


def test_score_is_found_where_gradients_are_switched_off():
    model, x, params = Model(Skewed(), event_ndim=1, stacked=False), Rng(0).normal("x", 3, 2), one_of(stack_of(Skewed()), 0)
    with torch.no_grad():
        inside = model.score(params, x)
    assert torch.equal(inside, model.score(params, x))


def test_what_a_model_provides():
    assert Model(Skewed(), event_ndim=1, stacked=False).provides == {"energy"}
    assert Model(Swirl(), event_ndim=1, stacked=False).provides == frozenset()


def test_inner_product_is_over_all_event_axes():
    a, b = Rng(0).normal("a", 2, 5, 3, 4), Rng(0).normal("b", 2, 5, 3, 4)
    for event_ndim, equation in ((1, "mbcd,mbcd->mbc"), (2, "mbcd,mbcd->mb")):
        model = Model(Skewed(), event_ndim=event_ndim, stacked=True)
        torch.testing.assert_close(model.inner(a, b), torch.einsum(equation, a, b))


def test_expand_lines_up_values_per_model_and_per_sample():
    x = torch.zeros(2, 5, 3, 4)
    assert expand(torch.zeros(2), x).shape == (2, 1, 1, 1)
    assert expand(torch.zeros(2, 5), x).shape == (2, 5, 1, 1)
    assert expand(torch.zeros(()), x).shape == (1, 1, 1, 1)


def test_the_given_network_is_left_alone_and_holds_no_tensors_in_the_model():
    module = Skewed().train()
    model = Model(module, event_ndim=1, stacked=False)
    assert module.training
    assert module.a is not None
    model.energy({"a": torch.tensor(5.0), "shift": torch.tensor(0.0)}, torch.ones(1, 2))
    assert (module.a.item(), module.shift.item()) == (0.7, 1.3)
    assert list(model.module.parameters()) == []


def test_dropout_is_off():
    """The energy must not change from one call to the next."""
    module = nn.Sequential(nn.Linear(2, 50), nn.Dropout(0.5), nn.Linear(50, 1), nn.Flatten(0)).train()
    params = {name: value.detach() for name, value in tensors(module).items()}
    model, x = Model(module, event_ndim=1, stacked=False), torch.ones(20, 2)
    torch.testing.assert_close(model.energy(params, x), module.eval()(x).detach())


def test_tied_weights_are_one_tensor_in_both_places():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(2, 2)
            self.second = nn.Linear(2, 2)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(self.first(x).exp()).sum(-1)

    module, x = Tied(), torch.ones(3, 2)
    params = {name: 2 * value.detach() for name, value in tensors(module).items()}
    assert set(params) == {"first.weight", "first.bias", "second.bias"}
    hidden = (x @ params["first.weight"].T + params["first.bias"]).exp()
    expected = (hidden @ params["first.weight"].T + params["second.bias"]).sum(-1)
    torch.testing.assert_close(Model(module, event_ndim=1, stacked=False).energy(params, x), expected)


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_counts_are_points_per_model(shape, stacked):
    params = stack_of(Skewed()) if stacked else one_of(stack_of(Skewed()), 0)
    plain = Model(Skewed(), event_ndim=len(shape), stacked=stacked)
    model, x = CountingModel(plain), torch.ones(*((2,) if stacked else ()), 5, *shape)
    torch.testing.assert_close(model.energy(params, x), plain.energy(params, x))
    assert model.counts == {"energy": 5, "score": 0, "hvp": 0}
    torch.testing.assert_close(model.energy_and_score(params, x), plain.energy_and_score(params, x))
    assert model.counts == {"energy": 5, "score": 5, "hvp": 0}
    torch.testing.assert_close(model.score(params, x), plain.score(params, x))
    assert model.counts == {"energy": 5, "score": 10, "hvp": 0}
    torch.testing.assert_close(model.score_and_vjp(params, x, x, 2 * x, x), plain.score_and_vjp(params, x, x, 2 * x, x))
    assert model.counts == {"energy": 5, "score": 15, "hvp": 15}
    assert model.model_shape(params) == ((2,) if stacked else ())

"""Energy, score and vector-Jacobian products of a network, compared with explicit derivatives."""

import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian

from ebm_cli.core import chain
from ebm_cli.core.model import CountingModel, Model, expand, provides, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.wrappers import Tempered
from ebm_cli.samplers.mala import MALA
from ebm_cli.samplers.tempering import Tempering

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
    """A score that is not a gradient: its Jacobian is not symmetric."""

    outputs_score = True

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        u = x.flatten(1)
        return torch.stack([self.a * u[:, 1] ** 2, -u[:, 0] * u[:, 1] + self.a], -1).view_as(x)


def stack_of(module):
    """The parameters of two models with the same network."""
    return {name: torch.stack([value.detach(), 2 * value.detach() + 0.1]) for name, value in tensors(module).items()}


def one_of(params, m):
    return {name: value[m] for name, value in params.items()}


def loaded(module, params):
    """The module with these tensors as its parameters and buffers."""
    module.load_state_dict(params)
    return module


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_energy_and_score_of_a_stack_are_those_of_each_model(shape):
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
        full = jacobian(lambda event, own=own: alone.score(own, event[None], create_graph=True)[0].flatten(), x[index]).reshape(2, 2)
        for v, vjp in zip(directions, vjps, strict=True):
            torch.testing.assert_close(vjp[index].flatten(), v[index].flatten() @ full)


@pytest.mark.parametrize("network", [Skewed, Swirl])
def test_scores_are_differentiable_in_the_parameters_only_with_create_graph(network):
    """d/da of a score matching loss is compared with its central difference."""
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


def test_the_score_is_computed_also_under_no_grad():
    model, x, params = Model(Skewed(), event_ndim=1, stacked=False), Rng(0).normal("x", 3, 2), one_of(stack_of(Skewed()), 0)
    with torch.no_grad():
        inside = model.score(params, x)
    assert torch.equal(inside, model.score(params, x))


class Labelled(nn.Module):
    """E(x, y) = a_y |x - c_y|^2 / 2, with the score -a_y (x - c_y)."""

    takes_labels = True

    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Parameter(torch.tensor([0.5, 1.0, 2.0])), nn.Parameter(torch.tensor([-1.0, 0.0, 3.0]))

    def forward(self, x, label):
        return 0.5 * self.a[label] * (x.flatten(1) - self.c[label].unsqueeze(-1)).square().sum(-1)


class LabelledLevels(Labelled):
    """E(x, y, sigma) = E(x, y) / sigma."""

    takes_noise_level = True

    def forward(self, x, noise_level, label):
        return super().forward(x, label) / noise_level


class Machine(nn.Module):
    """A restricted Boltzmann machine, E(v, h) = -v' W h - b' v, which has more methods than its energy."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(0.1 * torch.arange(6.0).view(3, 2)), nn.Parameter(torch.tensor([0.3, -0.2, 0.1]))

    def forward(self, x):
        return -(x @ self.bias) - torch.nn.functional.softplus(x @ self.weight).sum(-1)

    def hidden(self, x):
        return torch.sigmoid(x @ self.weight)

    def visible(self, h, *, temperature=None):
        field = h @ self.weight.T + self.bias
        return torch.sigmoid(field if temperature is None else field / temperature.unsqueeze(-1))


def test_the_capabilities_of_a_model():
    provided = {
        Skewed: {"energy", "unconditional"},
        Swirl: {"unconditional"},
        Labelled: {"energy"},
        LabelledLevels: {"energy", "noise_level"},
    }
    for network, expected in provided.items():
        assert Model(network(), event_ndim=1, stacked=False).provides == provides(network) == expected


@pytest.mark.parametrize("stacked", [False, True])
def test_another_method_of_the_network(stacked):
    """It takes several arguments, by position and by name, split over the models of a stack; it is differentiable in the parameters."""
    params, rng = (stack_of(Machine()), Rng((0, 1))) if stacked else (one_of(stack_of(Machine()), 1), Rng(0))
    model, x, h, t = Model(Machine(), event_ndim=1, stacked=stacked), rng.normal("x", 5, 3), rng.normal("h", 5, 2), 1 + rng.uniform("t", 5)
    found = model.call(params, "hidden", x), model.call(params, "visible", h), model.call(params, "visible", h, temperature=t)
    assert [part.shape[len(rng.model_shape) :] for part in found] == [(5, 2), (5, 3), (5, 3)]
    for m in range(2) if stacked else [...]:
        module = loaded(Machine(), one_of(params, m))
        expected = module.hidden(x[m]), module.visible(h[m]), module.visible(h[m], temperature=t[m])
        torch.testing.assert_close(tuple(part[m] for part in found), tuple(part.detach() for part in expected))
    leaf = {name: value.clone().requires_grad_() for name, value in params.items()}
    (gradient,) = torch.autograd.grad(model.call(leaf, "hidden", x).sum(), leaf["weight"])
    p = found[0]
    torch.testing.assert_close(gradient, x.mT @ (p * (1 - p)))
    assert list(model.module.parameters()) == []
    torch.testing.assert_close(model.energy(params, x), Model(Machine(), event_ndim=1, stacked=stacked).energy(params, x))
    torch.testing.assert_close(Tempered(model, 2.0).call(params, "hidden", x), found[0])


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_a_conditional_network_reads_the_labels_in_params(shape, stacked, k):
    """Each block of B of the k B events has the B labels; each model of a stack has its own labels."""
    params, rng = (stack_of(Labelled()), Rng((0, 1))) if stacked else (one_of(stack_of(Labelled()), 1), Rng(0))
    model, label, x = Model(Labelled(), event_ndim=len(shape), stacked=stacked), rng.integers("y", 3, 4), rng.normal("x", 4 * k, *shape)
    energy, score = model.energy_and_score(params | {"label": label}, x)
    assert energy.shape == (*rng.model_shape, 4 * k)
    each = torch.cat([label] * k, -1)
    a, away = params["a"].gather(-1, each), x - expand(params["c"].gather(-1, each), x)
    torch.testing.assert_close(energy, 0.5 * a * away.square().sum(model.event_axes))
    torch.testing.assert_close(score, -expand(a, x) * away)
    torch.testing.assert_close(model.energy(params | {"label": label}, x), energy)
    torch.testing.assert_close(model.score(params | {"label": label}, x), score)
    _, vjp = model.score_and_vjp(params | {"label": label}, x, away)
    torch.testing.assert_close(vjp, -expand(a, x) * away)


@pytest.mark.parametrize("stacked", [False, True])
def test_a_number_of_events_that_is_not_a_multiple_of_the_labels_is_an_error(stacked):
    params, m = (stack_of(Labelled()), (2,)) if stacked else (one_of(stack_of(Labelled()), 1), ())
    model = Model(Labelled(), event_ndim=1, stacked=stacked)
    for n in (5, 2):
        with pytest.raises(ValueError, match=f"the number of events, {n}, is not a multiple of the number of labels, 4"):
            model.energy(params | {"label": torch.zeros(*m, 4, dtype=torch.int64)}, torch.zeros(*m, n, 2))
    with pytest.raises(KeyError, match="label"):
        model.energy(params, torch.zeros(*m, 5, 2))


@pytest.mark.parametrize("stacked", [False, True])
def test_labels_and_noise_levels_together(stacked):
    params, rng = (stack_of(Labelled()), Rng((0, 1))) if stacked else (one_of(stack_of(Labelled()), 1), Rng(0))
    x, level = rng.normal("x", 6, 2), 0.5 + rng.uniform("level", 6)
    params = params | {"label": rng.integers("y", 3, 6)}
    model, plain = (Model(network, event_ndim=1, stacked=stacked) for network in (LabelledLevels(), Labelled()))
    torch.testing.assert_close(model.energy(params, x, level), plain.energy(params, x) / level)
    torch.testing.assert_close(model.score(params, x, level), plain.score(params, x) / level.unsqueeze(-1))


@pytest.mark.parametrize("stacked", [False, True])
def test_samplers_work_with_labels(stacked):
    """Replicas at other temperatures have the label of their chain; a chain samples the distribution of its label (5 standard errors)."""
    params, rng = (stack_of(Labelled()), Rng((0, 1))) if stacked else (one_of(stack_of(Labelled()), 1), Rng(0))
    n, model = 3000, Model(Labelled(), event_ndim=1, stacked=stacked)
    params, m = params | {"label": (torch.arange(n) % 3).expand(*rng.model_shape, n)}, len(rng.model_shape)
    x = rng.normal("x", n, 2)
    energy = Tempering(0.1, 4, 10.0).init(model, params, x).energy
    torch.testing.assert_close(energy, model.energy(params, x).unsqueeze(m).expand_as(energy))
    for sampler in (MALA(0.3, None), Tempering(0.3, 2, 2.0)):
        x, _ = chain.run(sampler, model, params, params["c"].gather(-1, params["label"])[..., None] + torch.zeros(2), rng, n_steps=60)
        for y in range(3):
            own, a, c = x[..., y::3, :], params["a"][..., y, None], params["c"][..., y, None]
            assert ((own.mean(m) - c).abs() < 5 * (a * n / 3) ** -0.5).all()
            assert ((own.var(m) * a - 1).abs() < 5 * (2 / (n / 3)) ** 0.5).all()


def test_inner_product_is_over_all_event_axes():
    a, b = Rng(0).normal("a", 2, 5, 3, 4), Rng(0).normal("b", 2, 5, 3, 4)
    for event_ndim, equation in ((1, "mbcd,mbcd->mbc"), (2, "mbcd,mbcd->mb")):
        model = Model(Skewed(), event_ndim=event_ndim, stacked=True)
        torch.testing.assert_close(model.inner(a, b), torch.einsum(equation, a, b))


def test_expand_broadcasts_values_per_model_and_per_sample():
    x = torch.zeros(2, 5, 3, 4)
    assert expand(torch.zeros(2), x).shape == (2, 1, 1, 1)
    assert expand(torch.zeros(2, 5), x).shape == (2, 5, 1, 1)
    assert expand(torch.zeros(()), x).shape == (1, 1, 1, 1)


def test_the_given_network_is_unchanged_and_its_copy_in_the_model_has_no_tensors():
    module = Skewed().train()
    model = Model(module, event_ndim=1, stacked=False)
    assert module.training
    assert module.a is not None
    model.energy({"a": torch.tensor(5.0), "shift": torch.tensor(0.0)}, torch.ones(1, 2))
    assert (module.a.item(), module.shift.item()) == (0.7, 1.3)
    assert list(model.module.parameters()) == []


def test_dropout_is_off():
    """The energy must be deterministic."""
    module = nn.Sequential(nn.Linear(2, 50), nn.Dropout(0.5), nn.Linear(50, 1), nn.Flatten(0)).train()
    params = {name: value.detach() for name, value in tensors(module).items()}
    model, x = Model(module, event_ndim=1, stacked=False), torch.ones(20, 2)
    torch.testing.assert_close(model.energy(params, x), module.eval()(x).detach())


def test_tied_weights_share_one_tensor():
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

"""Penalties on weight matrices and their gradients, against torch.linalg."""

import pytest
import torch
from standard import gaussian
from targets import Quadratic

from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.energies.mlp import MLP
from ebm_cli.regularizers.weights import SpectralNorm, WeightDecay

pytestmark = pytest.mark.usefixtures("double")


def network(seed):
    torch.manual_seed(seed)
    return MLP(
        (2,),
        torch.zeros(2),
        torch.ones(2),
        gaussian(torch.zeros(2), torch.ones(2)),
        hidden=[5, 7],
        activation="silu",
        positive="exp",
        tilt=1.0,
    )


def matrices(params):
    return [value for name, value in params.items() if name.endswith("weight")]


def decay(matrix):
    return matrix.square().sum()


def spectral(matrix):
    return torch.linalg.matrix_norm(matrix, 2) ** 2


@pytest.mark.parametrize(("penalty", "of"), [(WeightDecay(0.6), decay), (SpectralNorm(0.6), spectral)])
def test_value_and_gradient(penalty, of):
    """0.3 times the sum over three matrices, the same for every point; biases and the scale of the data do not contribute."""
    module = network(0)
    params = {name: value.detach().requires_grad_() for name, value in tensors(module).items()}
    found = penalty.penalty(Model(module, event_ndim=1, stacked=False), params, torch.zeros(4, 2), {})
    expected = 0.3 * sum(of(matrix) for matrix in matrices(params))
    assert len(matrices(params)) == 3
    torch.testing.assert_close(found, expected.expand(4))
    gradients = torch.autograd.grad(found.mean(), list(params.values()), allow_unused=True, retain_graph=True)
    wanted = torch.autograd.grad(expected, list(params.values()), allow_unused=True)
    for name, gradient, want in zip(params, gradients, wanted, strict=True):
        assert (gradient is None) == (want is None) == (not name.endswith("weight"))
        if gradient is not None:
            torch.testing.assert_close(gradient, want)


@pytest.mark.parametrize("penalty", [WeightDecay(0.6), SpectralNorm(0.6)])
def test_each_model_of_a_stack_has_its_own_penalty(penalty):
    modules = [network(seed) for seed in (0, 1)]
    params = {name: torch.stack([tensors(module)[name].detach() for module in modules]) for name in tensors(modules[0])}
    found = penalty.penalty(Model(modules[0], event_ndim=1, stacked=True), params, torch.zeros(2, 4, 2), {})
    for m, module in enumerate(modules):
        alone = penalty.penalty(Model(module, event_ndim=1, stacked=False), tensors(module), torch.zeros(4, 2), {})
        torch.testing.assert_close(found[m], alone)


def test_two_close_singular_values():
    """If they are within 2 % of each other, the direction is a mixture of their vectors, and sigma is still accurate to 0.1 %."""
    u, _ = torch.linalg.qr(Rng(0).normal("u", 6, 6))
    v, _ = torch.linalg.qr(Rng(1).normal("v", 6, 6))
    matrix = u @ torch.diag(torch.tensor([3.0, 2.95, 1.0, 0.5, 0.1, 0.0])) @ v.mT
    assert SpectralNorm(1.0).of(matrix).sqrt() == pytest.approx(3.0, rel=1e-3)


def test_a_matrix_of_zeros_has_a_gradient():
    matrix = torch.zeros(3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(SpectralNorm(1.0).of(matrix), matrix)
    assert (gradient == 0).all()


@pytest.mark.parametrize("kind", [WeightDecay, SpectralNorm])
def test_the_penalty_of_a_network_without_matrices_is_zero(kind):
    model = Model(Quadratic(), event_ndim=1, stacked=True)
    assert kind(0.3).penalty(model, {"a": torch.ones(2)}, torch.zeros(2, 5, 3), {}).tolist() == [[0.0] * 5] * 2

"""Restricted Boltzmann machines of a few units, compared with sums over all their states.

Statistical tests are seeded, and fail by chance for less than one seed in 10^5.
"""

import math

import pytest
import torch
from scipy.stats import chi2

from ebm_cli.core import rbm
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import number, states
from ebm_cli.energies.rbm import RBM
from ebm_cli.types import Space

SIZES = [(4, 3), (3, 4), (4, 4)]  # visible and hidden units


def machine(n_visible, n_hidden, seed=0, shape=None):
    """An RBM with parameters of order one."""
    torch.manual_seed(seed)
    space = Space(shape or (n_visible,), "binary")
    energy = RBM(space, torch.rand(space.shape), n_hidden=n_hidden, std=1.0).double()
    torch.nn.init.normal_(energy.hidden_bias)
    return energy


def joint(energy, beta=1.0, bias=None):
    """-E_beta(v, h) at all states, (2^D, 2^H), written out."""
    v, h = (states(Space((n,), "binary")).double() for n in (energy.n_visible, energy.n_hidden))
    b, c = energy.biases()
    bias = torch.zeros_like(b) if bias is None else bias
    at_one = (v @ b).unsqueeze(-1) + h @ c + v @ energy.weight @ h.T
    return ((1 - beta) * (v @ bias).unsqueeze(-1) + beta * at_one).detach()


@pytest.mark.parametrize("size", SIZES)
def test_the_energy_is_the_free_energy(size):
    energy = machine(*size)
    x = states(Space(size[:1], "binary")).double()
    torch.testing.assert_close(energy(x), -joint(energy).logsumexp(1))
    shaped = machine(4, 3, shape=(2, 2))
    x = states(Space((2, 2), "binary")).double()
    torch.testing.assert_close(shaped(x), -joint(shaped).logsumexp(1))


@pytest.mark.parametrize("size", SIZES)
def test_log_z_is_the_sum_over_all_states(size):
    energy = machine(*size)
    torch.testing.assert_close(energy.log_partition(), joint(energy).flatten().logsumexp(0), rtol=1e-12, atol=0)
    gradient = torch.autograd.grad(energy.log_partition(), energy.visible_bias)[0]
    p = joint(energy).flatten().softmax(0).view(2 ** size[0], -1).sum(1)
    torch.testing.assert_close(gradient, p @ states(Space(size[:1], "binary")).double())


def test_log_z_is_summed_in_parts_of_bounded_memory(monkeypatch):
    energy = machine(6, 9)
    whole = energy.log_partition()
    monkeypatch.setattr(rbm, "AT_ONCE", 50)
    torch.testing.assert_close(energy.log_partition(), whole, rtol=1e-12, atol=0)


def test_large_machines_have_no_exact_log_z():
    energy = machine(21, 22)
    assert not energy.has_log_partition
    assert machine(20, 22).has_log_partition
    with pytest.raises(ValueError, match="at most 20"):
        energy.log_partition()


def test_a_stack_has_a_log_z_for_each_model():
    modules = [machine(4, 3, seed) for seed in (0, 1)]
    params = {name: torch.stack([tensors(module)[name] for module in modules]) for name in tensors(modules[0])}
    found = Model(modules[0], event_ndim=1, stacked=True).call(params, "log_partition")
    torch.testing.assert_close(found, torch.stack([joint(module).flatten().logsumexp(0) for module in modules]))


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_the_annealed_energy_sums_the_hidden_units_of_the_annealed_joint_energy(beta):
    energy, bias = machine(4, 3), torch.tensor([0.7, -0.3, 0.2, -1.0]).double()
    x = states(Space((4,), "binary")).double()
    found = energy.annealed_energy(x, torch.full((16,), beta).double(), bias)
    torch.testing.assert_close(found, -joint(energy, beta, bias).logsumexp(1))


@pytest.mark.parametrize("beta", [0.4, 1.0])
@pytest.mark.parametrize("size", [(3, 2), (2, 3)])
def test_a_sweep_is_a_transition_of_block_gibbs(size, beta):
    """The frequencies of transitions from each state are compared with sum_h p(v' | h) p(h | v), which leaves p_beta invariant."""
    energy, bias, n = machine(*size), torch.tensor([1.0, -0.5, 0.3][: size[0]]).double(), 20_000
    log_p = joint(energy, beta, bias)
    kernel = log_p.softmax(1) @ log_p.softmax(0).T  # (v, v')
    p = log_p.flatten().softmax(0).view_as(log_p).sum(1)
    torch.testing.assert_close(p @ kernel, p)
    x, n_states = states(Space(size[:1], "binary")).double(), 2 ** size[0]
    u = Rng(0).uniform("u", n_states * n, energy.n_uniforms).double()
    after = energy.sweep(x.repeat_interleave(n, 0), u, torch.full((n_states * n,), beta).double(), bias)
    index = number(after, Space(size[:1], "binary")).view(n_states, n)
    counts = torch.stack([row.bincount(minlength=n_states) for row in index])
    squared = ((counts - n * kernel).square() / (n * kernel)).sum().item()
    assert squared < chi2.isf(1e-6, n_states * (n_states - 1))


@pytest.mark.parametrize("size", SIZES)
def test_independent_draws_have_the_frequencies_of_the_model(size):
    energy, n = machine(*size), 50_000
    p = joint(energy).flatten().softmax(0).view(2 ** size[0], -1).sum(1)
    x = energy.draw(Rng(0).uniform("place", n).double(), Rng(0).uniform("u", n, energy.n_uniforms))
    counts = number(x, Space(size[:1], "binary")).bincount(minlength=len(p))
    assert ((counts - n * p).square() / (n * p)).sum().item() < chi2.isf(1e-6, len(p) - 1)


def test_the_change_of_the_energy_by_each_flip():
    energy = machine(4, 3)
    x = states(Space((4,), "binary")).double()
    flipped = torch.stack([(x - unit).abs() for unit in torch.eye(4).double()], 1)
    torch.testing.assert_close(energy.flip_differences(x), energy(flipped.flatten(0, 1)).view(16, 4) - energy(x).unsqueeze(-1))


def test_the_gradient_of_the_weights_is_that_of_the_centered_machine():
    """-(v - mu)(h - lambda)' for each event: there is no first-order effect of a hidden unit at the mean of the data."""
    energy = machine(4, 3)
    v = torch.tensor([[1.0, 0.0, 1.0, 1.0]]).double()
    h = torch.sigmoid(v @ energy.weight + energy.biases()[1])
    gradient = torch.autograd.grad(energy(v).sum() - energy(energy.mean.unsqueeze(0)).sum(), energy.weight)[0]
    torch.testing.assert_close(gradient, -(v - energy.mean).T @ (h - torch.sigmoid(energy.hidden_bias)))


def test_the_initial_machine_without_weights_has_the_marginals_of_the_data():
    mean = torch.tensor([0.2, 0.7, 0.0])
    energy = RBM(Space((3,), "binary"), mean, n_hidden=5, std=1e-9)
    x = states(Space((3,), "binary"))
    p = (-energy(x)).softmax(0)
    torch.testing.assert_close(p @ x, torch.tensor([0.2, 0.7, 0.001]))
    assert energy.log_partition().item() == pytest.approx(
        5 * math.log(2) - math.log1p(-0.2) - math.log1p(-0.7) - math.log1p(-0.001), abs=1e-5
    )

"""Sums and draws of the Potts model: the transfer matrix against all states, and two states against the Ising model. Draws are seeded."""

import pytest
import torch
from finite import FALSE_ALARM, p_value

from ebm_cli.core import ising
from ebm_cli.core.lattice import Lattice
from ebm_cli.core.potts import Potts, methods
from ebm_cli.core.states import number, states
from ebm_cli.types import Space

CASES = [  # the states of a site, the shape, and whether the axes are closed
    *((3, (3, 3), True), (3, (2, 4), True), (3, (4, 2), (True, False)), (3, (4, 2), (False, True)), (4, (2, 3), False)),
    *((3, (7,), True), (3, (7,), False), (2, (1, 5), True), (2, (5, 1), True), (3, (2, 2), True), (2, (3, 4), (False, True))),
]


def model(q, shape, periodic, seed=0):
    lattice, generator = Lattice.of(shape, periodic), torch.Generator().manual_seed(seed)
    coupling = torch.randn(len(shape), *shape, dtype=torch.double, generator=generator) * lattice.bonds
    return Potts(lattice, coupling, torch.randn(q, *shape, dtype=torch.double, generator=generator))


@pytest.mark.parametrize(("q", "shape", "periodic"), CASES)
def test_the_energy_is_the_sum_over_bonds_and_sites(q, shape, periodic):
    one = model(q, shape, periodic)
    x = states(Space(shape, "categorical", q))[::7]
    flat, expected = x.flatten(1).long(), torch.zeros(len(x)).double()
    for (a, b), value in zip(one.lattice.edges.tolist(), one.coupling[one.lattice.bonds], strict=True):
        expected -= value * (flat[:, a] == flat[:, b])
    for site, field in enumerate(one.field.flatten(1).T):
        expected -= field[flat[:, site]]
    torch.testing.assert_close(one.energy(x), expected)


@pytest.mark.parametrize(("q", "shape", "periodic"), CASES)
def test_log_z_and_its_gradient_equal_those_of_the_sum_over_all_states(q, shape, periodic):
    exact, found = model(q, shape, periodic), []
    assert exact.methods == ("transfer_matrix", "enumeration")
    for method in exact.methods:
        leaves = [value.clone().requires_grad_() for value in (exact.coupling, exact.field)]
        log_z = Potts(exact.lattice, *leaves).log_z(method)
        coupling, field = torch.autograd.grad(log_z, leaves)
        found.append([log_z.detach(), coupling * exact.lattice.bonds, field])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_the_mean_energy_is_that_of_all_states():
    exact = model(3, (3, 3), True)
    energy = exact.energy(states(Space((3, 3), "categorical", 3)))
    torch.testing.assert_close(exact.mean_energy(), ((-energy).softmax(0) * energy).sum(), rtol=1e-11, atol=0)


@pytest.mark.parametrize("method", ["transfer_matrix", "enumeration"])
@pytest.mark.parametrize(("q", "shape", "periodic"), CASES)
def test_draws_have_the_probabilities_of_all_states(q, shape, periodic, method):
    """A chi-square test with 20,000 draws; its false-alarm rate is 1e-6."""
    exact, space = model(q, shape, periodic), Space(shape, "categorical", q)
    u = torch.rand(20_000, exact.n_uniforms(method), generator=torch.Generator().manual_seed(1), dtype=torch.double)
    p = (-exact.energy(states(space))).softmax(0)
    assert p_value(number(exact.draw(u, method), space), p) > FALSE_ALARM


@pytest.mark.parametrize(("shape", "periodic"), [((6, 6), True), ((12, 5), False), ((8, 30), (True, False))])
def test_two_states_are_an_ising_model_with_half_the_coupling(shape, periodic):
    """J [x = y] = J / 2 (1 + s t); the fields are h(1) - h(0) = 2 h. The transfer matrix of core/transfer_matrix.py is independent code."""
    exact = model(2, shape, periodic)
    other = ising.Ising(exact.lattice, exact.coupling / 2, (exact.field[1] - exact.field[0]) / 2)
    shift = exact.coupling.sum() / 2 + exact.field.sum() / 2
    torch.testing.assert_close(exact.log_z("transfer_matrix"), other.log_z("transfer_matrix") + shift, rtol=1e-11, atol=0)


def test_the_methods_that_apply():
    assert methods(Lattice.of((6, 100), True), 3) == ("transfer_matrix",)  # 729 states of a row of 6 sites
    assert methods(Lattice.of((100, 7), True), 3) == ()
    assert methods(Lattice.of((100, 8), (False, True)), 3) == ("transfer_matrix",)  # 6561 states, and the rows are open
    assert methods(Lattice.of((2, 2, 3), True), 3) == ("enumeration",)
    assert methods(Lattice.of((8, 8), False), 4) == ()

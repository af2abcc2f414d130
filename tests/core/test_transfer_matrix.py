"""The transfer matrix against the sum over all states: log Z, its derivatives, and draws. The test of draws is seeded."""

import pytest
import torch
from finite import FALSE_ALARM, p_value

from ebm_cli.core import ising, transfer_matrix
from ebm_cli.core.ising import Ising
from ebm_cli.core.lattice import Lattice

SHAPES = [
    *(((4, 4), True), ((3, 4), True), ((4, 3), (True, False)), ((4, 3), (False, True)), ((3, 5), False), ((2, 5), True)),
    *(((12,), True), ((12,), False), ((1, 5), True), ((5, 1), True), ((2, 2), True), ((2, 6), (False, True))),
]


def model(shape, periodic, seed=0):
    lattice, generator = Lattice.of(shape, periodic), torch.Generator().manual_seed(seed)
    coupling = torch.randn(len(shape), *shape, dtype=torch.double, generator=generator) * lattice.bonds
    return Ising(lattice, coupling, torch.randn(shape, dtype=torch.double, generator=generator))


@pytest.mark.parametrize(("shape", "periodic"), SHAPES)
def test_log_z_and_its_gradient_equal_those_of_the_sum_over_all_states(shape, periodic):
    exact = model(shape, periodic)
    found = []
    for method in ("transfer_matrix", "enumeration"):
        leaves = [value.clone().requires_grad_() for value in (exact.coupling, exact.field)]
        log_z = Ising(exact.lattice, *leaves).log_z(method)
        coupling, field = torch.autograd.grad(log_z, leaves)
        found.append([log_z.detach(), coupling * exact.lattice.bonds, field])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)
    for one, other in zip(exact.moments(), found[1][1:], strict=True):
        torch.testing.assert_close(one * exact.lattice.bonds if one.ndim > len(shape) else one, other, rtol=1e-11, atol=1e-11)


def test_strong_frustrated_couplings_do_not_underflow():
    """A row that its own bonds order and the next row forbids: the log domain keeps weights of e^-4000."""
    exact = model((3, 4), False)
    strong = Ising(exact.lattice, 800 * exact.coupling, 800 * exact.field)
    assert strong.log_z("transfer_matrix").item() == pytest.approx(strong.log_z("enumeration").item(), rel=1e-12)


def test_the_hessian_is_the_covariance_of_the_products():
    exact = model((3, 3), True)
    coupling = exact.coupling.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Ising(exact.lattice, coupling, exact.field).log_z("transfer_matrix"), coupling, create_graph=True)
    (row,) = torch.autograd.grad(gradient[1, 2, 0], coupling)
    s = torch.cat(list(ising.states(exact.lattice)))
    p = (-exact.energy(s)).softmax(0)
    products = torch.stack([s * s.roll(-1, axis) for axis in (1, 2)], 1)
    mean = (p.view(-1, 1, 1, 1) * products).sum(0)
    covariance = (p.view(-1, 1, 1, 1) * (products - mean) * (products[:, 1, 2, 0] - mean[1, 2, 0]).view(-1, 1, 1, 1)).sum(0)
    torch.testing.assert_close(row, covariance)


@pytest.mark.parametrize(("shape", "periodic"), [((3, 3), True), ((3, 4), False), ((2, 4), (False, True)), ((8,), True), ((2, 3), True)])
def test_draws_have_the_probabilities_of_the_states(shape, periodic):
    """A chi-square test with 20,000 draws; its false-alarm rate is 1e-6."""
    exact, generator = model(shape, periodic), torch.Generator().manual_seed(1)
    rows = exact.rows
    s = transfer_matrix.draw(rows, torch.rand(20_000, len(rows.field), dtype=torch.double, generator=generator))
    s = s.mT if rows.transposed else s
    found = ((s.reshape(-1, exact.lattice.n_sites) + 1) / 2).long() @ 2 ** torch.arange(exact.lattice.n_sites - 1, -1, -1)
    p = torch.cat([-exact.energy(part) for part in ising.states(exact.lattice)]).softmax(0)
    assert p_value(found, p) > FALSE_ALARM


def test_the_short_side_becomes_the_width_and_wide_lattices_have_none():
    assert model((3, 12), False).rows.field.shape == (12, 3)
    assert model((12, 12), (False, True)).rows.field.shape == (12, 12)
    assert not model((12, 12), (False, True)).rows.closed
    assert model((12, 12), (True, False)).rows.field.shape == (12, 12)
    assert model((11, 11), True).rows is None
    assert model((15, 15), False).rows is None
    assert model((2, 2, 2), True).rows is None

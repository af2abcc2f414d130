"""Kaufman's log Z of the periodic lattice: a table, enumeration, and the mean energy."""

import pytest
import torch

from ebm_cli.core import ising, kaufman
from ebm_cli.core.ising import Ising
from ebm_cli.core.lattice import Lattice

TABLE = {  # log Z for J = 1 on L x L sites
    0.2: {10: 73.453098, 32: 752.159552, 64: 3008.638207},
    kaufman.CRITICAL: {10: 93.610301, 32: 952.648080, 64: 3808.672283},
    0.6: {10: 121.706390, 32: 1239.868713, 64: 4957.395410},
}


@pytest.mark.parametrize("k", TABLE)
def test_the_table(k):
    for side, expected in TABLE[k].items():
        assert kaufman.log_z(torch.tensor(k, dtype=torch.double), side, side).item() == pytest.approx(expected, abs=6e-7)
    if k == kaufman.CRITICAL:
        assert kaufman.log_z(torch.tensor(k, dtype=torch.double), 4, 4).item() == pytest.approx(15.521915459, abs=1e-9)


@pytest.mark.parametrize("k", [0.05, 0.3, kaufman.CRITICAL, 0.9])
@pytest.mark.parametrize("shape", [(4, 4), (2, 2), (3, 4), (4, 3), (5, 3), (2, 7)])
def test_it_equals_the_sum_over_all_states_and_the_transfer_matrix(shape, k):
    lattice = Lattice.of(shape, True)
    model = Ising(lattice, torch.full((2, *shape), k, dtype=torch.double), torch.zeros(shape, dtype=torch.double))
    exact = kaufman.log_z(torch.tensor(k, dtype=torch.double), *shape).item()
    assert model.method == "kaufman"
    for method in ("enumeration", "transfer_matrix"):
        assert model.log_z(method).item() == pytest.approx(exact, rel=1e-12)


def test_the_derivative_is_the_mean_energy():
    """At beta = 0.44, L = 64 it is -1.41612 a site; on 3 x 4 sites it is that of the sum over all states."""
    k = torch.tensor(0.44, dtype=torch.double, requires_grad=True)
    assert -torch.autograd.grad(kaufman.log_z(k, 64, 64), k)[0].item() / 4096 == pytest.approx(-1.41612, abs=5e-6)
    model = Ising(Lattice.of((3, 4), True), torch.full((2, 3, 4), 0.44, dtype=torch.double), torch.zeros(3, 4, dtype=torch.double))
    energy = torch.cat([model.energy(s) for s in ising.states(model.lattice)])
    mean = ((-energy).softmax(0) * energy).sum().item() / 0.44
    assert -torch.autograd.grad(kaufman.log_z(k, 3, 4), k)[0].item() == pytest.approx(mean, rel=1e-10)

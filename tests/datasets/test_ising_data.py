"""The Ising dataset: draws of every method against the probabilities of all states, log p, and what it refuses. All draws are seeded."""

import densities
import pytest
import torch
from finite import FALSE_ALARM, p_value

from ebm_cli.core import coupling_from_the_past, ising
from ebm_cli.core.ising import Ising
from ebm_cli.core.lattice import Lattice
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import number, states
from ebm_cli.errors import InputError

CASES = [
    *(("enumeration", {"sides": [3, 4], "spread": 0.7, "field": 0.2}), ("transfer_matrix", {"sides": [3, 4], "spread": 0.7, "field": 0.2})),
    *(("coupling", {"sides": [3, 3], "field": 0.1}), ("coupling", {"sides": [4, 3], "periodic": [False, True]})),
    ("coupling", {"sides": [3], "beta": 0.8, "field": 0.3, "periodic": False}),  # draws from the past to the future would be far off
    *(("transfer_matrix", {"sides": [9]}), ("coupling", {"sides": [2, 2, 2]}), ("enumeration", {"sides": [2, 2, 2], "spread": 1.0})),
]


@pytest.mark.parametrize(("method", "words"), CASES)
def test_draws_follow_log_p(method, words):
    """A chi-square test with 20,000 draws; its false-alarm rate is 1e-6. log p sums to one."""
    data = densities.option("ising", method=method, **words)
    p = data.log_prob(states(data.space)).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-10)
    x = data.draw(20_000, Rng(3))
    assert x.shape == (20_000, *words["sides"])
    assert p_value(number(x, data.space), p) > FALSE_ALARM


def test_log_p_of_a_large_lattice_uses_kaufmans_formula():
    """Two states that differ in one bit, and the state of ones: log p = 2 L^2 beta J - log Z."""
    data = densities.option("ising", sides=[32, 32], beta=0.6, method="coupling")
    x = torch.ones(2, 32, 32)
    x[1, 3, 4] = 0
    log_p = data.log_prob(x)
    assert data.facts["log_z_by"] == "kaufman"
    assert log_p[0].item() == pytest.approx(2 * 1024 * 0.6 - 1239.868713, abs=1e-6)
    assert (log_p[0] - log_p[1]).item() == pytest.approx(8 * 0.6)


def test_couplings_are_those_of_their_seed_and_not_of_the_run():
    one, same, other = (densities.option("ising", spread=1.0, couplings_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.model.coupling, same.model.coupling)
    assert not torch.equal(one.model.coupling, other.model.coupling)
    wide = densities.option("ising", sides=[8, 8], spread=0.5, coupling=0.2, beta=1.0, couplings_seed=4)
    assert wide.model.coupling.mean().item() == pytest.approx(0.2, abs=5 * 0.5 / 128**0.5)
    assert wide.model.coupling.std().item() == pytest.approx(0.5, rel=0.3)
    assert wide.sampled_by == "transfer_matrix"


def test_a_heat_bath_sweep_keeps_the_order_of_states_and_the_distribution():
    """Monotone for J >= 0; 40,000 exact draws have the probabilities of all states after a sweep (chi-square, 1e-6)."""
    data = densities.option("ising", sides=[3, 3], field=0.3, beta=0.5)
    model, rng = data.model, Rng(0)
    u, low = rng.uniform("u", 500, 3, 3), 2 * (rng.uniform("x", 500, 3, 3) < 0.3).float() - 1
    high = torch.maximum(low, 2 * (rng.uniform("y", 500, 3, 3) < 0.5).float() - 1)
    after = [coupling_from_the_past.sweep(model, model.coupling.float(), model.field.float(), s, u) for s in (low, high)]
    assert (after[0] <= after[1]).all()
    x = data.draw(40_000, rng)
    s = coupling_from_the_past.sweep(model, model.coupling.float(), model.field.float(), 2 * x - 1, rng.uniform("v", 40_000, 3, 3))
    p = torch.cat([-model.energy(part) for part in ising.states(model.lattice)]).softmax(0)
    assert p_value(number((s + 1) / 2, data.space), p) > FALSE_ALARM


def test_chains_that_do_not_meet_are_refused():
    lattice = Lattice.of((8, 8), True)
    model = Ising(lattice, torch.full((2, 8, 8), 2.0, dtype=torch.double), torch.zeros(8, 8, dtype=torch.double))
    with pytest.raises(coupling_from_the_past.TooSlow):
        coupling_from_the_past.draw(model, 4, Rng(0), 16)


def test_methods_that_do_not_apply_are_refused():
    for words, message in (
        ({"sides": [16, 16], "spread": 1.0}, "no exact method"),
        ({"sides": [16, 16], "method": "enumeration"}, "enumeration does not apply"),
        ({"coupling": -1.0, "method": "coupling"}, "coupling does not apply"),
        ({"periodic": [True]}, "a value is needed for each of 2 axes"),
    ):
        with pytest.raises(InputError, match=message):
            densities.option("ising", **words)


def test_the_density_is_known_if_log_z_is():
    for words, known in (
        ({"sides": [16, 16]}, True),
        ({"sides": [3, 3, 3]}, False),
        ({"sides": [16, 16], "field": 0.1}, False),
        ({"sides": [16, 16], "periodic": False}, False),
        ({"sides": [12, 30], "periodic": False}, True),
    ):
        data = densities.option("ising", **words)
        assert ("density" in data.provides) == known
        assert (data.log_z is not None) == known

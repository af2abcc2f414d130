"""The Potts dataset: draws against log p, couplings, and what it refuses. All draws are seeded."""

import densities
import pytest
import torch
from finite import FALSE_ALARM, p_value

from ebm_cli.core.rng import Rng
from ebm_cli.core.states import number, states
from ebm_cli.energies.potts import Potts
from ebm_cli.errors import InputError
from ebm_cli.runs.catalog import find

CASES = [
    {"sides": [2, 3], "spread": 0.7, "method": "transfer_matrix"},
    {"sides": [2, 3], "spread": 0.7, "method": "enumeration"},
    {"sides": [2, 2, 2], "n_states": 2},
    {"sides": [5], "n_states": 4, "periodic": False, "coupling": -1.0},
]


@pytest.mark.parametrize("words", CASES)
def test_draws_follow_log_p(words):
    """A chi-square test with 20,000 draws; its false-alarm rate is 1e-6. log p sums to one."""
    data = densities.option("potts", **words)
    p = data.log_prob(states(data.space)).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-10)
    x = data.draw(20_000, Rng(3))
    assert x.shape == (20_000, *words["sides"])
    assert p_value(number(x, data.space), p) > FALSE_ALARM


def test_log_p_is_that_of_the_energy_with_its_log_z():
    data = densities.option("potts", sides=[4, 4], beta=0.6)
    energy = Potts(None, shape=[4, 4], n_states=3, periodic=True, coupling=None, beta=0.6)
    x = data.draw(50, Rng(0))
    assert data.facts == {"sampled_by": "transfer_matrix", "log_z": pytest.approx(energy.log_z, rel=1e-12), "log_z_by": "transfer_matrix"}
    torch.testing.assert_close(data.log_prob(x), (-energy(x) - energy.log_z).double().detach(), atol=1e-4, rtol=0)


def test_couplings_are_those_of_their_seed_and_not_of_the_run():
    one, same, other = (densities.option("potts", spread=1.0, couplings_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.model.coupling, same.model.coupling)
    assert not torch.equal(one.model.coupling, other.model.coupling)


def test_models_of_a_stack_have_draws_of_their_own():
    data = densities.option("potts")
    together = data.draw(40, Rng((3, 4)))
    assert torch.equal(together[1], data.draw(40, Rng(4)))
    assert not torch.equal(together[0], together[1])


def test_lattices_without_an_exact_method_are_refused():
    for words, message in (
        ({"sides": [16, 16]}, "has no exact distribution"),
        ({"sides": [4, 4], "method": "enumeration"}, "enumeration does not apply"),
        ({"sides": [2, 2, 2], "method": "transfer_matrix"}, "transfer_matrix does not apply"),
        ({"periodic": [True]}, "a value is needed for each of 2 axes"),
    ):
        with pytest.raises(InputError, match=message):
            densities.option("potts", **words)


def test_the_couplings_are_learned_by_exact_likelihood(ebm):
    """The exact KL."""
    few = ("metric=[enumeration]", "figure=[]", "draws.n_samples=50", "draws.n_chains=50", "draws.n_steps=4", "device=cpu")
    words = ("dataset=potts", "dataset.sides=[2,3]", "objective=exact", "optimizer.lr=0.05", "trainer.n_steps=200")
    assert ebm("train", *words, "trainer.evaluate_every=200", "trainer.ema_decay=0.9", *few)[0] == 0
    assert find("last").read("summary.json")["kl"] < 0.02

"""Annealed importance sampling of restricted Boltzmann machines, compared with the exact log Z. All draws are seeded.

The intervals are 95 % intervals; the tests allow twice their width: one false alarm in 10^3 seeds, for normal errors.
"""

from dataclasses import dataclass

import pytest
import torch
from contexts import context_of, reason

from ebm_cli.core.rng import Rng
from ebm_cli.datasets.rbm import RBMData
from ebm_cli.energies.rbm import RBM
from ebm_cli.metrics.ais_of_blocks import AnnealedImportanceSamplingOfBlocks, exact_draws
from ebm_cli.references.bernoulli import Bernoulli
from ebm_cli.runner import estimators
from ebm_cli.samplers.block_gibbs import BlockGibbs

DATA = RBMData(n_visible=12, n_hidden=5, std=1.0, bias_std=1.0, weight_seed=1, n_train=None)


@dataclass
class Warned:
    lines: list


def machine(std=2.0):
    torch.manual_seed(2)
    energy = RBM(DATA.space, DATA.draw(1000, Rng(0)).mean(0), n_hidden=8, std=std)
    torch.nn.init.normal_(energy.hidden_bias)
    return energy


def measured(energy, samples=None, *, known=True, n_temperatures=300, n_repeats=10):
    warned = []
    context = context_of(energy, DATA, samples, reference=Bernoulli(1.0), warn=warned.append)
    context.model.module.has_log_partition = known
    metric = AnnealedImportanceSamplingOfBlocks(BlockGibbs(), n_chains=20, n_temperatures=n_temperatures, n_repeats=n_repeats)
    assert reason(metric, context) is None
    return metric(context), warned


def samples_of(energy):
    draws = exact_draws(context_of(energy, DATA, reference=Bernoulli(1.0)), 400, Rng(5))
    return draws.unflatten(0, (100, 4))


@pytest.mark.parametrize("known", [True, False])
def test_the_bounds_contain_log_z(known):
    """With exact draws of the model, and with samples, for which a warning says that the upper end is an estimate."""
    energy = machine()
    found, warned = measured(energy, samples_of(energy), known=known)
    exact = energy.log_partition().item()
    lower, upper = (found[f"ais_log_z_{end}"] for end in ("lower", "upper"))
    assert lower - 2 * found["ais_log_z_lower_error"] <= exact <= upper + 2 * found["ais_log_z_upper_error"]
    assert abs(upper - lower) < 0.5
    x = context_of(energy, DATA, reference=Bernoulli(1.0)).held_out(10_000)
    nll = exact + energy(x).mean().item()
    assert found["ais_nll_lower"] < nll < found["ais_nll_upper"]
    assert any("is an estimate, not a bound" in line for line in warned) != known
    assert estimators.adopt(found)[0]["log_z"] == pytest.approx(exact, abs=estimators.adopt(found)[0]["log_z_error"])


def test_few_temperatures_leave_a_wide_bracket_on_both_sides():
    """A single forward estimate would be too low by more than a nat, without a sign of it."""
    energy = machine(std=4.0)
    found, _ = measured(energy, n_temperatures=4)
    exact = energy.log_partition().item()
    assert found["ais_log_z_lower"] < exact - 1
    assert found["ais_log_z_upper"] > exact + 0.3


def test_samples_that_do_not_follow_the_model_are_noticed():
    """All samples are in one state, at a high energy, and the chains are too short to forget it."""
    energy = machine(std=4.0)
    x = DATA.draw(1000, Rng(3))
    worst = x[energy(x).argmax()].expand(100, 4, 12)
    found, _ = measured(energy, worst, known=False, n_temperatures=20)
    assert "two sets of samples of the model give different estimates of log Z" in found["ais_log_z_upper"]
    assert isinstance(found["ais_log_z_lower"], float)
    assert "two sets" in estimators.adopt(found)[0]["log_z"]


def test_two_sets_need_four_repeats():
    assert "n_repeats of at least 4" in measured(machine(), n_repeats=3)[0]


def test_other_energies_have_a_reason():
    from components import Couplings

    metric = AnnealedImportanceSamplingOfBlocks(BlockGibbs(), n_chains=20, n_temperatures=10, n_repeats=5)
    context = context_of(Couplings(DATA.space), DATA, reference=Bernoulli(1.0))
    assert reason(metric, context) == "the energy has no block-Gibbs transitions"

"""The magnetization of bits and its autocorrelation, where they are known. Draws are seeded."""

import pytest
import torch
from contexts import context_of
from densities import option
from finite import PLAIN

from ebm_cli.core.rng import Rng
from ebm_cli.core.states import states
from ebm_cli.energies.ising import Ising
from ebm_cli.metrics.effective_sample_size import EffectiveSampleSize
from ebm_cli.metrics.magnetization import Magnetization
from ebm_cli.types import Space

pytestmark = pytest.mark.usefixtures("double")

LATTICE = option("ising", sides=[2, 2], beta=0.3)


def energy(shape=(2, 2)):
    return Ising(Space(shape, "binary"), shape=None, graph="lattice", periodic=True, coupling=1.0, field=0.0, beta=0.3, **PLAIN)


def measured(x, metric=None):
    return (metric or Magnetization(4000))(context_of(energy(), LATTICE, x))


def flipping(q, n_chains, n, seed=0):
    """Chains of events whose bits are all equal and flip together with probability q: the autocorrelation is (1 - 2q)^t."""
    u = Rng(seed).uniform("flips", n_chains, n)
    start = (Rng(seed).uniform("start", n_chains, 1) < 0.5).double()
    spin = (start + (u < q).double().cumsum(1)) % 2
    return spin.view(n_chains, n, 1, 1).expand(-1, -1, 2, 2)


def test_the_magnetization_of_states_by_hand():
    x = torch.tensor([[[1.0, 1], [1, 1]], [[0, 0], [0, 1]], [[0, 1], [1, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 0]]]).unsqueeze(0)
    found = measured(x)
    assert found["magnetization"] == pytest.approx((1 - 0.5 + 0 - 1 + 0.5) / 5)
    assert found["abs_magnetization"] == pytest.approx(3 / 5)


def test_the_order_parameter_of_the_data_is_that_of_the_exact_distribution():
    """Within five standard errors of 4,000 draws of |m|, which lies between 0 and 1."""
    x = states(LATTICE.space)
    m = (2 * x - 1).flatten(1).mean(1).abs()
    exact = (LATTICE.log_prob(x).exp() * m).sum().item()
    found = measured(torch.zeros(2, 8, 2, 2))
    assert found["abs_magnetization_data"] == pytest.approx(exact, abs=5 * 0.5 / 4000**0.5)
    assert found["magnetization_time"] == "the magnetization does not change"


@pytest.mark.parametrize("q", [0.5, 0.2, 0.05])
def test_the_time_of_chains_with_a_known_autocorrelation(q):
    """tau = (1 + rho) / (1 - rho) = (1 - q) / q, within 10 %."""
    found = measured(flipping(q, 20, 5000))
    assert found["magnetization_time"] == pytest.approx((1 - q) / q, rel=0.1)
    assert abs(found["magnetization"]) < 5 * found["magnetization_error"]
    assert found["magnetization_error"] == pytest.approx(((1 - q) / q / 100_000) ** 0.5, rel=0.1)


def test_short_chains_have_a_reason():
    assert "too short" in measured(flipping(0.5, 10, 3))["magnetization_time"]


def test_the_effective_sample_size_of_bits_sees_the_phase_that_single_bits_hide():
    """Bits of which three quarters are noise, while their majority flips slowly: single bits seem to mix, signs of sums do not."""
    slow, noise = flipping(0.02, 20, 2000), (Rng(1).uniform("noise", 20, 2000, 2, 2) < 0.5).double()
    kept = Rng(2).uniform("kept", 20, 2000, 2, 2) < 0.5
    found = measured(torch.where(kept, slow, noise), EffectiveSampleSize(16))
    tau = 40_000 / found["ess"]
    assert 15 < tau < 60  # of the phase itself it is 49
    independent = measured((Rng(3).uniform("bits", 20, 2000, 2, 2) < 0.3).double(), EffectiveSampleSize(16))
    assert independent["ess_per_draw"] > 0.7


def test_constant_bits_do_not_hide_the_effective_sample_size():
    x = flipping(0.5, 20, 500).clone()
    x[..., 0, 0] = 1
    assert measured(x, EffectiveSampleSize(16))["ess_per_draw"] > 0.7
    assert measured(torch.ones(4, 50, 2, 2), EffectiveSampleSize(16)) == "the chains do not move"

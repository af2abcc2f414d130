"""Every exact sampler of discrete events, on each of seven targets that it applies to, against the probabilities of all states.

The frequencies of 4,000 independent chains have a chi-square test with a false-alarm rate of 1e-6. All draws are seeded.
"""

import pytest
import torch
from finite import FALSE_ALARM, TARGETS, N, Target, p_value

from ebm_cli.config.compatibility import lacking
from ebm_cli.core.states import number
from ebm_cli.samplers.block_gibbs import BlockGibbs
from ebm_cli.samplers.dlp import DMALA
from ebm_cli.samplers.flip import Flip
from ebm_cli.samplers.gibbs import Gibbs
from ebm_cli.samplers.gwg import GibbsWithGradients
from ebm_cli.samplers.wolff import Wolff

SAMPLERS = {
    "gibbs": (Gibbs("systematic"), 1),
    "gibbs_random": (Gibbs("random"), 10),
    "block_gibbs": (BlockGibbs(), 3),
    "flip": (Flip(None), 1),
    "gwg": (GibbsWithGradients(5), 4),
    "dmala": (DMALA(0.4), 10),
    "wolff": (Wolff(), 3),
}


def applies(sampler, target):
    return lacking(sampler.requires, target.model.provides | {target.space.kind}) is None


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_exact(sampler, target):
    (kernel, n_steps), target = SAMPLERS[sampler], Target(target)
    if not applies(kernel, target):
        pytest.skip("the sampler does not apply to this target")
    x, info = target.moved(kernel, n_steps)
    assert not info["divergence"].any()
    assert (x != target.draw()).flatten(1).any(1).double().mean() > 0.1  # it moves
    assert target.p_value(x) > FALSE_ALARM


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "wolff"])
def test_chains_forget_where_they_start(sampler):
    """From the state of zeros, chains on the hot lattice reach its distribution."""
    (kernel, n_steps), target = SAMPLERS[sampler], Target("ising_hot")
    target.draw = lambda: torch.zeros(N, 4, 4)
    x, _ = target.moved(kernel, 20 * n_steps)
    assert target.p_value(x) > FALSE_ALARM


def test_the_chi_square_test_has_its_false_alarm_rate_and_sees_small_differences():
    """p-values of exact draws are uniform: 100 of them have a mean of 0.5 within five standard errors. A tilt of 10 % is seen."""
    target = Target("perceptron")
    found = [p_value(number(target.draw(seed=seed), target.space), target.p) for seed in range(100)]
    assert abs(sum(found) / 100 - 0.5) < 5 * (1 / 1200) ** 0.5
    tilted = target.p * (1 + 0.3 * (target.states[:, 0] - 0.5))
    assert p_value(number(target.draw(20_000), target.space), tilted / tilted.sum()) < FALSE_ALARM

"""Parallel tempering of discrete events: textbook swaps, exactness at every temperature, and modes that the kernel does not leave.

All draws are seeded. Chi-square tests have a false-alarm rate of 1e-6.
"""

import pytest
import torch
from finite import FALSE_ALARM, TARGETS, N, Target, ising, p_value

from ebm_cli.config.compatibility import lacking
from ebm_cli.core import chain
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import number
from ebm_cli.errors import InputError
from ebm_cli.samplers.block_gibbs import BlockGibbs
from ebm_cli.samplers.dlp import DiscreteLangevin
from ebm_cli.samplers.flip import Flip
from ebm_cli.samplers.gibbs import Gibbs
from ebm_cli.samplers.gwg import GibbsWithGradients
from ebm_cli.samplers.tempered_kernel import TemperedKernel
from ebm_cli.samplers.wolff import Wolff

KERNELS = {
    "block_gibbs": BlockGibbs(),
    "gibbs": Gibbs("systematic"),
    "gibbs_random": Gibbs("random"),
    "flip": Flip(4),
    "gwg": GibbsWithGradients(3),
}


def placed(sampler, target, replicas):
    """The state with the given replicas, (K, B, *d)."""
    state = sampler.init(target.model, target.params, replicas[0])
    return type(state)(state.beta, *sampler._start(target.model, target.params, replicas, state.beta))


def probabilities(kernel, target, beta):
    """p_k of all states: by block Gibbs sampling that of the joint energy at beta, otherwise p^beta."""
    x = target.states
    if kernel == "block_gibbs":
        energy = target.model.annealed_energy(target.params, x, torch.full((len(x),), beta))
    else:
        energy = beta * target.model.energy(target.params, x)
    return (-energy.detach().double()).softmax(0)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("target", TARGETS)
def test_exact_at_every_temperature(kernel, target):
    """Replicas that start at exact draws of their temperatures remain exact, whatever is swapped."""
    target, sampler = Target(target), TemperedKernel(KERNELS[kernel], 2, 3, 3.0)
    if lacking(sampler.requires, target.model.provides | {target.space.kind}) is not None:
        pytest.skip("the kernel does not apply to this target")
    beta = [3.0 ** (-k / 2) for k in range(3)]
    p = [probabilities(kernel, target, value) for value in beta]
    generator = torch.Generator().manual_seed(1)
    replicas = torch.stack([target.states[one.multinomial(N, replacement=True, generator=generator)] for one in p])
    state = placed(sampler, target, replicas)
    swaps = torch.zeros(N)
    for noise in chain.noises(sampler, state, Rng(2), 3):
        state, info = sampler.step(target.model, target.params, state, noise)
        swaps += info["swap_rate"] / 3
        assert not info["divergence"].any()
    assert 0.1 < swaps.mean() < 0.95
    assert torch.equal(state.x, state.replicas[0])
    for k in range(3):
        assert p_value(number(state.replicas[k], target.space), p[k]) > FALSE_ALARM


@pytest.mark.parametrize("kernel", ["block_gibbs", "flip"])
def test_a_cold_lattice_is_left_from_the_state_of_ones(kernel, monkeypatch):
    """On 4 x 4 sites at beta = 0.8 the kernel alone stays up; with replicas up to a temperature of 4 the chains are exact."""
    monkeypatch.setitem(TARGETS, "frozen", lambda: ising(0.8))
    target = Target("frozen")
    up, inner = torch.ones(1000, 4, 4), BlockGibbs() if kernel == "block_gibbs" else Flip(16)
    alone, _ = chain.run(inner, target.model, target.params, up, Rng(0), n_steps=100)
    assert (alone.mean((1, 2)) > 0.5).double().mean() > 0.7  # exact: one half
    x, info = chain.run(TemperedKernel(inner, 1, 5, 4.0), target.model, target.params, up, Rng(0), n_steps=100)
    assert info["swap_rate"].mean() > 0.2
    assert p_value(number(x, target.space), target.p) > FALSE_ALARM


def test_swaps_are_those_of_the_textbook_and_may_pass_through_all_temperatures():
    """The hottest pair first: swapped for a uniform slightly below the acceptance probability, not slightly above."""
    sampler = TemperedKernel(Gibbs("systematic"), 1, 3, 9.0)
    beta, e = torch.tensor([1, 1 / 3, 1 / 9], dtype=torch.double), torch.tensor([2, 0.7, -0.4], dtype=torch.double)
    energies = (beta.view(3, 1, 1) * e.view(1, 3, 1)).expand(3, 3, 4)
    hot, cold, cold_only = (1 / 3 - 1 / 9) * (e[1] - e[2]), (1 - 1 / 3) * (e[0] - e[2]), (1 - 1 / 3) * (e[0] - e[1])
    assert min(hot, cold, cold_only) > 0  # such swaps are always accepted; log u > 0 shows where the limit is
    d = 1e-9
    log_uniform = torch.stack(
        [torch.stack([cold - d, cold + d, cold_only - d, cold_only + d]), torch.stack([hot - d, hot - d, hot + d, hot + d])]
    )
    order, swapped = sampler._swaps(energies, log_uniform)
    assert order.T.tolist() == [[2, 0, 1], [0, 2, 1], [1, 0, 2], [0, 1, 2]]
    assert swapped.sum(0).tolist() == [2, 1, 1, 0]


def test_energies_at_other_temperatures():
    """With hidden units the energies of block Gibbs sampling are those of the joint energy, not multiples of F."""
    target = Target("rbm")
    x = target.draw(12).view(3, 4, 12)
    for kernel, linear in ((BlockGibbs(), False), (Gibbs("systematic"), True)):
        sampler = TemperedKernel(kernel, 1, 3, 4.0)
        beta = torch.tensor([1.0, 0.5, 0.25])
        found = sampler._energies(*sampler._at(target.model, target.params, x, beta), x, beta)
        for j in range(3):
            for k in range(3):
                at = torch.full((4,), beta[j].item())
                expected = target.model.annealed_energy(target.params, x[k], at)
                expected = beta[j] * target.model.energy(target.params, x[k]) if linear else expected
                torch.testing.assert_close(found[j, k], expected.detach())


def test_each_model_of_a_stack_moves_as_the_single_model():
    target = Target("rbm")
    params = {name: torch.stack([value, 0.5 * value]) for name, value in target.params.items()}
    stacked = Model(TARGETS["rbm"](), event_ndim=1, stacked=True, space=target.space)
    x = (Rng((3, 4)).uniform("x", 30, 12) < 0.5).float()
    for kernel in (BlockGibbs(), Gibbs("systematic"), GibbsWithGradients(2)):
        sampler = TemperedKernel(kernel, 2, 3, 4.0)
        together, info = chain.run(sampler, stacked, params, x, Rng((3, 4)), n_steps=4)
        for m, seed in enumerate((3, 4)):
            single = {name: value[m] for name, value in params.items()}
            alone, own = chain.run(sampler, stacked.alone(), single, x[m], Rng(seed), n_steps=4)
            assert (together[m] == alone).double().mean() > 0.99  # rounding decides a few uniforms
            torch.testing.assert_close(info["swap_rate"][m], own["swap_rate"], atol=0.1, rtol=0)


def test_kernels_without_an_exact_distribution_are_refused():
    for kernel, message in ((DiscreteLangevin(0.2), "DiscreteLangevin is not exact"), (Wolff(), "Wolff has the same temperature")):
        with pytest.raises(InputError, match=message):
            TemperedKernel(kernel, 1, 3, 4.0)


def test_it_needs_what_its_kernel_needs():
    assert {"block_gibbs", "discrete"} <= TemperedKernel(BlockGibbs(), 1, 3, 4.0).requires
    assert "block_gibbs" not in TemperedKernel(Gibbs("random"), 1, 3, 4.0).requires
    assert TemperedKernel.requires == {"discrete", "energy"}

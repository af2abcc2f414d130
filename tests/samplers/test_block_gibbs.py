"""Block Gibbs sampling: chains of a restricted Boltzmann machine that start at its exact distribution keep it.

All draws are seeded, and a chi-square test of the frequencies of all states fails by chance for one seed in 10^6.
"""

import pytest
import torch
from scipy.stats import chi2

from ebm_cli.core import chain
from ebm_cli.core.block_gibbs import BlockGibbsPath
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import number, states
from ebm_cli.core.wrappers import Tempered
from ebm_cli.energies.rbm import RBM
from ebm_cli.samplers.block_gibbs import BlockGibbs
from ebm_cli.types import Space

SPACE, N = Space((2, 3), "binary"), 40_000
X = states(SPACE)


def machine(seed):
    torch.manual_seed(seed)
    energy = RBM(SPACE, torch.full((2, 3), 0.4), n_hidden=3, std=1.5)
    torch.nn.init.normal_(energy.hidden_bias)
    return energy


def drawn(p, rng):
    """N exact draws from the probabilities of the states, (*m, 64) -> (*m, N, 2, 3)."""
    return X[torch.searchsorted(p.cumsum(-1), rng.uniform("start", N), right=True).clamp(max=63)]


def follows(x, p):
    """Whether events, (N, 2, 3), have the probabilities p, (64,)."""
    counts = number(x, SPACE).bincount(minlength=64)
    likely = N * p >= 5
    pooled = torch.cat([counts[likely], counts[~likely].sum(0, keepdim=True)])
    expected = N * torch.cat([p[likely], p[~likely].sum(0, keepdim=True)]) + 1e-12
    return ((pooled - expected).square() / expected).sum() < chi2.isf(1e-6, len(pooled) - 1)


def stack():
    modules = [machine(seed) for seed in (0, 1)]
    params = {name: torch.stack([tensors(module)[name] for module in modules]) for name in tensors(modules[0])}
    return Model(modules[0], event_ndim=2, stacked=True), params


def test_each_model_of_a_stack_keeps_its_distribution():
    model, params = stack()
    p = (-model.energy(params, X.expand(2, 64, 2, 3))).softmax(-1).detach()
    x, info = chain.run(BlockGibbs(), model, params, drawn(p, Rng((0, 1))), Rng((0, 1)), n_steps=3)
    assert not info["divergence"].any()
    assert follows(x[0], p[0])
    assert follows(x[1], p[1])
    assert not follows(x[0], p[1])


@pytest.mark.parametrize("beta", [0.3, 0.8])
def test_the_path_keeps_the_annealed_distribution(beta):
    """It is not p^beta."""
    model, params = stack()
    model, params = model.alone(), {name: value[0] for name, value in params.items()}
    bias = torch.tensor([[0.5, -1.0, 0.2], [0.0, 0.3, -0.7]])
    path, params = BlockGibbsPath(model), params | {"wrapper.beta": torch.tensor(beta), "wrapper.bias": bias}
    p = (-path.energy(params, X)).softmax(-1).detach()
    x, _ = chain.run(BlockGibbs(), path, params, drawn(p, Rng(0)), Rng(0), n_steps=3)
    assert follows(x, p)
    power = ((1 - beta) * (X * bias).sum((1, 2)) - beta * model.energy(params, X)).softmax(-1)
    assert not follows(x, power)


def test_a_wrapper_without_such_transitions_refuses_them():
    model, params = stack()
    with pytest.raises(TypeError, match="Tempered has no block-Gibbs transitions"):
        chain.run(BlockGibbs(), Tempered(model, 2.0), params, X.expand(2, 64, 2, 3), Rng((0, 1)), n_steps=1)

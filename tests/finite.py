"""Discrete targets with few states, whose probabilities are sums over all states, and a chi-square test of frequencies.

Chains start at exact draws. If a sampler leaves the target invariant, the chains are independent exact draws after any number of
transitions, so the test needs no thinning. States are pooled, from the least probable up, to expected counts of at least 5.
"""

import torch
from scipy.stats import chi2
from torch import nn

from ebm_cli.core import chain
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import number, states
from ebm_cli.energies.ising import Ising
from ebm_cli.energies.potts import Potts
from ebm_cli.energies.rbm import RBM
from ebm_cli.types import Space

FALSE_ALARM = 1e-6  # the false-alarm rate of each chi-square test
PLAIN = {"couplings": None, "convention": None, "bits": None}  # an Ising energy that is not read from a file
N = 4000  # number of chains


class Perceptron(nn.Module):
    """A random perceptron of 10 bits."""

    space = Space((10,), "binary")

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(10, 16), nn.SiLU(), nn.Linear(16, 1))
        with torch.no_grad():
            self.network[0].weight.mul_(4)
            self.network[2].weight.mul_(8)

    def forward(self, x):
        return self.network(2 * x - 1).squeeze(-1)


class Table(nn.Module):
    """Random energies of three coordinates with 2, 3 and 5 states."""

    space = Space((3,), "categorical", (2, 3, 5))

    def __init__(self):
        super().__init__()
        self.energy = nn.Parameter(1.5 * torch.randn(2, 3, 5))

    def forward(self, x):
        return self.energy.flatten()[(x.long() * torch.tensor([15, 5, 1])).sum(-1)]


def ising(beta, *, shape=(4, 4), field=0.0):
    return Ising(None, shape=shape, graph="lattice", periodic=True, coupling=None, field=field, beta=beta, **PLAIN)


def rbm():
    return RBM(Space((12,), "binary"), torch.full((12,), 0.4), n_hidden=8, std=1.0)


def potts():
    return Potts(None, shape=(2, 3), n_states=3, periodic=True, coupling=None, beta=0.5)


TARGETS = {
    "ising_hot": lambda: ising(0.2),
    "ising_critical": lambda: ising(0.44),
    "ising_cold": lambda: ising(0.6),
    "rbm": rbm,
    "perceptron": Perceptron,
    "potts": potts,
    "table": Table,
}


class Target:
    """A target with its model, parameters, states and their probabilities."""

    def __init__(self, name):
        torch.manual_seed(0)
        module = TARGETS[name]()
        self.space = getattr(module, "space", None) or Space((12,), "binary")
        self.model = Model(module, event_ndim=len(self.space.shape), stacked=False, space=self.space)
        self.params = {name: value.detach() for name, value in tensors(module).items()}
        self.states = states(self.space)
        with torch.no_grad():
            self.p = (-self.model.energy(self.params, self.states).double()).softmax(0)

    def draw(self, n=N, seed=1):
        place = torch.searchsorted(self.p.cumsum(0), Rng(seed).uniform("start", n).double(), right=True)
        return self.states[place.clamp(max=len(self.states) - 1)]

    def moved(self, sampler, n_steps):
        return chain.run(sampler, self.model, self.params, self.draw(), Rng(2), n_steps=n_steps)

    def p_value(self, x):
        return p_value(number(x, self.space), self.p)


def p_value(found, p):
    """The p-value of a chi-square test of the frequencies of states with these numbers, (n,), against probabilities, (S,)."""
    order = p.argsort()
    expected = len(found) * p[order]
    pool = torch.empty(len(p), dtype=torch.long)
    pool[order] = pooled(expected.tolist())
    counts = pool[found].bincount(minlength=int(pool.max()) + 1).double()
    expected = torch.zeros_like(counts).index_add(0, pool, len(found) * p)
    return chi2.sf(((counts - expected).square() / expected).sum().item(), len(counts) - 1)


def pooled(expected):
    """The pool of each state, in increasing order of the expected counts. The last pool may take states that do not fill one."""
    pools, total = [0], 0.0
    for previous in [0.0, *expected[:-1]]:
        total += previous
        full = total >= 5
        pools.append(pools[-1] + int(full))
        total = 0.0 if full else total
    pools, rest = torch.tensor(pools[1:]), sum(value for value, pool in zip(expected, pools[1:], strict=True) if pool == pools[-1])
    return pools if rest >= 5 else pools.clamp(max=int(pools[-1]) - 1)

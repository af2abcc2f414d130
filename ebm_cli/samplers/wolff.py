"""Wolff's cluster algorithm for the Ising model with couplings J >= 0 and no field. Wolff 1989, Phys. Rev. Lett. 62, 361.

    A cluster starts at a site that is chosen at random. A neighbor with an equal spin joins with probability 1 - exp(-2 beta J), and so do
    the neighbors of the sites that have joined. All spins of the cluster are flipped.

It is exact, has no step size, and hardly slows down at the critical temperature, where single spins take about L^2 sweeps. Every bond is
drawn once, before the cluster grows. The clusters of all chains grow together, a layer of sites at a time, until none grows: a loop whose
length depends on the values, so that a transition does not compile into a single graph. Chains are packed into the 64 bits of a word. Cost:
2 uniforms per site and as many passes over the lattice as the longest cluster has layers.

The first clusters of a disordered state are small, so chains that start from independent bits need a long warm-up: on 64 x 64 sites at
beta = 0.44 the mean energy of transitions 200 to 400 is still -1.19 a site (exact: -1.416). From equal spins, 60 transitions suffice.
Therefore, unless the user names starting points, chains start with all bits zero and with all bits one, in turn.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.errors import bad
from ebm_cli.types import Info, Params

WORD = 64  # bits of a word
PASSES = 4  # number of passes over the lattice between two checks of whether a cluster has grown


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)
    joins: Tensor  # (*m, k, *shape), 1 - exp(-2 beta J) of every bond


@dataclass(frozen=True)
class Wolff(Sampler):
    """It has no settings."""

    requires: ClassVar[frozenset[str]] = frozenset({"binary", "ising"})
    exact: ClassVar[bool] = True
    differentiable: ClassVar[bool] = False

    def starting_points(self, model: Model, params: Params, x: Tensor) -> Tensor:
        """Equal spins, down and up in turn, so that the mean magnetization of an even number of chains is zero."""
        up = torch.arange(x.shape[x.ndim - model.event_ndim - 1], device=x.device) % 2
        return up.to(x).view(-1, *[1] * model.event_ndim).expand_as(x).clone()

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        coupling, field = (model.call(params, name).detach() / model.temperature for name in ("bond_couplings", "site_fields"))
        if model.module.graph != "lattice":
            raise bad("sampler=wolff: clusters grow on a lattice only", "energy.graph=lattice, or sampler=block_gibbs")
        if (coupling < 0).any() or (field != 0).any():
            what = "a coupling is negative" if (coupling < 0).any() else "there is a field"
            raise bad(f"sampler=wolff needs couplings J >= 0 and no field, but {what}", "sampler=block_gibbs")
        return State(x, -torch.expm1(-2 * coupling))

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor, Tensor]:
        m = len(rng.model_shape)
        n_chains, shape = state.x.shape[m], state.joins.shape[m:]
        return rng.uniform("bonds", n_steps, n_chains, *shape), rng.integers("seeds", shape[1:].numel(), n_steps, n_chains)

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor, Tensor]) -> tuple[State, Info]:
        u, seed = noise
        m, shape = seed.ndim - 1, state.joins.shape[seed.ndim :]
        x = state.x.reshape(-1, *shape)
        same = torch.stack([x == x.roll(-1, axis) for axis in range(-len(shape), 0)], 1)
        bonds = same & (u < state.joins.unsqueeze(m)).flatten(0, m)
        first = torch.arange(shape.numel(), device=x.device) == seed.reshape(-1, 1)
        cluster = unpacked(grown(packed(first.view(x.shape)), packed(bonds)), len(x))
        flipped = torch.where(cluster, 1 - x, x).view(state.x.shape)
        size = cluster.flatten(1).sum(1).to(x).view(seed.shape)
        return State(flipped, state.joins), {"cluster_size": size, "divergence": torch.zeros_like(seed, dtype=torch.bool)}


def grown(cluster: Tensor, bonds: Tensor) -> Tensor:
    """The sites that are connected with those of `cluster`, (*shape, n_words), by `bonds`, (k, *shape, n_words)."""
    while True:
        before = cluster
        for _ in range(PASSES):
            for axis, bond in enumerate(bonds):
                cluster = cluster | (cluster & bond).roll(1, axis)
                cluster = cluster | (cluster.roll(-1, axis) & bond)
        if torch.equal(before, cluster):
            return cluster


def packed(values: Tensor) -> Tensor:
    """Booleans (n, *shape) as the bits of words, (*shape, n_words)."""
    n, shape = len(values), values.shape[1:]
    n_words = -(-n // WORD)
    bits = values.new_zeros(n_words * WORD, shape.numel(), dtype=torch.uint8)
    bits[:n] = values.reshape(n, -1)
    bits = bits.view(8, -1, shape.numel())
    word = bits[0].clone()
    for k in range(1, 8):
        word |= bits[k] << k
    return word.T.contiguous().view(torch.int64).view(*shape, n_words)


def unpacked(words: Tensor, n: int) -> Tensor:
    """The inverse of `packed`: (*shape, n_words) -> (n, *shape)."""
    byte = words.reshape(-1, words.shape[-1]).view(torch.uint8).T  # (8 n_words, sites)
    bits = torch.cat([(byte >> k) & 1 for k in range(8)])
    return bits[:n].bool().view(n, *words.shape[:-1])

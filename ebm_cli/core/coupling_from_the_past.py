"""Coupling from the past: independent exact draws of the Ising model with couplings J >= 0 on any lattice. Propp & Wilson 1996.

A heat-bath sweep with given uniforms maps a larger state to a larger state if J >= 0. Two chains, from the states of all ones and all
minus ones, run from time -T to 0 with the same uniforms. If they meet, every chain from time -T would be in their state at time 0, which
is then an exact draw. Otherwise T is doubled, and the uniforms of the times that were already used are kept: new ones would bias the
draws. The sites of one color are drawn at once. Draws that have not met continue; those that have met are done.
"""

import torch
from torch import Tensor

from ebm_cli.core.ising import Ising
from ebm_cli.core.rng import Rng


def draw(model: Ising, n: int, rng: Rng, most_sweeps: int) -> tuple[Tensor, int]:
    """Spins (n, *shape) of independent draws, and the largest T, in sweeps. Raises `TooSlow` if `most_sweeps` do not suffice."""
    coupling, field = model.coupling.float().to(rng.generator.device), model.field.float().to(rng.generator.device)
    found, left, sweeps = field.new_zeros(n, *field.shape), torch.arange(n, device=field.device), 1
    while len(left):
        if sweeps > most_sweeps:
            raise TooSlow
        low, high = (torch.full((len(left), *field.shape), side, device=field.device) for side in (-1.0, 1.0))
        for time in range(sweeps, 0, -1):
            u = rng.at(time).uniform("sweep", n, *field.shape)[left]  # a function of the time and of the draw
            both = sweep(model, coupling, field, torch.cat([low, high]), torch.cat([u, u]))
            low, high = both.chunk(2)
        met = (low == high).flatten(1).all(1)
        found[left[met]] = low[met]
        left, sweeps = left[~met], 2 * sweeps
    return found, sweeps // 2


class TooSlow(Exception):
    """The chains have not met."""


def sweep(model: Ising, coupling: Tensor, field: Tensor, s: Tensor, u: Tensor) -> Tensor:
    """One heat-bath sweep of the spins, color after color: s and u (N, *shape)."""
    color = model.lattice.colors.to(s.device)
    for k in range(int(color.max()) + 1):
        on = u < torch.sigmoid(2 * (model.lattice.neighbor_sum(coupling, s) + field))
        s = torch.where(color == k, 2 * on.to(s) - 1, s)
    return s

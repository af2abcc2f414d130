"""Maximum likelihood with persistent chains: E(x) - E(y). Tieleman 2008; Du & Mordatch 2019, arXiv:1903.08689.

y: chains of a replay buffer, a fraction restarted from N(mean, scale^2) of the training data, moved by `n_steps` transitions of
`sampler` and written back to the slots they came from. Slots are drawn one from each of B equal strata, from a random
first slot on, so that none is drawn twice.
The gradient is that of the likelihood when the chains follow the model; the value of the loss says nothing about the fit.
Cost per sample and step: two energies and `n_steps` (with MALA + 1) scores.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli import chain
from ebm_cli.errors import bad
from ebm_cli.model import Model, expand
from ebm_cli.rng import Rng
from ebm_cli.types import Count, Fraction, Info, Objective, Params, Sampler


@dataclass(frozen=True)
class PersistentContrastiveDivergence(Objective):
    """`n_chains` is the number of slots, `restart` the fraction of drawn chains that starts anew."""

    sampler: Sampler
    n_steps: Count
    n_chains: Count
    restart: Fraction
    requires: ClassVar[frozenset[str]] = frozenset({"energy"})
    loss_is_comparable: ClassVar[bool] = False

    def init(self, model: Model, x_train: Tensor, rng: Rng) -> tuple[Params, Params]:
        batch = -1 - model.event_ndim
        mean, scale = x_train.mean(batch, keepdim=True), x_train.std(batch, keepdim=True)
        buffer = mean + scale * rng.normal("buffer", self.n_chains, *x_train.shape[batch + 1 :])
        return {}, {"buffer": buffer, "mean": mean, "scale": scale}

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        axis = x.ndim - 1 - model.event_ndim
        n = x.shape[axis]
        stratum = self.n_chains // n
        if not stratum:
            raise bad(f"objective.n_chains: {self.n_chains} chains cannot serve batches of {n}", f"objective.n_chains={4 * n}")
        slots = rng.integers("slots", stratum, n) + stratum * torch.arange(n, device=x.device)
        slots = (slots + rng.integers("first", self.n_chains, 1)) % self.n_chains
        slots = expand(slots, x).expand_as(x)
        fresh = carry["mean"] + carry["scale"] * rng.normal_like("start", x)
        restart = expand(rng.uniform("restart", n) < self.restart, x)
        start = torch.where(restart, fresh, carry["buffer"].gather(axis, slots))
        negatives, info = chain.run(self.sampler, model, params, start, rng.at("chain"), n_steps=self.n_steps)
        return {"negatives": negatives}, carry | {"buffer": carry["buffer"].scatter(axis, slots, negatives)}, info

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        energy = model.energy(params, torch.cat([x, aux["negatives"]], -1 - model.event_ndim))
        positive, negative = energy.chunk(2, -1)
        return positive - negative, {"energy": positive, "energy_negatives": negative}

"""Exact log Z, NLL and KL of a model of discrete events, in nats, by a sum over all states.

    log Z = log sum_x exp(-E(x))        KL(p || q) = sum_x p(x) (log p(x) + E(x) + log Z)        NLL = KL + entropy

There is no error but rounding. If the distribution of the data is not known, the NLL is the mean of E + log Z over the held-out events, and
there is no KL. An energy can know its log Z by a smaller sum, as an RBM does (`log_partition` in core/contracts.py); then log Z and the NLL
need no sum over the states of an event. States are evaluated in parts, so that memory is bounded. Cost: one energy for each state, for
20 bits a million.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.contracts import Dataset
from ebm_cli.core.metric import Metric, MetricContext, no_events
from ebm_cli.core.pointwise import energy_of
from ebm_cli.core.states import n_states, parts, states
from ebm_cli.metrics.quadrature import at_data
from ebm_cli.types import Best, Count

MOST_IN_TRAINING = 1 << 17  # the largest number of states that are summed during training


@dataclass(frozen=True)
class Enumeration(Metric):
    """`max_states` is the largest number of states of a sum."""

    max_states: Count
    requires: ClassVar[frozenset[str]] = frozenset({"discrete", "energy", "unconditional"})
    units: ClassVar[Mapping[str, str]] = dict.fromkeys(("kl", "nll", "entropy", "log_z"), "nats")
    headline: ClassVar[Sequence[str]] = ("kl", "nll")
    best: ClassVar[Mapping[str, Best]] = {"kl": "min", "nll": "min"}

    def expected(self, dataset: Dataset) -> Collection[str]:
        known = "density" in dataset.provides and n_states(dataset.space) <= self.max_states
        return self.units if known else ("nll", "log_z")  # an energy may know its log Z whatever the number of states

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        log_z = self.log_z(context)
        if isinstance(log_z, str):
            return log_z
        if "density" not in context.dataset.provides or not self.enumerable(context):
            energy = at_data(context)
            nll = energy.mean().item() + log_z if len(energy) else no_events(context.held_out_name)
            known = "density" in context.dataset.provides
            reason = self.too_many(context) if known else "the true density of this dataset is not known"
            return {"kl": reason, "nll": nll, "entropy": reason, "log_z": log_z}
        log_p, energy = true_log_prob(context.dataset), self.energies(context)
        p = log_p.exp()
        entropy = -torch.where(p > 0, p * log_p, 0).sum().item()
        nll = torch.where(p > 0, p * energy, 0).sum().item() + log_z
        return {"kl": nll - entropy, "nll": nll, "entropy": entropy, "log_z": log_z}

    def log_z(self, context: MetricContext) -> float | str:
        """log Z in nats, or the reason why it is not known."""
        model = context.model
        if model.temperature == 1 and getattr(model.module, "has_log_partition", False):
            return context.once("log_partition", lambda: model.call(context.params, "log_partition").detach().double().item())
        if not self.enumerable(context):
            return self.too_many(context)
        energy = self.energies(context)
        if energy.isnan().any() or (energy == -torch.inf).any():
            return "the energy is not finite at some states"
        return torch.logsumexp(-energy, 0).item()

    def energies(self, context: MetricContext) -> Tensor:
        """E at every state in their order, (N,), in double precision."""
        space = context.dataset.space
        return context.once(
            "energy of all states",
            lambda: torch.cat([energy_of(context.model, context.params, states(space, *part)) for part in parts(space)]),
        )

    def mass(self, context: MetricContext) -> Tensor | str:
        """The probability of every state under the model, (N,), or the reason why it is not known."""
        log_z = self.log_z(context) if self.enumerable(context) else self.too_many(context)
        return log_z if isinstance(log_z, str) else (-self.energies(context) - log_z).exp()

    def most(self, context: MetricContext) -> int:
        """The largest number of states of a sum at this time."""
        return self.max_states if context.final else min(self.max_states, MOST_IN_TRAINING)

    def enumerable(self, context: MetricContext) -> bool:
        """Whether there are few enough states for a sum at this time."""
        return n_states(context.dataset.space) <= self.most(context)

    def too_many(self, context: MetricContext) -> str:
        n = n_states(context.dataset.space)
        if n <= self.max_states:
            return f"the sum over {n} states is computed at the end of training only"
        return f"the events have {described(n)} states, more than metric.enumeration.max_states={self.max_states}"


@lru_cache(maxsize=2)
def true_log_prob(dataset: Dataset) -> Tensor:
    """log p at every state in their order, (N,), cached because every evaluation of a run uses it."""
    return torch.cat([dataset.log_prob(states(dataset.space, *part)) for part in parts(dataset.space)])


def described(n: int) -> str:
    """A large power of two as 2^k."""
    return f"2^{n.bit_length() - 1}" if n.bit_count() == 1 and n > 1 << 16 else str(n)

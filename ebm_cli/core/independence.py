"""Proposals from the reference, independent of the state of a chain. Hastings 1970; Tierney 1994; Gabrie et al. 2022 (arXiv:2105.12603).

    y ~ q, accepted with probability min(1, w(y) / w(x)),    w(x) = exp(-E(x) / T) / q(x)

A transition of this kind leaves the model exactly invariant, whatever q is, so it may be inserted between the transitions of a sampler.
It moves a chain to any mode in which q has mass, where local transitions would have to cross regions of low density. If q is close to the
model, as the reference of a tilted energy often is, many proposals are accepted. If it is not, as in many dimensions, none is accepted, and
the chain is only slower. The cost is two energies and two densities of q for each proposal, and an evaluation with which the sampler
begins again.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.types import Info, Params


@dataclass
class Proposals:
    """A proposal after every `every` transitions; none if `every` or the reference is None, or if the chains cannot be moved.

    Chains of samplers with a memory or a ladder of noise levels cannot be moved, nor can those of a model without an energy.
    """

    sampler: Sampler
    model: Model
    params: Params
    reference: FittedReference | None
    every: int | None
    rates: list[Tensor] = field(default_factory=list)  # the acceptance rate of each proposal, (*m,)

    def __post_init__(self) -> None:
        able = "energy" in self.model.provides and not self.sampler.has_memory and self.sampler.length(self.model) is None
        self.every = self.every if able and self.reference is not None else None

    def __call__(self, state: Any, n: int, rng: Rng) -> Any:
        """The state after transition n, or after a proposal for each chain."""
        if self.every is None or n % self.every:
            return state
        rng, n_chains = rng.at("reference").at(n), state.x.shape[len(rng.model_shape)]
        y, log_uniform = self.reference.draw(n_chains, rng, "proposal"), rng.uniform("accept", n_chains).log()
        accept = log_uniform < self.log_weight(y) - self.log_weight(state.x)
        self.rates.append(accept.to(y.dtype).mean(-1))
        moved = self.sampler.init(self.model, self.params, torch.where(expand(accept, y), y, state.x))
        return moved._replace(step_size=state.step_size) if hasattr(moved, "step_size") else moved

    def log_weight(self, x: Tensor) -> Tensor:
        """log w, (*m, B, *d) -> (*m, B)."""
        return -self.model.energy(self.params, x).detach() / self.sampler.temperature - self.reference.log_prob(x)

    @property
    def info(self) -> Info:
        """The mean acceptance rate, (*m,), if there were proposals."""
        return {"reference_acceptance_rate": torch.stack(self.rates).mean(0)} if self.rates else {}

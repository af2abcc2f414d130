"""Maximum likelihood with negatives from Markov chains: E(x) - E(y). Hinton 2002; Tieleman 2008; Nijkamp et al. 2019, arXiv:1904.09770.

y is the state of a chain after `n_steps` transitions of `sampler`. The methods differ in the initial states of the chains:

    mle, short_run   draws from the reference, new at each step
    cd               the data batch: fast, but does not find modes of the model that lie far from the data
    pcd              the final states of earlier steps, from a replay buffer (Du & Mordatch 2019, arXiv:1903.08689)

If the chains have the distribution of the model, the gradient is that of the log-likelihood. The value of the loss does not measure the
fit. If the noise of the sampler is set separately from its step size (sgld), the chains follow exp(-E / T), and the model is measured and
sampled at that temperature T. Cost per sample and step: two energies, and the scores of `n_steps` transitions (one each; MALA and
underdamped need one more at the start, HMC `n_leapfrog` each, tempering one for each temperature). Score matching and NCE need no chains
and are faster.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ebm_cli.core import chain
from ebm_cli.core.contracts import Objective, Reference, Sampler
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.core.wrappers import Differentiable, Tempered
from ebm_cli.errors import bad
from ebm_cli.types import Count, Fraction, Info, NonNegative, Params


@dataclass(frozen=True)
class Contrastive(Objective):
    """`adapt`: at each training step log eps += adapt (a - a*), with the acceptance rate a and its target a*; 0 keeps eps fixed."""

    sampler: Sampler
    n_steps: Count
    adapt: NonNegative
    requires: ClassVar[frozenset[str]] = frozenset({"energy"})
    loss_is_comparable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if "noise_level" in self.sampler.requires:
            raise bad(
                "objective.sampler: chains of negatives cannot use a sampler that anneals over noise levels", "sampler=langevin or mala"
            )

    def init(self, model: Model, params: Params, x_train: Tensor, rng: Rng) -> tuple[Params, Params]:
        if self.adapt and self.sampler.target_acceptance is not None:
            return {}, {"step_size": x_train.new_full(rng.model_shape, self.sampler.step_size)}
        return {}, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        energy = model.energy(params, torch.cat([x, aux["negatives"]], -1 - model.event_ndim))
        positive, negative = energy.chunk(2, -1)
        return positive - negative, {"energy": positive, "energy_negatives": negative}

    def shown(self, model: Model, x: Tensor, aux: Params) -> Params:
        return {"negatives": aux["negatives"]}

    def trained(self, model: Model) -> Model:
        return model if self.sampler.temperature == 1 else Tempered(model, self.sampler.temperature)

    def _negatives(self, model: Model, params: Params, carry: Params, start: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        """The final states of the chains, and the carry with the adapted step size."""
        step_size = carry.get("step_size")
        negatives, info = chain.run(self.sampler, model, params, start, rng.at("chain"), n_steps=self.n_steps, step_size=step_size)
        return {"negatives": negatives}, *self._adapted(carry, info)

    def _adapted(self, carry: Params, info: Info) -> tuple[Params, Info]:
        """The carry with the adapted step size, and the info with the step size that these chains used."""
        if "step_size" not in carry or self.sampler.target_acceptance is None:
            return carry, info
        before, acceptance = carry["step_size"], info["acceptance_rate"].mean(-1)
        after = chain.adapted(before, acceptance, self.sampler.target_acceptance, rate=self.adapt)
        return carry | {"step_size": after}, info | {"step_size": before}


@dataclass(frozen=True)
class FromReference(Contrastive):
    """Chains that start at draws from the reference distribution of the run."""

    reference: Reference

    def starts(self, model: Model, params: Params, x: Tensor, rng: Rng) -> Tensor:
        """A draw for each point of x."""
        shape = x.shape[x.ndim - model.event_ndim :]
        return FittedReference.of(self.reference, params, shape).draw(x.shape[-1 - model.event_ndim], rng)

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        return self._negatives(model, params, carry, self.starts(model, params, x, rng), rng)


@dataclass(frozen=True)
class ContrastiveDivergence(Contrastive):
    """Chains that start at the data.

    CD neglects that the distribution of the chains depends on the parameters. `kl_weight` times

        E_sg(y) - T d log |y - y'|,    y' the nearest other negative,    with the gradient through the last transition,

    adds an estimate of T times the KL divergence from that distribution to the model. Du et al. 2021, arXiv:2012.01316. The gradient
    passes through the proposal, but not through its acceptance probability. The last transition is computed apart from the others, once
    for the negatives and once with its graph. This costs samplers that keep the score in their state two more scores.
    """

    kl_weight: NonNegative

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kl_weight and not self.sampler.differentiable:
            raise bad("objective.kl_weight: the proposals of this sampler are not differentiable", "sampler=langevin or sampler=mala")

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        if not self.kl_weight:
            return self._negatives(model, params, carry, x, rng)
        aux = {"step_size": carry["step_size"]} if "step_size" in carry else {}
        before, info = chain.run(self.sampler, model, params, x, rng.at("chain"), n_steps=self.n_steps - 1, step_size=aux.get("step_size"))
        state = self._state(model, params, before, aux)
        noise = tuple(part.squeeze(state.step_size.ndim) for part in self.sampler.noise(rng.at("last"), state, 1))
        after, last = self.sampler.step(model, params, state, noise)
        aux |= {"before": before} | {f"noise.{i}": part for i, part in enumerate(noise)}
        info = {name: ((self.n_steps - 1) * info.get(name, 0) + value) / self.n_steps for name, value in last.items()}
        return aux | {"negatives": after.x}, *self._adapted(carry, info)

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        loss, info = super().loss(model, params, x, aux)
        if not self.kl_weight:
            return loss, info
        state = self._state(Differentiable(model), params, aux["before"], aux)
        noise = tuple(aux[name] for name in aux if name.startswith("noise."))
        y = self.sampler.step(Differentiable(model), params, state, noise)[0].x
        flat = y.flatten(-model.event_ndim)
        alone = torch.eye(flat.shape[-2], dtype=torch.bool, device=x.device)
        apart = (flat.unsqueeze(-2) - flat.unsqueeze(-3)).square().sum(-1).masked_fill(alone, torch.inf).amin(-1)
        entropy = 0.5 * flat.shape[-1] * apart.clamp(min=1e-12).log()  # the Kozachenko-Leonenko estimate, up to a constant
        energy = model.energy({name: value.detach() for name, value in params.items()}, y)
        return loss + self.kl_weight * (energy - self.sampler.temperature * entropy), info

    def _state(self, model: Model, params: Params, x: Tensor, steps: Params) -> Any:
        state = self.sampler.init(model, params, x)
        return state._replace(step_size=steps["step_size"]) if "step_size" in steps else state


@dataclass(frozen=True)
class PersistentContrastiveDivergence(FromReference):
    """Persistent chains in a buffer of `n_chains` slots. A fraction `restart` of the selected chains restarts from the reference.

    One slot is drawn from each of B equal strata, after a random rotation of the buffer, so that no slot is drawn twice. The final states
    are written back to the same slots.
    """

    n_chains: Count
    restart: Fraction
    takes_labels: ClassVar[bool] = False  # the slots of the buffer have no labels

    def init(self, model: Model, params: Params, x_train: Tensor, rng: Rng) -> tuple[Params, Params]:
        extra, carry = super().init(model, params, x_train, rng)
        reference = FittedReference.of(self.reference, params, x_train.shape[x_train.ndim - model.event_ndim :])
        return extra, carry | {"buffer": reference.draw(self.n_chains, rng, "buffer")}

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        axis = x.ndim - 1 - model.event_ndim
        n = x.shape[axis]
        stratum = self.n_chains // n
        if not stratum:
            raise bad(f"objective.n_chains: {self.n_chains} chains are fewer than the batch size, {n}", f"objective.n_chains={4 * n}")
        slots = rng.integers("slots", stratum, n) + stratum * torch.arange(n, device=x.device)
        slots = (slots + rng.integers("first", self.n_chains, 1)) % self.n_chains
        slots = expand(slots, x).expand_as(x)
        start = carry["buffer"].gather(axis, slots)
        if self.restart:
            restart = expand(rng.uniform("restart", n) < self.restart, x)
            start = torch.where(restart, self.starts(model, params, x, rng), start)
        aux, carry, info = self._negatives(model, params, carry, start, rng)
        return aux, carry | {"buffer": carry["buffer"].scatter(axis, slots, aux["negatives"])}, info

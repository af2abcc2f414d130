"""Maximum likelihood with negatives from Markov chains: E(x) - E(y). Hinton 2002; Tieleman 2008; Nijkamp et al. 2019, arXiv:1904.09770.

y: the ends of `n_steps` transitions of `sampler`. What the methods differ in is where the chains start:

    mle, short_run   at noise, N(mean, scale^2) of the training data, each time
    cd               at the data batch: fast, and blind to modes of the model that lie far from the data
    pcd              where they ended before: a replay buffer (Du & Mordatch 2019, arXiv:1903.08689)

Where the chains follow the model the gradient is that of the likelihood; the value of the loss says nothing about the fit. Where the
sampler's noise is not that of its step (sgld) the chains follow exp(-E / T): the model is measured and drawn from at that temperature.
Cost per sample and step: two energies, and the scores of `n_steps` transitions (one each; MALA and underdamped one more at the start,
HMC `n_leapfrog` each, tempering one for each rung). Not for those in a hurry: score matching and NCE need no
chains.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ebm_cli.core import chain
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.core.wrappers import Differentiable, Tempered
from ebm_cli.errors import bad
from ebm_cli.types import Count, Fraction, Info, NonNegative, Objective, Params, Sampler


@dataclass(frozen=True)
class Contrastive(Objective):
    """`adapt`: at each training step log eps += adapt (a - a*), with the acceptance a and its target a*; 0 leaves the step size alone."""

    sampler: Sampler
    n_steps: Count
    adapt: NonNegative
    requires: ClassVar[frozenset[str]] = frozenset({"energy"})
    loss_is_comparable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if "noise_level" in self.sampler.requires:
            raise bad(
                "objective.sampler: negatives need a transition kernel, not a walk down a ladder of noise", "sampler=langevin or mala"
            )

    def init(self, model: Model, x_train: Tensor, rng: Rng) -> tuple[Params, Params]:
        batch = -1 - model.event_ndim
        carry = {"mean": x_train.mean(batch, keepdim=True), "scale": x_train.std(batch, keepdim=True)}
        if self.adapt and self.sampler.target_acceptance is not None:
            carry["step_size"] = x_train.new_full(rng.model_shape, self.sampler.step_size)
        return {}, carry

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        energy = model.energy(params, torch.cat([x, aux["negatives"]], -1 - model.event_ndim))
        positive, negative = energy.chunk(2, -1)
        return positive - negative, {"energy": positive, "energy_negatives": negative}

    def trained(self, model: Model) -> Model:
        return model if self.sampler.temperature == 1 else Tempered(model, self.sampler.temperature)

    def _noise(self, carry: Params, x: Tensor, rng: Rng) -> Tensor:
        """A start from N(mean, scale^2) of the training data for each point of x."""
        return carry["mean"] + carry["scale"] * rng.normal_like("start", x)

    def _negatives(self, model: Model, params: Params, carry: Params, start: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        """The ends of the chains, and the step size that their acceptance asks for."""
        step_size = carry.get("step_size")
        negatives, info = chain.run(self.sampler, model, params, start, rng.at("chain"), n_steps=self.n_steps, step_size=step_size)
        return {"negatives": negatives}, *self._adapted(carry, info)

    def _adapted(self, carry: Params, info: Info) -> tuple[Params, Info]:
        """The step size that the acceptance asks for, and the one that it was measured with."""
        if "step_size" not in carry or self.sampler.target_acceptance is None:
            return carry, info
        error = info["acceptance_rate"].mean(-1) - self.sampler.target_acceptance
        return carry | {"step_size": carry["step_size"] * (self.adapt * error).exp()}, info | {"step_size": carry["step_size"]}


@dataclass(frozen=True)
class FromNoise(Contrastive):
    """Chains that start at noise."""

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        return self._negatives(model, params, carry, self._noise(carry, x, rng), rng)


@dataclass(frozen=True)
class ContrastiveDivergence(Contrastive):
    """Chains that start at the data.

    CD neglects that the chains' law depends on the parameters. `kl_weight` times

        E_sg(y) - T d log |y - y'|,    y' the nearest other negative,    the gradient through the last transition,

    puts back an estimate of T times the KL divergence from that law to the model. Du et al. 2021, arXiv:2012.01316. The gradient goes
    through the proposal, not through the probability of its acceptance. The last transition is taken anew (twice: once for the
    negatives, once with its graph), which costs a sampler that keeps its score two scores more than it would.
    """

    kl_weight: NonNegative

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kl_weight and not self.sampler.differentiable:
            raise bad("objective.kl_weight: no gradient passes through the proposals of this sampler", "sampler=langevin or sampler=mala")

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
        entropy = 0.5 * flat.shape[-1] * apart.clamp(min=1e-12).log()  # of Kozachenko and Leonenko, less a constant
        energy = model.energy({name: value.detach() for name, value in params.items()}, y)
        return loss + self.kl_weight * (energy - self.sampler.temperature * entropy), info

    def _state(self, model: Model, params: Params, x: Tensor, steps: Params) -> Any:
        state = self.sampler.init(model, params, x)
        return state._replace(step_size=steps["step_size"]) if "step_size" in steps else state


@dataclass(frozen=True)
class PersistentContrastiveDivergence(Contrastive):
    """Chains that go on from step to step: `n_chains` slots of a buffer, a fraction `restart` of the drawn ones restarted at noise.

    Slots are drawn one from each of B equal strata, from a random first slot on, so that none is drawn twice, and are written back to.
    """

    n_chains: Count
    restart: Fraction

    def init(self, model: Model, x_train: Tensor, rng: Rng) -> tuple[Params, Params]:
        extra, carry = super().init(model, x_train, rng)
        buffer = rng.normal("buffer", self.n_chains, *x_train.shape[x_train.ndim - model.event_ndim :])
        return extra, carry | {"buffer": carry["mean"] + carry["scale"] * buffer}

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        axis = x.ndim - 1 - model.event_ndim
        n = x.shape[axis]
        stratum = self.n_chains // n
        if not stratum:
            raise bad(f"objective.n_chains: {self.n_chains} chains cannot serve batches of {n}", f"objective.n_chains={4 * n}")
        slots = rng.integers("slots", stratum, n) + stratum * torch.arange(n, device=x.device)
        slots = (slots + rng.integers("first", self.n_chains, 1)) % self.n_chains
        slots = expand(slots, x).expand_as(x)
        restart = expand(rng.uniform("restart", n) < self.restart, x)
        start = torch.where(restart, self._noise(carry, x, rng), carry["buffer"].gather(axis, slots))
        aux, carry, info = self._negatives(model, params, carry, start, rng)
        return aux, carry | {"buffer": carry["buffer"].scatter(axis, slots, aux["negatives"])}, info

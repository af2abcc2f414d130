"""Models that wrap a model: a temperature, a noise level, a Gaussian tilt, the path from a reference to the model.

A wrapper has the interface of a model and modifies its energy and score. Values that change from call to call are passed in `params`,
under names that begin with `wrapper.`, so that a transition is compiled only once.
"""

from copy import copy

import torch
from torch import Tensor

from ebm_cli.core.contracts import Reference
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model, expand, repeated
from ebm_cli.types import Params


class Wrapper(Model):
    """The base class. It passes every call on to the model; subclasses override what they change."""

    def __init__(self, base: Model) -> None:
        self.base = base  # `super().__init__` is not called because a wrapper has no network

    @property
    def temperature(self) -> float:
        return self.base.temperature

    def __getattr__(self, name: str) -> object:
        if name == "base":  # `copy` looks attributes up before they are set
            raise AttributeError(name)
        return getattr(self.base, name)

    def alone(self) -> "Wrapper":
        single = copy(self)
        single.base = self.base.alone()
        return single

    def energy(self, params: Params, x: Tensor, noise_level: Tensor | None = None) -> Tensor:
        return self.base.energy(params, x, noise_level)

    def energy_and_score(
        self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = False
    ) -> tuple[Tensor, Tensor]:
        return self.base.energy_and_score(params, x, noise_level, create_graph=create_graph)

    def score(self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        return self.base.score(params, x, noise_level, create_graph=create_graph)

    def sweep(self, params: Params, x: Tensor, u: Tensor, beta: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Only wrappers whose distribution has block-Gibbs transitions override this. p(x)^(1/T) of an RBM has none."""
        raise TypeError(f"{type(self).__name__} has no block-Gibbs transitions")


class Tempered(Wrapper):
    """p(x)^(1/T): E / T and s / T."""

    def __init__(self, base: Model, temperature: float) -> None:
        super().__init__(base)
        self._t = temperature

    @property
    def temperature(self) -> float:
        return self._t * self.base.temperature

    def energy(self, params: Params, x: Tensor, noise_level: Tensor | None = None) -> Tensor:
        return self.base.energy(params, x, noise_level) / self._t

    def energy_and_score(
        self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = False
    ) -> tuple[Tensor, Tensor]:
        energy, score = self.base.energy_and_score(params, x, noise_level, create_graph=create_graph)
        return energy / self._t, score / self._t

    def score(self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        return self.base.score(params, x, noise_level, create_graph=create_graph) / self._t


class AtInverseTemperatures(Wrapper):
    """beta E, with an inverse temperature for each chain. `params` holds `wrapper.beta`, (*m, B).

    With `joint` it is the path of core/block_gibbs.py without a bias, which has block-Gibbs transitions: -log sum_h exp(-beta E(x, h)).
    """

    def __init__(self, base: Model, *, joint: bool) -> None:
        super().__init__(base)
        self.joint = joint

    def energy(self, params: Params, x: Tensor, noise_level: Tensor | None = None) -> Tensor:
        beta = self._beta(params, x)
        return self.base.annealed_energy(params, x, beta) if self.joint else beta * self.base.energy(params, x, noise_level)

    def energy_and_score(
        self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = False
    ) -> tuple[Tensor, Tensor]:
        if self.joint:
            raise TypeError("the path of block Gibbs sampling has no score")
        energy, score = self.base.energy_and_score(params, x, noise_level, create_graph=create_graph)
        return self._beta(params, x) * energy, expand(self._beta(params, x), score) * score

    def score(self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        return self.energy_and_score(params, x, noise_level, create_graph=create_graph)[1]

    def sweep(self, params: Params, x: Tensor, u: Tensor, beta: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        if not self.joint or beta is not None:
            return super().sweep(params, x, u, beta, bias)
        return self.base.sweep(params, x, u, params["wrapper.beta"], bias)

    def _beta(self, params: Params, x: Tensor) -> Tensor:
        """beta of every event, (*m, k B), where x holds k events for each chain."""
        return repeated(params["wrapper.beta"], x.shape[x.ndim - 1 - self.event_ndim])


class AtNoiseLevel(Wrapper):
    """A noise-conditional model at the smallest of its noise levels, unless another level is passed."""

    def __init__(self, base: Model, levels: tuple[float, ...], *, residual: float | None = None) -> None:
        """`levels` are standard deviations in decreasing order. `residual` is the standard deviation of the noise that x has at the
        last level, if it differs from that level."""
        super().__init__(base)
        self.levels, self.residual = levels, levels[-1] if residual is None else residual

    def _level(self, x: Tensor, noise_level: Tensor | None) -> Tensor:
        return x.new_full(x.shape[: x.ndim - self.event_ndim], self.levels[-1]) if noise_level is None else noise_level

    def energy(self, params: Params, x: Tensor, noise_level: Tensor | None = None) -> Tensor:
        return self.base.energy(params, x, self._level(x, noise_level))

    def energy_and_score(
        self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = False
    ) -> tuple[Tensor, Tensor]:
        return self.base.energy_and_score(params, x, self._level(x, noise_level), create_graph=create_graph)

    def score(self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        return self.base.score(params, x, self._level(x, noise_level), create_graph=create_graph)


class Tilted(Wrapper):
    """p(x) N(x; c, sigma^2 I) as the distribution of u = (x - c) / sigma, with the energy E(c + sigma u) + |u|^2 / 2.

    In these units one step size is suitable for every sigma. `params` holds `wrapper.center` (*m, B, *d), `wrapper.sigma` (*m, B), and
    `wrapper.noise_level` (*m, B), the noise level at which the model is evaluated.
    """

    def energy(self, params: Params, x: Tensor, noise_level: Tensor | None = None) -> Tensor:
        return self.base.energy(params, self.place(params, x), params["wrapper.noise_level"]) + 0.5 * self.inner(x, x)

    def energy_and_score(
        self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = False
    ) -> tuple[Tensor, Tensor]:
        place, level = self.place(params, x), params["wrapper.noise_level"]
        energy, score = self.base.energy_and_score(params, place, level, create_graph=create_graph)
        return energy + 0.5 * self.inner(x, x), expand(params["wrapper.sigma"], x) * score - x

    def score(self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        score = self.base.score(params, self.place(params, x), params["wrapper.noise_level"], create_graph=create_graph)
        return expand(params["wrapper.sigma"], x) * score - x

    def place(self, params: Params, u: Tensor) -> Tensor:
        """x = c + sigma u."""
        return params["wrapper.center"] + expand(params["wrapper.sigma"], u) * u


class Differentiable(Wrapper):
    """A model whose scores are always differentiable in the parameters, so that transitions are differentiable as well."""

    def energy_and_score(
        self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = True
    ) -> tuple[Tensor, Tensor]:
        return self.base.energy_and_score(params, x, noise_level, create_graph=True)

    def score(self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = True) -> Tensor:
        return self.base.score(params, x, noise_level, create_graph=True)


class AnnealingPath(Wrapper):
    """The path from a reference q to the model, in the coordinates x = mean + scale u: -(1 - beta) log q(x) + beta E(x).

    It works on a single model, not on a stack. `params` holds `wrapper.mean` and `wrapper.scale` (*d), `wrapper.beta` (), and the tensors
    of the reference.
    """

    def __init__(self, base: Model, reference: Reference) -> None:
        super().__init__(base)
        self.reference = reference

    def energy(self, params: Params, x: Tensor, noise_level: Tensor | None = None) -> Tensor:
        energy = self.base.energy(params, self.place(params, x), noise_level)
        return torch.lerp(self.start_energy(params, x), energy, params["wrapper.beta"])

    def energy_and_score(
        self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = False
    ) -> tuple[Tensor, Tensor]:
        energy, score = self.base.energy_and_score(params, self.place(params, x), noise_level, create_graph=create_graph)
        start, start_score = self._start(params, x)
        beta = params["wrapper.beta"]
        return torch.lerp(start, energy, beta), torch.lerp(start_score, params["wrapper.scale"] * score, beta)

    def score(self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        score = self.base.score(params, self.place(params, x), noise_level, create_graph=create_graph)
        return torch.lerp(self._start(params, x)[1], params["wrapper.scale"] * score, params["wrapper.beta"])

    def fall(self, params: Params, u: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """E_before(u) - E_after(u), (*m, B), for two values of beta."""
        return (after - before) * self.gap(params, u)

    def gap(self, params: Params, u: Tensor) -> Tensor:
        """-log q(x) - E(x), (*m, B): the decrease of the energy along the path per unit of beta."""
        return self.start_energy(params, u) - self.base.energy(params, self.place(params, u)).detach()

    def start_energy(self, params: Params, u: Tensor) -> Tensor:
        """-log q(x), (*m, B)."""
        return -FittedReference.of(self.reference, params, u.shape[u.ndim - self.event_ndim :]).log_prob(self.place(params, u))

    def _start(self, params: Params, u: Tensor) -> tuple[Tensor, Tensor]:
        """-log q(x), (*m, B), and the score of q in u, (*m, B, *d)."""
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            energy = self.start_energy(params, u) + 0 * self.inner(u, u)  # the added zero gives a constant density a graph
            (gradient,) = torch.autograd.grad(energy.sum(), u)
        return energy.detach(), -gradient

    def place(self, params: Params, u: Tensor) -> Tensor:
        """x = mean + scale u."""
        return params["wrapper.mean"] + params["wrapper.scale"] * u

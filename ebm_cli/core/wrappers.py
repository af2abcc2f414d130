"""Models seen through something: a temperature, a noise level, a Gaussian tilt, the way from a Gaussian.

A view has a model's face and changes what it answers.

What differs from call to call travels in `params`, under names that begin with `view.`: a compiled transition stays what it is.
"""

from copy import copy

import torch
from torch import Tensor

from ebm_cli.core.model import Model, expand
from ebm_cli.types import Params


class Wrapper(Model):
    """As the model itself; what a kind of view changes it overrides."""

    def __init__(self, base: Model) -> None:
        self.base = base  # there is no network here: no `super().__init__`

    @property
    def temperature(self) -> float:
        return self.base.temperature

    def __getattr__(self, name: str) -> object:
        if name == "base":  # while a copy is being made
            raise AttributeError(name)
        return getattr(self.base, name)

    def alone(self) -> "Wrapper":
        single = copy(self)
        single.base = self.base.alone()
        return single

    def energy(self, params: Params, x: Tensor, *noise_level: Tensor) -> Tensor:
        return self.base.energy(params, x, *noise_level)

    def energy_and_score(self, params: Params, x: Tensor, *noise_level: Tensor, create_graph: bool = False) -> tuple[Tensor, Tensor]:
        return self.base.energy_and_score(params, x, *noise_level, create_graph=create_graph)

    def score(self, params: Params, x: Tensor, *noise_level: Tensor, create_graph: bool = False) -> Tensor:
        return self.base.score(params, x, *noise_level, create_graph=create_graph)

    def score_and_vjp(self, params: Params, x: Tensor, *v: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError(f"{type(self).__name__} is not for training")


class Tempered(Wrapper):
    """p(x)^(1/T): E / T and s / T."""

    def __init__(self, base: Model, temperature: float) -> None:
        super().__init__(base)
        self._t = temperature

    @property
    def temperature(self) -> float:
        return self._t * self.base.temperature

    def energy(self, params: Params, x: Tensor, *noise_level: Tensor) -> Tensor:
        return self.base.energy(params, x, *noise_level) / self._t

    def energy_and_score(self, params: Params, x: Tensor, *noise_level: Tensor, create_graph: bool = False) -> tuple[Tensor, Tensor]:
        energy, score = self.base.energy_and_score(params, x, *noise_level, create_graph=create_graph)
        return energy / self._t, score / self._t

    def score(self, params: Params, x: Tensor, *noise_level: Tensor, create_graph: bool = False) -> Tensor:
        return self.base.score(params, x, *noise_level, create_graph=create_graph) / self._t


class AtNoiseLevel(Wrapper):
    """A noise-conditional model at the smallest of its levels, unless another one is asked for."""

    def __init__(self, base: Model, levels: tuple[float, ...], *, residual: float | None = None) -> None:
        """`levels`: standard deviations, the greatest first; `residual`: that of the noise in x at the last, if another."""
        super().__init__(base)
        self.levels, self.residual = levels, levels[-1] if residual is None else residual

    def _level(self, x: Tensor, noise_level: tuple[Tensor, ...]) -> Tensor:
        return noise_level[0] if noise_level else x.new_full(x.shape[: x.ndim - self.event_ndim], self.levels[-1])

    def energy(self, params: Params, x: Tensor, *noise_level: Tensor) -> Tensor:
        return self.base.energy(params, x, self._level(x, noise_level))

    def energy_and_score(self, params: Params, x: Tensor, *noise_level: Tensor, create_graph: bool = False) -> tuple[Tensor, Tensor]:
        return self.base.energy_and_score(params, x, self._level(x, noise_level), create_graph=create_graph)

    def score(self, params: Params, x: Tensor, *noise_level: Tensor, create_graph: bool = False) -> Tensor:
        return self.base.score(params, x, self._level(x, noise_level), create_graph=create_graph)


class Tilted(Wrapper):
    """p(x) N(x; c, sigma^2 I) as the law of u = (x - c) / sigma: E(c + sigma u) + |u|^2 / 2.

    In these units one step size serves every sigma. Of `params`: `wrapper.centre` (*m, B, *d), `wrapper.sigma` (*m, B), and
    `wrapper.noise_level` (*m, B), the level at which the model is taken.
    """

    def energy(self, params: Params, x: Tensor, *noise_level: Tensor) -> Tensor:
        return self.base.energy(params, self.place(params, x), params["wrapper.noise_level"]) + 0.5 * self.inner(x, x)

    def energy_and_score(self, params: Params, x: Tensor, *noise_level: Tensor, create_graph: bool = False) -> tuple[Tensor, Tensor]:
        place, level = self.place(params, x), params["wrapper.noise_level"]
        energy, score = self.base.energy_and_score(params, place, level, create_graph=create_graph)
        return energy + 0.5 * self.inner(x, x), expand(params["wrapper.sigma"], x) * score - x

    def score(self, params: Params, x: Tensor, *noise_level: Tensor, create_graph: bool = False) -> Tensor:
        score = self.base.score(params, self.place(params, x), params["wrapper.noise_level"], create_graph=create_graph)
        return expand(params["wrapper.sigma"], x) * score - x

    def place(self, params: Params, u: Tensor) -> Tensor:
        """x = c + sigma u."""
        return params["wrapper.centre"] + expand(params["wrapper.sigma"], u) * u


class Differentiable(Wrapper):
    """Scores are differentiable in the parameters, so that a transition is."""

    def energy_and_score(self, params: Params, x: Tensor, *noise_level: Tensor, create_graph: bool = True) -> tuple[Tensor, Tensor]:
        return self.base.energy_and_score(params, x, *noise_level, create_graph=True)

    def score(self, params: Params, x: Tensor, *noise_level: Tensor, create_graph: bool = True) -> Tensor:
        return self.base.score(params, x, *noise_level, create_graph=True)


class AnnealingPath(Wrapper):
    """From N(0, I) to the model as it is in the units of a Gaussian, x = mean + scale u: (1 - beta) |u|^2 / 2 + beta E(x).

    Of `params`: `wrapper.mean` and `wrapper.scale` (*d), `wrapper.beta` (); for one model.
    """

    def energy(self, params: Params, x: Tensor, *noise_level: Tensor) -> Tensor:
        energy = self.base.energy(params, self.place(params, x), *noise_level)
        return torch.lerp(0.5 * self.inner(x, x), energy, params["wrapper.beta"])

    def energy_and_score(self, params: Params, x: Tensor, *noise_level: Tensor, create_graph: bool = False) -> tuple[Tensor, Tensor]:
        energy, score = self.base.energy_and_score(params, self.place(params, x), *noise_level, create_graph=create_graph)
        beta = params["wrapper.beta"]
        return torch.lerp(0.5 * self.inner(x, x), energy, beta), torch.lerp(-x, params["wrapper.scale"] * score, beta)

    def score(self, params: Params, x: Tensor, *noise_level: Tensor, create_graph: bool = False) -> Tensor:
        score = self.base.score(params, self.place(params, x), *noise_level, create_graph=create_graph)
        return torch.lerp(-x, params["wrapper.scale"] * score, params["wrapper.beta"])

    def gap(self, params: Params, u: Tensor) -> Tensor:
        """|u|^2 / 2 - E(x), (*m, B): what the energy of the bridge loses per unit of beta."""
        return 0.5 * self.inner(u, u) - self.base.energy(params, self.place(params, u)).detach()

    def place(self, params: Params, u: Tensor) -> Tensor:
        """x = mean + scale u."""
        return params["wrapper.mean"] + params["wrapper.scale"] * u

"""Denoising score matching: 1/2 |sigma s(x + sigma z) + z|^2. Vincent 2011, Neural Computation 23.

The model learns the score of the data distribution smoothed by N(0, sigma^2 I). For x ~ N(0, I) and E = a |x|^2 / 2 the expectation has
its minimum, d / (2 (1 + sigma^2)), at a = 1 / (1 + sigma^2). Cost per sample and step: one score. Do not use a large sigma for a sharp
density (it is smoothed), nor a small sigma with few data (the model overfits them).

With several noise levels sigma_1 > ... > sigma_L, one level is drawn for each point and passed to the network. Annealed Langevin dynamics
then finds distant modes: noise-conditional score networks, Song & Ermon 2019, arXiv:1907.05600. The density of the model is measured at the
smallest level, where the weights of distant modes are learned no better than with a single level.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ebm_cli.core.contracts import Objective
from ebm_cli.core.model import Model, constant, expand
from ebm_cli.core.rng import Rng
from ebm_cli.core.wrappers import AtNoiseLevel
from ebm_cli.errors import bad
from ebm_cli.types import Count, Info, Params, Positive


@dataclass(frozen=True)
class Denoising(Objective):
    """`sigma` is the standard deviation of the noise, in the model's units."""

    sigma: Positive

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        return {"noise": rng.normal_like("noise", x)}, carry, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        error = self.sigma * model.score(params, x + self.sigma * aux["noise"], create_graph=True) + aux["noise"]
        return 0.5 * model.inner(error, error), {}


@dataclass(frozen=True)
class MultilevelDenoising(Objective):
    """`n_levels` geometrically spaced standard deviations from `sigma_max` down to `sigma_min`, in the model's units."""

    sigma_max: Positive
    sigma_min: Positive
    n_levels: Count
    requires: ClassVar[frozenset[str]] = frozenset({"real", "noise_level"})

    def __post_init__(self) -> None:
        check_ladder(self)

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        levels = constant(ladder(self.sigma_max, self.sigma_min, self.n_levels), x)
        sigma = levels[rng.integers("level", self.n_levels, x.shape[x.ndim - 1 - model.event_ndim])]
        noise = rng.normal_like("noise", x)
        return {"noised": x + expand(sigma, x) * noise, "noise": noise, "noise_level": sigma}, carry, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        score = model.score(params, aux["noised"], aux["noise_level"], create_graph=True)
        error = expand(aux["noise_level"], x) * score + aux["noise"]
        return 0.5 * model.inner(error, error), {}

    def trained(self, model: Model) -> Model:
        return AtNoiseLevel(model, ladder(self.sigma_max, self.sigma_min, self.n_levels))


def check_ladder(objective: Any) -> None:
    """Raise an error unless sigma_min < sigma_max."""
    if objective.n_levels > 1 and objective.sigma_min >= objective.sigma_max:
        raise bad(
            f"objective.sigma_min: {objective.sigma_min} is not less than sigma_max, {objective.sigma_max}",
            "objective.sigma_min=0.05",
        )


def ladder(sigma_max: float, sigma_min: float, n_levels: int) -> tuple[float, ...]:
    """Geometrically spaced noise levels in descending order; a single level is `sigma_min`."""
    if n_levels == 1:
        return (sigma_min,)
    return tuple(sigma_max * (sigma_min / sigma_max) ** (i / (n_levels - 1)) for i in range(n_levels))

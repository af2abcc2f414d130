"""Diffusion recovery likelihood. Gao et al. 2021, arXiv:2012.08125.

A ladder of noise: x_0 the datum, x_{t+1} = x_t + sigma_t z. Each level's energy is trained by maximum likelihood of the conditional law

    p(x_t | x_{t+1}) ~ exp(-E(x_t, t) - |x_{t+1} - x_t|^2 / (2 sigma_t^2)):        E(x_t, t) - E(y, t)

y: `n_steps` transitions from x_{t+1} under that law, in units of sigma_t. It has one mode where the marginal law has many, so that short
chains do. At the optimum E(., t) is the energy of the marginal law of x_t; what is measured is E(., 0), that of the data. The network is
told the standard deviation of the noise in x_t, of x_0 half of that in x_1.
Cost per sample and step: two energies and `n_steps` (with MALA + 1) scores. Not for those who need the exact likelihood: it is as far off
as its chains.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.core.model import Model, constant, expand
from ebm_cli.core.rng import Rng
from ebm_cli.core.wrappers import AtNoiseLevel, Tilted
from ebm_cli.errors import bad
from ebm_cli.objectives.contrastive import Contrastive
from ebm_cli.objectives.denoising import check_ladder, ladder
from ebm_cli.types import Count, Info, Params, Positive


@dataclass(frozen=True)
class RecoveryLikelihood(Contrastive):
    """`n_levels` steps of noise, the standard deviation of all up to one growing geometrically from `sigma_min` to `sigma_max`.

    `step_size` is the chains', which move in units of the level's sigma_t, in place of the sampler's own.
    """

    step_size: Positive
    sigma_max: Positive
    sigma_min: Positive
    n_levels: Count
    requires: ClassVar[frozenset[str]] = frozenset({"energy", "noise_level"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ladder(self)
        if self.sampler.temperature != 1:
            raise bad(
                f"objective=recovery: chains of temperature {self.sampler.temperature:.3g} would temper the noise's law too",
                "sampler=langevin or sampler=mala",
            )

    def init(self, model: Model, x_train: Tensor, rng: Rng) -> tuple[Params, Params]:
        return {}, {"step_size": x_train.new_full(rng.model_shape, self.step_size)}

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        told, steps = (constant(values, x) for values in self._ladder())
        below = torch.cat([told.new_zeros(1), told[1:]])  # of the noise in x_t
        level = rng.integers("level", self.n_levels, x.shape[x.ndim - 1 - model.event_ndim])
        here = x + expand(below[level], x) * rng.normal_like("noise", x)
        tilted, above = Tilted(model), here + expand(steps[level], x) * rng.normal_like("step", x)
        params = params | {"wrapper.centre": above, "wrapper.sigma": steps[level], "wrapper.noise_level": told[level]}
        aux, carry, info = self._negatives(tilted, params, carry, torch.zeros_like(x), rng)
        negatives = tilted.place(params, aux["negatives"])
        return {"noised": here, "negatives": negatives, "noise_level": told[level]}, carry, info

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        points = torch.cat([aux["noised"], aux["negatives"]], -1 - model.event_ndim)
        energy = model.energy(params, points, torch.cat([aux["noise_level"]] * 2, -1))
        positive, negative = energy.chunk(2, -1)
        return positive - negative, {"energy": positive, "energy_negatives": negative}

    def trained(self, model: Model) -> Model:
        return AtNoiseLevel(super().trained(model), tuple(reversed(self._ladder()[0])), residual=0.0)

    def _ladder(self) -> tuple[list[float], list[float]]:
        """What the network is told at each level, and the standard deviation of the noise that leads to the next."""
        above = ladder(self.sigma_max, self.sigma_min, self.n_levels)[::-1]  # of the noise in x_1, x_2, ...
        steps = [above[0], *(sqrt(high**2 - low**2) for low, high in pairwise(above))]
        return [above[0] / 2, *above[:-1]], steps

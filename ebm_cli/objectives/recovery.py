"""Diffusion recovery likelihood. Gao et al. 2021, arXiv:2012.08125.

Noise is added in steps: x_0 is the data point, x_{t+1} = x_t + sigma_t z. The energy of each level is trained by maximum likelihood of the
conditional distribution

    p(x_t | x_{t+1}) ~ exp(-E(x_t, t) - |x_{t+1} - x_t|^2 / (2 sigma_t^2)):        E(x_t, t) - E(y, t)

y is the state of a chain after `n_steps` transitions from x_{t+1} under that distribution, in units of sigma_t. The conditional
distribution is unimodal where the marginal distribution has many modes, so that short chains suffice. At the optimum E(., t) is the energy
of the marginal distribution of x_t; the model is measured at E(., 0), the energy of the data. The noise level that the network receives is
the standard deviation of the noise in x_t; for x_0 it is half of that in x_1. Cost per sample and step: two energies and `n_steps` scores
(one more with MALA). The likelihood is only as accurate as the chains.
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
    """`n_levels` noise levels. The standard deviation of the noise in x_1, x_2, ... grows geometrically from `sigma_min` to `sigma_max`.

    `step_size`, in units of the level's sigma_t, replaces the step size of the sampler.
    """

    step_size: Positive
    sigma_max: Positive
    sigma_min: Positive
    n_levels: Count
    requires: ClassVar[frozenset[str]] = frozenset({"real", "energy", "noise_level"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ladder(self)
        if self.sampler.temperature != 1:
            raise bad(
                f"objective=recovery: the temperature of the chains must be 1, and this sampler's is {self.sampler.temperature:.3g}",
                "sampler=langevin or sampler=mala",
            )

    def init(self, model: Model, params: Params, x_train: Tensor, rng: Rng) -> tuple[Params, Params]:
        return {}, {"step_size": x_train.new_full(rng.model_shape, self.step_size)}

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        noise_levels, steps = (constant(values, x) for values in self._ladder())
        below = torch.cat([noise_levels.new_zeros(1), noise_levels[1:]])  # the standard deviation of the noise in x_t
        level = rng.integers("level", self.n_levels, x.shape[x.ndim - 1 - model.event_ndim])
        here = x + expand(below[level], x) * rng.normal_like("noise", x)
        tilted, above = Tilted(model), here + expand(steps[level], x) * rng.normal_like("step", x)
        params = params | {"wrapper.center": above, "wrapper.sigma": steps[level], "wrapper.noise_level": noise_levels[level]}
        aux, carry, info = self._negatives(tilted, params, carry, torch.zeros_like(x), rng)
        negatives = tilted.place(params, aux["negatives"])
        return {"noised": here, "negatives": negatives, "noise_level": noise_levels[level]}, carry, info

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        points = torch.cat([aux["noised"], aux["negatives"]], -1 - model.event_ndim)
        energy = model.energy(params, points, torch.cat([aux["noise_level"]] * 2, -1))
        positive, negative = energy.chunk(2, -1)
        return positive - negative, {"energy": positive, "energy_negatives": negative}

    def trained(self, model: Model) -> Model:
        return AtNoiseLevel(super().trained(model), tuple(reversed(self._ladder()[0])), residual=0.0)

    def _ladder(self) -> tuple[list[float], list[float]]:
        """The noise level that the network receives at each level, and the standard deviation of the noise that leads to the next."""
        above = ladder(self.sigma_max, self.sigma_min, self.n_levels)[::-1]  # the standard deviations of the noise in x_1, x_2, ...
        steps = [above[0], *(sqrt(high**2 - low**2) for low, high in pairwise(above))]
        return [above[0] / 2, *above[:-1]], steps

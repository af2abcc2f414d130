"""What the tests of the metrics share: a density of any mean and covariance, and one trained model with its tensors as they are."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch.distributions import MultivariateNormal

from ebm_cli.core.densities import Density
from ebm_cli.core.metric_context import MetricContext
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization


@dataclass(frozen=True)
class Normal(Density):
    """N(mean, covariance), which is also the law of y = u * scale + shift in data units."""

    mean: tuple
    covariance: tuple
    scale: float = 1.0
    reach: float = 8.0

    @property
    def law(self):
        return MultivariateNormal(torch.tensor(self.mean), torch.tensor(self.covariance))

    @property
    def shape(self):
        return (len(self.mean),)

    @property
    def box(self):
        return [
            (m - self.reach * c[i] ** 0.5, m + self.reach * c[i] ** 0.5)
            for i, (m, c) in enumerate(zip(self.mean, self.covariance, strict=True))
        ]

    @property
    def length_scale(self):
        return torch.linalg.eigvalsh(self.law.covariance_matrix)[0].item() ** 0.5

    @cached_property
    def standardization(self):
        return Standardization(torch.full(self.shape, 4.0), torch.full(self.shape, self.scale))

    def draw(self, n, rng):
        return self.law.mean + rng.normal("z", n, *self.shape) @ self.law.scale_tril.T

    def log_prob(self, x):
        return self.law.log_prob(x.double())


def context_of(module, dataset, samples=None, *, seed=0, final=True):
    params = {name: value.detach() for name, value in tensors(module).items()}
    return MetricContext(Model(module, event_ndim=len(dataset.shape), stacked=False), params, dataset, Rng(seed), samples, final)

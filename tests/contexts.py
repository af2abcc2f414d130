"""Helpers for the tests of metrics: a Gaussian dataset with any mean and covariance, and the context of one model."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch.distributions import MultivariateNormal

from ebm_cli.config import compatibility
from ebm_cli.core.densities import Density
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.metric import MetricContext
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.references.gaussian import Gaussian
from ebm_cli.training.trainer import N_FIT


@dataclass(frozen=True)
class Normal(Density):
    """N(mean, covariance), as the distribution of y = u * scale + shift in data units."""

    mean: tuple
    covariance: tuple
    scale: float = 1.0
    reach: float = 8.0

    @property
    def distribution(self):
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
        return torch.linalg.eigvalsh(self.distribution.covariance_matrix)[0].item() ** 0.5

    @cached_property
    def standardization(self):
        return Standardization(torch.full(self.shape, 4.0), torch.full(self.shape, self.scale))

    def draw(self, n, rng):
        return self.distribution.mean + rng.normal("z", n, *self.shape) @ self.distribution.scale_tril.T

    def log_prob(self, x):
        return self.distribution.log_prob(x.double())


def context_of(module, dataset, samples=None, *, seed=0, final=True, reference=None, **more):
    """The context of a metric at the end of a run with this seed. The reference is fitted to the same points as in training."""
    params, rng = {name: value.detach() for name, value in tensors(module).items()}, Rng(seed)
    x = dataset.split("train", N_FIT, rng).x
    fitted = FittedReference.fit(reference or Gaussian(), x, dataset.shape, rng.at("reference"))
    model = Model(module, event_ndim=len(dataset.shape), stacked=False, space=dataset.space)
    return MetricContext(model, params, dataset, rng, samples, final, reference=fitted, **more)


def reason(metric, context):
    """The reason why a metric does not apply to this context; None if it applies."""
    return compatibility.lacking(metric.requires, context.model.provides | context.dataset.provides)

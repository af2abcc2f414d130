"""The default reference with given moments, by which the networks of tests are tilted."""

from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.rng import Rng
from ebm_cli.references.gaussian import Gaussian


def gaussian(mean, scale):
    """The Gaussian with independent coordinates and the given moments, (*d)."""
    return FittedReference(Gaussian(), {"mean": mean.flatten(), "scale": scale.flatten()}, tuple(mean.shape))


def reference(x, model):
    """The tensors of the default reference fitted to x, (*m, N, *d), as in the `params` of a model."""
    return FittedReference.fit(Gaussian(), x, x.shape[x.ndim - model.event_ndim :], Rng(0)).named

"""Fitted references: events of any shape, for one model and for a stack. Seeded."""

import pytest
import torch
from targets import Coupled
from torch import distributions

from ebm_cli.core.fitted_reference import FittedReference, ReferenceTensors
from ebm_cli.core.model import tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import event_scale
from ebm_cli.references.gaussian import Gaussian
from ebm_cli.references.mixture import Mixture

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_draws_have_the_moments_of_the_data(shape):
    """Draws follow N(mean, scale^2) of the training data of each model, within 5 standard errors."""
    mean, scale = torch.tensor([[1.0, -2.0], [0.0, 5.0]]).view(2, *shape), torch.tensor([[0.5, 3.0], [1.0, 0.1]]).view(2, *shape)
    n, data = 10_000, mean.unsqueeze(1) + scale.unsqueeze(1) * torch.tensor([-1.0, 1.0]).view(2, *(1 for _ in shape))
    fitted = FittedReference.fit(Gaussian(), data, shape, Rng((3, 4)))
    scale = scale * 2**0.5  # the standard deviation of two points, with Bessel's correction
    if len(shape) > 1:  # the entries of an array share one scale
        scale = scale.square().mean((1, 2), keepdim=True).sqrt().expand_as(scale)
    x = fitted.draw(n, Rng((3, 4)))
    assert x.shape == (2, n, *shape)
    assert ((x.mean(1) - mean).abs() < 5 * scale / n**0.5).all()
    assert ((x.std(1) / scale - 1).abs() < 5 / (2 * n) ** 0.5).all()
    for m, seed in enumerate((3, 4)):
        alone = FittedReference.fit(Gaussian(), data[m], shape, Rng(seed))
        torch.testing.assert_close(x[m], alone.draw(n, Rng(seed)))
        torch.testing.assert_close(x[m], fitted.select(m).draw(n, Rng(seed)))
    assert not torch.equal(x, fitted.draw(n, Rng((3, 4)), "other"))


@pytest.mark.parametrize("shape", [(4,), (1, 2, 2)])
@pytest.mark.parametrize("stacked", [False, True])
def test_log_prob_is_that_of_the_flattened_events(shape, stacked):
    rng = Rng((0, 1)) if stacked else Rng(0)
    data, x = rng.normal("data", 50, *shape), rng.normal("x", 7, *shape)
    m = len(rng.model_shape)
    fitted = FittedReference.fit(Gaussian(), data, shape, rng)
    normal = distributions.Normal(data.mean(m, keepdim=True), event_scale(data, len(shape)).unsqueeze(m))
    torch.testing.assert_close(fitted.log_prob(x), normal.log_prob(x).flatten(m + 1).sum(-1))


def test_its_tensors_have_the_same_names_in_params_and_as_buffers_of_an_energy():
    """A checkpoint therefore contains them under these names."""
    fitted = FittedReference.fit(Mixture(2, 0.0, None), Rng(0).normal("x", 50, 2), (2,), Rng(0))
    params = {"a": torch.ones(()), **fitted.named}
    assert all(name.startswith("reference.") for name in fitted.named)
    again = FittedReference.of(Mixture(2, 0.0, None), params, (2,))
    assert again.params.keys() == fitted.params.keys()
    x = Rng(1).normal("x", 5, 2)
    assert torch.equal(again.log_prob(x), fitted.log_prob(x))
    module = Coupled()
    module.reference = ReferenceTensors(fitted.params)
    assert tensors(module).keys() == params.keys()
    assert all(torch.equal(value, fitted.params[name]) for name, value in module.reference.params().items())

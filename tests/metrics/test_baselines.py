"""The NLL of the Gaussian and of the reference at held-out points, in closed form."""

import math

import pytest
from contexts import Normal, context_of
from test_importance import Isotropic

from ebm_cli.metrics.baselines import Baselines
from ebm_cli.references.full_gaussian import FullGaussian
from ebm_cli.references.gaussian import Gaussian

COVARIANCE = ((2.0, 1.2), (1.2, 1.0))
OF_TWO = math.log(2 * math.pi * math.e)  # the entropy of two independent standard normal coordinates


@pytest.mark.parametrize(("reference", "determinant"), [(FullGaussian(), 2.0 - 1.44), (Gaussian(), 2.0)])
def test_the_nll_of_both(reference, determinant):
    """Both are fitted to 10,000 draws of a Gaussian: the NLL is its entropy, and for independent coordinates the sum of theirs."""
    context = context_of(Isotropic(2, 1.0), Normal(None, (0.5, -1.0), COVARIANCE, 3.0), reference=reference)
    found = Baselines(100_000)(context)
    in_data_units = OF_TWO + 2 * math.log(3)
    assert found["gaussian_nll"] == pytest.approx(in_data_units + 0.5 * math.log(2.0 - 1.44), abs=0.03)
    assert found["reference_nll"] == pytest.approx(in_data_units + 0.5 * math.log(determinant), abs=0.03)

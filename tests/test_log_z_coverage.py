"""The script that measures how often the intervals of log Z cover."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from ebm_cli.core.rng import Rng

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    sys.path.insert(0, str(SCRIPTS))
    specification = importlib.util.spec_from_file_location("log_z_coverage", SCRIPTS / "log_z_coverage.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["log_z_coverage"] = module  # its dataclasses are looked up there
    specification.loader.exec_module(module)
    sys.path.remove(str(SCRIPTS))
    return module


def test_log_z_of_a_model_is_what_the_script_says(script):
    """By importance sampling from the mixture itself every weight is Z; from a wider Gaussian up to 5 standard errors."""
    mixture = script.model_of(0)
    x = mixture.draw(10, Rng(0), "x")
    normalized = script.KnownMixture(mixture.log_weight.detach(), mixture.mean.detach(), mixture.factor, 0.0)
    torch.testing.assert_close(-mixture(x) + normalized(x), torch.full((10,), mixture.log_z), atol=1e-4, rtol=0)
    wide = torch.distributions.MultivariateNormal(mixture.mean.detach().mean(0), 25 * torch.eye(2))
    z = wide.mean + 5 * Rng(0).normal("wide", 200_000, 2)
    weight = (-normalized(z).detach() - wide.log_prob(z)).double().exp()
    assert abs(weight.mean() - 1) < 5 * weight.std() / 200_000**0.5 < 0.1


@pytest.mark.parametrize("case", [1, 11])
def test_the_estimators_are_near_log_z(script, case):
    """The errors of a case with both kinds of reference; 3 half-widths are 6 standard errors."""
    found = script.measure(case)
    assert found["reference"] == ("fitted" if case == 1 else "perturbed")
    assert found["dim"] == 3
    for name in script.METRICS:
        error, half = found[name]
        assert abs(error) <= 3 * half < 0.5


def test_the_tally_counts_intervals_and_refusals(script):
    cases = [{"dim": 2, "bridge": [0.1, 0.2]}, {"dim": 3, "bridge": [-0.3, 0.2]}, {"dim": 10, "bridge": "no"}, {"dim": 8, "bridge": "no"}]
    found = script.tally(cases, "bridge")
    assert found == {"covered": 1, "intervals": 2, "refused": 2, "refused_low": 1, "half_width": 0.2}
    assert script.fails(found)
    good = {"covered": 90, "intervals": 99, "refused": 1, "refused_low": 0}
    assert not script.fails(good)
    assert script.fails(good | {"covered": 89})
    assert script.fails(good | {"refused": 21})
    assert script.fails(good | {"refused_low": 1})

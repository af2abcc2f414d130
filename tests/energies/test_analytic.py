"""Every energy that is known as it stands: log Z and the place of its mass by quadrature, its score by differences."""

import pytest
import torch
import yaml
from targets import by_differences, log_integral

from ebm_cli.config import compatibility, compose, schema
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.energies.banana import Banana
from ebm_cli.energies.double_well import DoubleWell
from ebm_cli.energies.four_wells import FourWells
from ebm_cli.energies.funnel import Funnel
from ebm_cli.energies.gaussian import Gaussian
from ebm_cli.energies.gaussian_mixture import GaussianMixture
from ebm_cli.energies.rosenbrock import Rosenbrock
from ebm_cli.errors import InputError

pytestmark = pytest.mark.usefixtures("double")

MIXTURE = {"centres": [[-2.0, 0.5], [1.0, 0.0], [0.0, 3.0]], "stds": [0.5, 0.4, 0.8], "weights": [3.0, 2.0, 1.0]}
KNOWN = {
    "gaussian": lambda: Gaussian(mean=[1.0, -2.0], covariance=[[2.0, 0.8], [0.8, 0.7]]),
    "gaussian_mixture": lambda: GaussianMixture(**MIXTURE),
    "four_wells": lambda: FourWells(dim=2, temperature=0.4),
    "four_wells_hot": lambda: FourWells(dim=2, temperature=7.0),
    "double_well": lambda: DoubleWell(dim=2, temperature=0.15),
    "funnel": lambda: Funnel(dim=2, scale=0.8),
    "banana": lambda: Banana(dim=2, scale=1.5, bend=-0.4),
    "rosenbrock": lambda: Rosenbrock(a=-0.7, b=3.0),
}
BOXES = {"funnel": [(-6.0, 6.0), (-90.0, 90.0)]}  # a picture's box leaves out part of the mouth


@pytest.mark.parametrize("name", KNOWN)
def test_log_z_by_quadrature(name):
    energy = KNOWN[name]()
    assert energy.log_z == pytest.approx(log_integral(energy, BOXES.get(name, energy.box), 2401), abs=1e-6)


@pytest.mark.parametrize("name", KNOWN)
def test_score_by_differences(name):
    energy = KNOWN[name]()
    model, params = Model(energy, event_ndim=1, stacked=False), tensors(energy)
    x = energy.mean + energy.scale * Rng(0).normal("x", 7, 2)
    torch.testing.assert_close(model.score(params, x), by_differences(energy, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", KNOWN)
def test_chains_start_where_the_energy_is_not_steep(name):
    """Of 1,000 points of the start none is 30 nats above the lowest: there Metropolis steps would be refused for ever."""
    energy = KNOWN[name]()
    x = energy.mean + energy.scale * Rng(0).normal("x", 1000, 2)
    assert (energy(x) - energy(x).min()).max() < 30
    assert all(low < m < high for m, (low, high) in zip(energy.mean.tolist(), energy.box, strict=True))


def test_gaussian_is_torchs():
    energy = KNOWN["gaussian"]()
    law = torch.distributions.MultivariateNormal(torch.tensor([1.0, -2.0]), torch.tensor([[2.0, 0.8], [0.8, 0.7]]))
    x = Rng(0).normal("x", 6, 2)
    torch.testing.assert_close(-energy(x) - energy.log_z, law.log_prob(x))


def test_gaussian_mixture_is_torchs():
    law = torch.distributions
    parts = law.Independent(law.Normal(torch.tensor(MIXTURE["centres"]), torch.tensor(MIXTURE["stds"]).unsqueeze(-1)), 1)
    expected = law.MixtureSameFamily(law.Categorical(torch.tensor([0.5, 1 / 3, 1 / 6])), parts)
    energy, x = KNOWN["gaussian_mixture"](), 2 * Rng(0).normal("x", 6, 2)
    torch.testing.assert_close(-energy(x), expected.log_prob(x))
    torch.testing.assert_close(energy.mean, expected.mean)
    torch.testing.assert_close(energy.scale, expected.stddev)


def test_wells_by_hand():
    """In three coordinates: log Z from scipy's adaptive rule."""
    from scipy.integrate import quad

    integral = quad(lambda t: torch.tensor(-((t * t - 1) ** 2) / 0.4).exp().item(), -4, 4)[0]
    one = torch.tensor(integral).log().item()
    assert FourWells(dim=3, temperature=0.4).log_z == pytest.approx(3 * one, abs=1e-8)
    assert DoubleWell(dim=3, temperature=0.4).log_z == pytest.approx(one + torch.tensor(2 * torch.pi).log().item(), abs=1e-8)
    x = torch.tensor([[1.0, -1.0, 1.0], [0.0, 2.0, -1.0]])
    torch.testing.assert_close(FourWells(dim=3, temperature=0.4)(x), torch.tensor([0.0, (1 + 9) / 0.4]))
    torch.testing.assert_close(DoubleWell(dim=3, temperature=0.4)(x), torch.tensor([1.0, 1 / 0.4 + 2.5]))


def test_funnel_is_its_construction():
    x = Rng(0).normal("x", 6, 4)
    law = torch.distributions.Normal
    expected = law(0, 2.0).log_prob(x[:, 0]) + law(0, (0.5 * x[:, :1]).exp()).log_prob(x[:, 1:]).sum(-1)
    energy = Funnel(dim=4, scale=2.0)
    torch.testing.assert_close(-energy(x) - energy.log_z, expected)


def test_banana_is_its_construction():
    x = Rng(0).normal("x", 6, 4)
    law = torch.distributions.Normal
    expected = law(0, 1.5).log_prob(x[:, 0]) + law(0.4 * (x[:, 0] ** 2 - 2.25), 1).log_prob(x[:, 1]) + law(0, 1).log_prob(x[:, 2:]).sum(-1)
    energy = Banana(dim=4, scale=1.5, bend=0.4)
    torch.testing.assert_close(-energy(x) - energy.log_z, expected)


def test_rosenbrock_by_hand():
    energy = Rosenbrock(a=2.0, b=3.0)
    torch.testing.assert_close(energy(torch.tensor([[2.0, 4.0], [1.0, 3.0]])), torch.tensor([0.0, 1 + 3 * 4.0]))


def test_exact_is_the_datasets_density():
    moons = {"_target_": "ebm_cli.datasets.moons.Moons", "noise": 0.2, "scale": 1.5, "n_train": None}
    energy = schema.build({"_target_": "ebm_cli.energies.exact.Exact", "dataset": moons})
    data = schema.build(moons)
    x = data.draw(8, Rng(0))
    torch.testing.assert_close(-energy(x), data.log_prob(x))
    assert energy.log_z == 0.0
    assert log_integral(energy, energy.box, 301) == pytest.approx(0.0, abs=1e-6)
    assert energy.shape == (2,)


def test_exact_has_nothing_to_say_of_a_table():
    table = {"path": "x.csv", "columns": None, "validation": 0.1, "test": 0.1, "split_seed": 0, "n_components": None}
    with pytest.raises(InputError, match="density is known"):
        schema.build({"_target_": "ebm_cli.energies.exact.Exact", "dataset": {"_target_": "ebm_cli.datasets.table.TableDataset", **table}})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Gaussian(mean=[0.0, 0.0], covariance=[[1.0, 2.0], [2.0, 1.0]]), "positive definite"),
        (lambda: Gaussian(mean=[0.0, 0.0], covariance=[[1.0, 0.2], [0.3, 1.0]]), "symmetric"),
        (lambda: Gaussian(mean=[0.0], covariance=[[1.0, 0.0], [0.0, 1.0]]), "1 rows of 1"),
        (lambda: GaussianMixture(centres=[[0.0], [1.0]], stds=[1.0], weights=[1.0, 1.0]), "energy.centres"),
        (lambda: GaussianMixture(centres=[[0.0], [1.0, 2.0]], stds=[1.0, 1.0], weights=[1.0, 1.0]), "energy.centres"),
        (lambda: Funnel(dim=1, scale=1.0), "at least 2"),
        (lambda: Banana(dim=1, scale=1.0, bend=1.0), "at least 2"),
    ],
)
def test_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


def test_every_known_energy_is_here():
    options = {
        option for option, one in compose.groups()["energy"].items() if not compatibility.trainable(yaml.safe_load(one.path.read_text()))
    }
    assert options == {*KNOWN, "exact", "compose"} - {"four_wells_hot"}

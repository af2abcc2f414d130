"""Analytic energies: log Z and the location of the mass by quadrature, scores by finite differences."""

import pytest
import torch
from densities import option
from targets import by_differences, log_integral

from ebm_cli.config import compatibility, compose, option_files, schema
from ebm_cli.core import contracts
from ebm_cli.core.densities import Density
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.energies.double_well import DoubleWell
from ebm_cli.energies.exact import Exact
from ebm_cli.energies.four_wells import FourWells
from ebm_cli.energies.gaussian import Gaussian
from ebm_cli.energies.rosenbrock import Rosenbrock
from ebm_cli.errors import InputError

pytestmark = pytest.mark.usefixtures("double")

MIXTURE = {"centres": [[-2.0, 0.5], [1.0, 0.0], [0.0, 3.0]], "std": [0.5, 0.4, 0.8], "weights": [3.0, 2.0, 1.0]}
DENSITIES = ("banana", "funnel", "gaussian_mixture")  # energies with the density of the dataset of the same name


def exact(dataset, **changes):
    """The exact density of conf/dataset/DATASET.yaml, with changed values, as an energy."""
    return Exact(dataset=option(dataset, **changes))


KNOWN = {
    "gaussian": lambda: Gaussian(mean=[1.0, -2.0], covariance=[[2.0, 0.8], [0.8, 0.7]]),
    "gaussian_mixture": lambda: exact("gaussian_mixture", **MIXTURE),
    "four_wells": lambda: FourWells(dim=2, temperature=0.4),
    "four_wells_hot": lambda: FourWells(dim=2, temperature=7.0),
    "double_well": lambda: DoubleWell(dim=2, temperature=0.15),
    "funnel": lambda: exact("funnel", dim=2, scale=0.8),
    "banana": lambda: exact("banana", dim=2, scale=1.5, bend=0.4),
    "rosenbrock": lambda: Rosenbrock(a=-0.7, b=3.0),
}


@pytest.mark.parametrize("name", KNOWN)
def test_log_z_by_quadrature(name):
    energy = KNOWN[name]()
    assert energy.log_z == pytest.approx(log_integral(energy, energy.box, 2401), abs=1e-6)


@pytest.mark.parametrize("name", KNOWN)
def test_score_by_differences(name):
    energy = KNOWN[name]()
    model, params = Model(energy, event_ndim=1, stacked=False), tensors(energy)
    x = energy.mean + energy.scale * Rng(0).normal("x", 7, 2)
    torch.testing.assert_close(model.score(params, x), by_differences(energy, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", KNOWN)
def test_chains_start_at_moderate_energies(name):
    """No point of 1,000 starts is 30 nats above the lowest, where Metropolis proposals would always be rejected."""
    energy = KNOWN[name]()
    x = energy.mean + energy.scale * Rng(0).normal("x", 1000, 2)
    assert (energy(x) - energy(x).min()).max() < 30
    assert all(low < m < high for m, (low, high) in zip(energy.mean.tolist(), energy.box, strict=True))


def test_gaussian_is_that_of_torch():
    energy = KNOWN["gaussian"]()
    distribution = torch.distributions.MultivariateNormal(torch.tensor([1.0, -2.0]), torch.tensor([[2.0, 0.8], [0.8, 0.7]]))
    x = Rng(0).normal("x", 6, 2)
    torch.testing.assert_close(-energy(x) - energy.log_z, distribution.log_prob(x))


def mixture_of_torch():
    laws = torch.distributions
    parts = laws.Independent(laws.Normal(torch.tensor(MIXTURE["centres"]), torch.tensor(MIXTURE["std"]).unsqueeze(-1)), 1)
    return laws.MixtureSameFamily(laws.Categorical(torch.tensor([0.5, 1 / 3, 1 / 6])), parts)


def test_gaussian_mixture_is_that_of_torch():
    energy, x = KNOWN["gaussian_mixture"](), 2 * Rng(0).normal("x", 6, 2)
    torch.testing.assert_close(-energy(x), mixture_of_torch().log_prob(x))
    assert energy.log_z == 0.0


def test_chains_on_a_mixture_start_at_its_exact_moments():
    energy, expected = KNOWN["gaussian_mixture"](), mixture_of_torch()
    torch.testing.assert_close(energy.mean, expected.mean)
    torch.testing.assert_close(energy.scale, expected.stddev)


def test_chains_on_another_density_start_at_the_moments_of_its_draws():
    """The moments of 10,000 draws, within 5 standard errors (false alarm 5e-7 each)."""
    data, expected, n = KNOWN["gaussian_mixture"]().dataset, mixture_of_torch(), 10_000
    mean, scale = Density.start.fget(data)
    assert ((mean - expected.mean).abs() < 5 * expected.stddev / n**0.5).all()
    fourth_moment = (data.draw(100_000, Rng(1)) - expected.mean).pow(4).mean(0)
    error = (fourth_moment - expected.variance.square()).sqrt() / (2 * expected.stddev * n**0.5)  # standard error of the standard deviation
    assert ((scale - expected.stddev).abs() < 5 * error).all()


def test_wells_by_hand():
    """In three coordinates, with log Z from the adaptive quadrature of scipy."""
    from scipy.integrate import quad

    integral = quad(lambda t: torch.tensor(-((t * t - 1) ** 2) / 0.4).exp().item(), -4, 4)[0]
    log_z = torch.tensor(integral).log().item()
    assert FourWells(dim=3, temperature=0.4).log_z == pytest.approx(3 * log_z, abs=1e-8)
    assert DoubleWell(dim=3, temperature=0.4).log_z == pytest.approx(log_z + torch.tensor(2 * torch.pi).log().item(), abs=1e-8)
    x = torch.tensor([[1.0, -1.0, 1.0], [0.0, 2.0, -1.0]])
    torch.testing.assert_close(FourWells(dim=3, temperature=0.4)(x), torch.tensor([0.0, (1 + 9) / 0.4]))
    torch.testing.assert_close(DoubleWell(dim=3, temperature=0.4)(x), torch.tensor([1.0, 1 / 0.4 + 2.5]))


def test_funnel_is_its_construction():
    x = Rng(0).normal("x", 6, 4)
    normal = torch.distributions.Normal
    expected = normal(0, 2.0).log_prob(x[:, 0]) + normal(0, (0.5 * x[:, :1]).exp()).log_prob(x[:, 1:]).sum(-1)
    energy = exact("funnel", dim=4, scale=2.0)
    torch.testing.assert_close(-energy(x) - energy.log_z, expected)


def test_banana_is_its_construction():
    x = Rng(0).normal("x", 6, 4)
    normal = torch.distributions.Normal
    expected = (
        normal(0, 1.5).log_prob(x[:, 0])
        + normal(0.4 * (x[:, 0] ** 2 - 2.25), 1).log_prob(x[:, 1])
        + normal(0, 1).log_prob(x[:, 2:]).sum(-1)
    )
    energy = exact("banana", dim=4, scale=1.5, bend=0.4)
    torch.testing.assert_close(-energy(x) - energy.log_z, expected)


def test_rosenbrock_by_hand():
    energy = Rosenbrock(a=2.0, b=3.0)
    torch.testing.assert_close(energy(torch.tensor([[2.0, 4.0], [1.0, 3.0]])), torch.tensor([0.0, 1 + 3 * 4.0]))


def test_exact_is_the_density_of_the_dataset():
    moons = {"_target_": "ebm_cli.datasets.moons.Moons", "noise": 0.2, "scale": 1.5, "n_train": None}
    energy = schema.build({"_target_": "ebm_cli.energies.exact.Exact", "dataset": moons})
    data = schema.build(moons)
    x = data.draw(8, Rng(0))
    torch.testing.assert_close(-energy(x), data.log_prob(x))
    assert energy.log_z == 0.0
    assert log_integral(energy, energy.box, 301) == pytest.approx(0.0, abs=1e-6)
    assert energy.shape == (2,)


@pytest.mark.parametrize("name", DENSITIES)
def test_an_energy_with_the_name_of_a_dataset_is_its_density(name):
    """It does not depend on the `dataset` of the command; keys under energy.dataset change it."""
    node = compose.compose([f"energy={name}", "dataset=moons", "energy.dataset.scale=0.7"]).config["energy"]
    energy, data = schema.build(node), option(name, scale=0.7)
    assert energy.dataset == data
    x = data.draw(6, Rng(0))
    assert torch.equal(energy(x), -data.log_prob(x))
    torch.testing.assert_close(energy.mean, data.start[0].double())
    torch.testing.assert_close(energy.scale, data.start[1].double())
    assert (energy.box, energy.frame, energy.length_scale, energy.log_z) == (list(data.box), list(data.frame), data.length_scale, 0.0)


def test_exact_refuses_a_table():
    table = option_files.node_of(option_files.conf_dir() / "dataset" / "table.yaml") | {"path": "x.csv"}
    with pytest.raises(InputError, match="the density of this dataset is not known"):
        schema.build({"_target_": "ebm_cli.energies.exact.Exact", "dataset": table})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Gaussian(mean=[0.0, 0.0], covariance=[[1.0, 2.0], [2.0, 1.0]]), "positive definite"),
        (lambda: Gaussian(mean=[0.0, 0.0], covariance=[[1.0, 0.2], [0.3, 1.0]]), "symmetric"),
        (lambda: Gaussian(mean=[0.0], covariance=[[1.0, 0.0], [0.0, 1.0]]), "must be 1 x 1"),
        (lambda: exact("gaussian_mixture", centres=[[0.0], [1.0]], std=[1.0], weights=[1.0, 1.0]), r"dataset\.std: 1 values for 2"),
        (lambda: exact("gaussian_mixture", centres=[[0.0], [1.0, 2.0]], std=[1.0, 1.0], weights=[1.0, 1.0]), r"dataset\.centres"),
    ],
)
def test_invalid_settings_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


@pytest.mark.parametrize("name", ["funnel", "banana"])
def test_one_coordinate_is_refused(name):
    problems = []
    node = compose.compose([f"energy={name}", "energy.dataset.dim=1"]).config["energy"]
    schema.check_node(node, "energy", contracts.Energy, problems)
    assert [problem.message for problem in problems] == ["energy.dataset.dim: must be greater than or equal to 2, not 1"]


def test_every_analytic_energy_is_here():
    nodes = {name: option_files.node_of(found.path) for name, found in option_files.groups()["energy"].items()}
    analytic = {name: node for name, node in nodes.items() if compatibility.analytic(node)}
    assert analytic.keys() == {*KNOWN, "exact", "compose"} - {"four_wells_hot"}
    assert {name for name, node in analytic.items() if node["_target_"] == "ebm_cli.energies.exact.Exact"} == {*DENSITIES, "exact"}

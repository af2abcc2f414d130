"""Quadrature, compared with Gaussians in closed form, and its reasons for missing numbers."""

import math
from dataclasses import replace
from pathlib import Path

import densities
import numpy as np
import pytest
import torch
from contexts import Normal, context_of, reason
from scipy.integrate import quad
from scipy.stats import norm
from standard import gaussian
from tables import table
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from ebm_cli.core.rng import Rng
from ebm_cli.datasets.moons import Moons
from ebm_cli.energies.mlp import MLP
from ebm_cli.energies.score_mlp import ScoreMLP
from ebm_cli.metrics import quadrature
from ebm_cli.metrics.quadrature import Quadrature

pytestmark = pytest.mark.usefixtures("double")

WIDE, NARROW = ((1.7, -0.9), (-0.9, 1.1)), ((0.5, 0.1), (0.1, 0.3))  # covariances
ROUND, SLANTED = ((1.0, 0.3, 0.0), (0.3, 0.8, 0.0), (0.0, 0.0, 0.7)), ((1.3, 0.0, 0.2), (0.0, 0.9, 0.0), (0.2, 0.0, 1.1))
QUADRATURE = Quadrature(tolerance=0.01, margin=1.5)


class Gaussian(nn.Module):
    """E(x) = (x - b)'A(x - b) / 2 + c."""

    def __init__(self, covariance, b, c=0.0):
        super().__init__()
        self.precision = nn.Parameter(torch.linalg.inv(torch.tensor(covariance)))
        self.b, self.c = nn.Parameter(torch.tensor(b)), nn.Parameter(torch.tensor(c))

    def forward(self, x):
        return 0.5 * (((x - self.b) @ self.precision) * (x - self.b)).sum(-1) + self.c


def measure(module, dataset, *, final=True, using=QUADRATURE):
    return using(context_of(module, dataset, final=final))


def refusals(found):
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize(
    ("data", "model", "mean", "b"),
    [
        (((1.0,),), ((1.7,),), (0.0,), (0.6,)),
        (((0.4,),), ((0.3,),), (-2.0,), (-2.1,)),
        (NARROW, WIDE, (0.5, -0.3), (0.0, 0.4)),
        (
            ((1.0, 0.3, 0.0), (0.3, 0.8, 0.0), (0.0, 0.0, 0.7)),
            ((1.3, 0.0, 0.2), (0.0, 0.9, 0.0), (0.2, 0.0, 1.1)),
            (0.5, 0.0, -0.3),
            (0.0, 0.4, 0.1),
        ),
    ],
)
def test_gaussian_against_gaussian(data, model, mean, b, scale, final):
    """KL does not depend on units; entropy, NLL and log Z in data units are larger by sum log scale."""
    dataset, d, shift = Normal(None, mean, data, scale), len(mean), len(mean) * math.log(scale)
    found = measure(Gaussian(model, b, c=0.8), dataset, final=final)
    q = MultivariateNormal(torch.tensor(b), torch.tensor(model))
    log_z = 0.5 * d * math.log(2 * math.pi) + 0.5 * torch.logdet(torch.tensor(model)).item() - 0.8
    kl, entropy = kl_divergence(dataset.distribution, q).item(), dataset.distribution.entropy().item()
    assert found["log_z"] == pytest.approx(log_z + shift, abs=1e-7)
    assert found["kl"] == pytest.approx(kl, abs=1e-7)
    assert found["entropy"] == pytest.approx(entropy + shift, abs=1e-7)
    assert found["nll"] == pytest.approx(kl + entropy + shift, abs=1e-7)
    assert found["edge_mass"] < 1e-6


def test_nll_is_the_mean_over_data_in_data_units():
    """They agree within 5 standard errors: one false alarm in 2e6. Seeded."""
    dataset, module = Normal(None, (0.5, -0.3), NARROW, 2.5), Gaussian(WIDE, (0.0, 0.4), c=0.8)
    u = dataset.draw(20_000, Rng(0))
    q = MultivariateNormal(torch.tensor((0.0, 0.4)) * 2.5 + 4.0, 2.5**2 * torch.tensor(WIDE))
    nll = -q.log_prob(dataset.standardization.to_data(u))
    assert abs(nll.mean() - measure(module, dataset)["nll"]) < 5 * nll.std() / 20_000**0.5


@pytest.mark.parametrize("d", [1, 2])
def test_edge_mass_is_the_mass_in_the_outer_twentieth(d, monkeypatch):
    """The box is [-3, 3]^d: `edge_mass` is the mass of the truncated standard Gaussian beyond 0.95 * 3, up to half a cell of the grid."""
    monkeypatch.setattr(quadrature, "FIRST", 2**20)
    dataset = Normal(None, (0.0,) * d, tuple(tuple(4e-4 * (i == j) for j in range(d)) for i in range(d)), reach=100.0)
    found = measure(Gaussian(torch.eye(d).tolist(), (0.0,) * d), dataset, final=False)
    inner = (norm.cdf(2.85) - norm.cdf(-2.85)) / (norm.cdf(3) - norm.cdf(-3))
    half_a_cell = 2 * d * 0.005 * norm.pdf(2.85)
    assert found["edge_mass"] == pytest.approx(1 - inner**d, abs=half_a_cell)
    assert half_a_cell < 0.2 * (1 - inner**d)


def random_mlp(seed, tilt, d):
    """A rough energy."""
    torch.manual_seed(seed)
    module = MLP(
        (d,),
        torch.zeros(d),
        torch.ones(d),
        gaussian(torch.zeros(d), torch.ones(d)),
        hidden=[8],
        activation="tanh",
        positive="exp",
        tilt=tilt,
    )
    with torch.no_grad():
        for value in module.network.parameters():
            value *= 5
    return module


@pytest.mark.parametrize("d", [1, 2])
def test_volume_of_the_box(d):
    """The trapezoid rule is exact for a constant, with half a cell at each end of the box."""
    box = ((-1.0, 2.0), (0.5, 1.75))[:d]
    volume = quadrature.grid(box, 0.25)[1].logsumexp(0).item()
    assert volume == pytest.approx(math.log(3.0) + (d == 2) * math.log(1.25), abs=1e-12)


def test_log_z_error_bounds_the_error():
    """For 96 % of at least 50 rough energies with tails beyond the box, half of them in the plane, the error of log Z is below the reported
    error. The same holds for KL."""
    bounded, kl_bounded, reported = 0, 0, []
    for seed in range(60):
        d, (reach, n) = 1 + seed % 2, ((60, 240_001), (14, 1201))[seed % 2]
        module, axis = random_mlp(seed, tilt=0.5, d=d), torch.linspace(-reach, reach, n)
        x = torch.cartesian_prod(*[axis] * d).view(-1, d)
        with torch.no_grad():
            energy = torch.cat([module(part) for part in x.split(100_000)])
        truth = torch.logsumexp(-energy, 0).item() + d * math.log(2 * reach / (n - 1))
        identity = tuple(tuple(float(i == j) for j in range(d)) for i in range(d))
        data = Normal(None, (0.0,) * d, identity, reach=6.0)
        kl = ((data.log_prob(x) + energy) * data.log_prob(x).exp()).sum().item() * (2 * reach / (n - 1)) ** d + truth
        found = measure(module, replace(data, reach=3.0), using=Quadrature(tolerance=0.05, margin=1.5))
        if isinstance(found, str):  # rougher than the finest grid: a reason, not a wrong number
            assert "doubling" in found
            continue
        assert found["log_z_error"] <= 0.05
        bounded += abs(found["log_z"] - truth) <= found["log_z_error"]
        kl_bounded += isinstance(found["kl"], str) or abs(found["kl"] - kl) <= found["kl_error"]
        reported.append(found["log_z_error"])
    assert len(reported) >= 50
    assert bounded >= 0.96 * len(reported)
    assert kl_bounded >= 0.96 * len(reported)
    assert np.median(reported) > 1e-4  # well above rounding errors, so that the test is meaningful


def test_the_resolution_is_doubled_until_the_energy_is_resolved():
    """A model 40 times narrower than the data."""
    found = measure(Gaussian(((1 / 1600,),), (0.003,)), Normal(None, (0.0,), ((1.0,),)))
    assert found["log_z"] == pytest.approx(0.5 * math.log(2 * math.pi / 1600), abs=1e-3)
    assert abs(found["log_z"] - 0.5 * math.log(2 * math.pi / 1600)) <= found["log_z_error"]


def unbounded(slope):
    """E(x) = -slope sum_i |x_i|, nearly, from a perceptron without a tilt."""
    module = MLP(
        (2,),
        torch.zeros(2),
        torch.ones(2),
        gaussian(torch.zeros(2), torch.ones(2)),
        hidden=[4],
        activation="softplus",
        positive="exp",
        tilt=0.0,
    )
    with torch.no_grad():
        for value in module.network.parameters():
            value.zero_()
        module.network[0].weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
        module.network[2].weight.fill_(-slope)
    return module


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("module", [unbounded(0.0), unbounded(3.0), Gaussian(((1.0, 0.0), (0.0, -9.0)), (0.0, 0.0))])
def test_an_energy_that_is_not_normalizable_gives_the_reason_and_no_number(module, final):
    refusal = refusals(measure(module, Moons(n_train=None, noise=0.2, scale=2.0), final=final))
    assert "doubling the box changes log Z by" in refusal
    assert "normalizable" in refusal


@pytest.mark.parametrize("margin", [1.5, 1.37])
@pytest.mark.parametrize("final", [True, False])
def test_the_checkerboard_and_a_gaussian(margin, final):
    """Both coordinates are uniform on [-4, 4]: KL = (16/3 trace(A) + b'A b) / 2 + log Z - log 32 with precision A, for every margin."""
    module = Gaussian(((1.0, 0.0), (0.0, 0.6)), (0.6, 0.5), c=0.8)
    found = measure(module, densities.option("checkerboard"), final=final, using=Quadrature(tolerance=0.01, margin=margin))
    log_z = math.log(2 * math.pi) + 0.5 * math.log(0.6) - 0.8
    kl = (16 / 3 * (1 + 1 / 0.6) + 0.36 + 0.25 / 0.6) / 2 + 0.8 + log_z - math.log(32)
    assert found["log_z"] == pytest.approx(log_z, abs=1e-4)
    assert found["kl"] == pytest.approx(kl, abs=1e-3)
    assert found["entropy"] == pytest.approx(math.log(32), abs=1e-9)


class Ridge(nn.Module):
    """E(x) = |x|^2 / 2 + height exp(-(x_0 - 2)^2 / width^2), along an edge of the checkerboard's squares."""

    def __init__(self, height, width):
        super().__init__()
        self.height, self.width = nn.Parameter(torch.tensor(height)), width

    def forward(self, x):
        return 0.5 * x.square().sum(-1) + self.height * (-((x[:, 0] - 2) / self.width).square()).exp()

    def kl(self):
        """KL, with x_0 uniform on [-4, 4], where the mean of the ridge is height width sqrt(pi) / 8. log Z is from adaptive quadrature."""
        height = self.height.item()
        z, _ = quad(
            lambda x: math.exp(-0.5 * x**2 - height * math.exp(-(((x - 2) / self.width) ** 2))), -12, 12, points=[1.9, 2, 2.1], limit=200
        )
        return 16 / 3 + height * self.width * math.pi**0.5 / 8 + math.log(z) + 0.5 * math.log(2 * math.pi) - math.log(32)


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("height", [-1.0, 5.0, 20.0])
def test_an_energy_that_is_steep_at_a_jump_of_the_density(height, final):
    """The ridge has a fifth of the width of the first grid's spacing."""
    module = Ridge(height, 0.01)
    found = measure(module, densities.option("checkerboard"), final=final)
    assert abs(found["kl"] - module.kl()) < (2e-4 if final else 1e-3)
    assert abs(found["kl"] - module.kl()) <= found["kl_error"]
    assert found["kl_error"] < (1e-3 if final else 1e-2)


def test_there_is_no_kl_if_no_grid_resolves_the_energy_at_the_data(monkeypatch):
    """The model has little mass on the ridge, which therefore hardly changes log Z."""
    monkeypatch.setattr(quadrature, "MOST", 2**16)
    found = measure(Ridge(5000.0, 0.004), densities.option("checkerboard"))
    assert found["kl"] == found["kl_error"] == found["nll"]
    assert "changes the mean energy of the data by" in found["kl"]
    assert found["log_z_error"] < 0.01
    assert found["entropy"] == pytest.approx(math.log(32), abs=1e-9)


def test_each_cell_contains_one_point_and_its_width_is_the_weight():
    """Gauss-Legendre with one point per 0.3 is exact for polynomials: int_-1^2 x^5 = 10.5."""
    points, low, high = quadrature.axis_of((-1.0, 0.3, 2.0), 0.3)
    assert ((low < points) & (points < high)).all()
    torch.testing.assert_close(low[1:], high[:-1])
    assert (points**5 @ (high - low)).item() == pytest.approx(10.5, abs=1e-12)
    assert len(points) == 5 + 6
    many, low, high = quadrature.axis_of((0.0, 1.0, 2.0), 0.001)
    assert len(many) == 2 * 16 * 63
    assert ((low < many) & (many < high)).all()


ENTROPIES = {  # in nats
    **{"moons": 1.0076, "circles": 3.2681, "rings": 2.6232, "eight_gaussians": 2.8319, "twentyfive_gaussians": 2.1450},
    **{"swissroll": 2.6696, "two_spirals": 2.6455, "pinwheel": 2.3178, "checkerboard": 3.4657},
    **{"banana": math.log(2 * math.pi * math.e) + math.log(2), "student_t": 3.2379},
}


@pytest.mark.parametrize("name", ENTROPIES)
def test_the_entropy_of_every_density_in_the_plane(name, monkeypatch):
    """It is computed on the first grid, or a finer grid for long tails. The mean energy of a Gaussian on the grid is that over draws (5
    standard errors)."""
    monkeypatch.setattr(quadrature, "FIRST", {"two_spirals": 2**15, "student_t": 2**19}.get(name, 2**17))
    dataset, module = densities.option(name), Gaussian(((0.4, 0.05), (0.05, 0.3)), (0.3, -0.4))
    found = measure(module, dataset, final=False)
    assert found["entropy"] == pytest.approx(ENTROPIES[name], abs=6e-5)
    energy = module(dataset.draw(40_000, Rng(0)).double()).detach()
    assert abs(energy.mean() - (found["nll"] - found["log_z"])) < 5 * energy.std() / 200


@pytest.mark.parametrize("d", [1, 2])
def test_no_cell_contains_a_jump(d):
    """For every width of the box and size of the cells, the volumes add up, and every cell lies within one piece."""
    box = quadrature.widen(((-1.0, 0.3, 2.0), (0.5, 1.0, 1.75))[:d], 1.7)
    points, log_volume = quadrature.grid(box, 0.11)
    assert log_volume.exp().sum() == pytest.approx(math.prod(axis[-1] - axis[0] for axis in box), abs=1e-12)
    below = points[:, 0] < 0.3
    assert log_volume.exp()[below].sum() == pytest.approx((0.3 - box[0][0]) * (1.25 * 1.7) ** (d - 1), abs=1e-12)
    assert [axis[1:-1] for axis in box] == [(0.3,), (1.0,)][:d]


class Step(nn.Module):
    """An energy with a jump at 0.123, for which the error of the trapezoid rule is proportional to the spacing."""

    def __init__(self):
        super().__init__()
        self.height = nn.Parameter(torch.tensor(5.0))

    def forward(self, x):
        return 0.5 * x[:, 0].square() + self.height * (x[:, 0] > 0.123)


def test_an_energy_that_no_grid_resolves_gives_the_reason(monkeypatch):
    monkeypatch.setattr(quadrature, "MOST", 2**14)
    refusal = refusals(measure(Step(), Normal(None, (0.0,), ((1.0,),)), using=Quadrature(tolerance=1e-9, margin=1.5)))
    assert "doubling the resolution changes log Z by" in refusal


def test_an_energy_that_some_grid_resolves_gives_a_number():
    """log Z is the log of the mass left of the jump plus e^-5 times the mass right of it."""
    found = measure(Step(), Normal(None, (0.0,), ((1.0,),)))
    truth = math.log(norm.cdf(0.123) + math.exp(-5) * norm.sf(0.123)) + 0.5 * math.log(2 * math.pi)
    assert abs(found["log_z"] - truth) < 0.01


def test_the_reasons_why_quadrature_does_not_apply():
    Path("four.csv").write_text("a,b,c,d\n" + "".join(f"{i},{i * i},{i % 7},{i % 3}\n" for i in range(40)))
    four = table("four.csv")
    module = MLP(
        (4,),
        torch.zeros(4),
        torch.ones(4),
        gaussian(torch.zeros(4), torch.ones(4)),
        hidden=[4],
        activation="tanh",
        positive="exp",
        tilt=1.0,
    )
    assert "at most 3 coordinates; the events have 4" in refusals(measure(module, four))
    score = ScoreMLP((2,), torch.zeros(2), torch.ones(2), gaussian(torch.zeros(2), torch.ones(2)), hidden=[4], activation="tanh", tilt=1.0)
    assert "no energy" in reason(QUADRATURE, context_of(score, Moons(n_train=None, noise=0.2, scale=2.0)))


@pytest.mark.parametrize("final", [True, False])
def test_a_table_is_measured_on_test_rows_at_the_end_and_on_validation_rows_before(final):
    """In data units the model is N(mean + b scale, A scale^2), which has a closed form."""
    rows = np.random.default_rng(0).standard_normal((300, 2)) * [30.0, 0.2] + [5.0, 1.0]
    np.savetxt("table.csv", rows, delimiter=",", fmt="%.17g")
    dataset = table("table.csv")
    found = measure(Gaussian(WIDE, (0.2, 0.4), c=0.8), dataset, final=final)
    units, expected = dataset.standardization, {}
    q = MultivariateNormal(units.mean + torch.tensor((0.2, 0.4)) * units.scale, torch.tensor(WIDE) * torch.outer(units.scale, units.scale))
    for name in ("validation", "test"):
        expected[name] = -q.log_prob(units.to_data(dataset.split(name, 1000, Rng(0)).x)).mean().item()
    assert abs(expected["test"] - expected["validation"]) > 0.01
    assert found["nll"] == pytest.approx(expected["test" if final else "validation"], abs=1e-6)
    log_z = math.log(2 * math.pi) + 0.5 * torch.logdet(torch.tensor(WIDE)).item() - 0.8 + units.scale.log().sum().item()
    assert found["log_z"] == pytest.approx(log_z, abs=1e-6)
    assert "not known" in found["kl"]
    assert "not known" in found["entropy"]

"""Bridge sampling between known distributions: closed forms, coverage, reasons. Seeded."""

import math

import pytest
import torch
from contexts import Normal, context_of, reason
from scipy.integrate import quad
from scipy.stats import binom, norm
from standard import gaussian
from torch import nn
from torch.nn.functional import logsigmoid

from ebm_cli.core.rng import Rng
from ebm_cli.datasets.student_t import StudentT
from ebm_cli.energies.score_mlp import ScoreMLP
from ebm_cli.metrics import bridge
from ebm_cli.metrics.bridge import BridgeSampling
from ebm_cli.metrics.quadrature import Quadrature

LOG_Z = 1.3
METRIC = BridgeSampling(n_draws=20_000, tolerance=0.1)


class Gaussian(nn.Module):
    """The energy of N((mean, 0, ..., 0), scale^2 I) in d coordinates, with log Z = LOG_Z."""

    def __init__(self, d, mean, scale):
        super().__init__()
        self.mean, self.scale = nn.Parameter(torch.tensor([mean] + [0.0] * (d - 1))), nn.Parameter(torch.tensor(scale))

    def forward(self, x):
        d = x.shape[-1]
        return 0.5 * ((x - self.mean) / self.scale).square().sum(-1) + d * self.scale.log() + d / 2 * math.log(2 * math.pi) - LOG_Z

    def draw(self, n_chains, n_draws, rng=None):
        return self.mean.detach() + self.scale.detach() * (rng or Rng(99)).normal("z", n_chains, n_draws, len(self.mean))


def standard(d, scale=1.0):
    return Normal(None, (0.0,) * d, tuple(tuple(float(i == j) for j in range(d)) for i in range(d)), scale)


def case(d, mean, scale=1.0, *, n_chains=1000, n_draws=20, samples=None, **more):
    """The context of the model N(mean, scale^2 I) of data that follow N(0, I)."""
    model = Gaussian(d, mean, scale)
    return context_of(model, standard(d, 2.5), model.draw(n_chains, n_draws) if samples is None else samples(model), **more)


def ratios(shift, n, n_chains, n_draws, rng):
    """l of N(shift, 1) with log Z = LOG_Z against N(0, 1), at draws of both: (n,) and (n_chains, n_draws)."""

    def ratio(x):
        return shift * x - shift**2 / 2 + LOG_Z

    return ratio(rng.normal("p", n).double()), ratio(shift + rng.normal("model", n_chains, n_draws).double())


@pytest.mark.parametrize(("shift", "n_draws"), [(0.5, 1), (2.0, 10), (4.5, 1), (4.5, 10)])
def test_the_intervals_cover_log_z(shift, n_draws):
    """95 % of 100 intervals (one false alarm in 1e6). With independent draws the variance is (1 / O - 1) / (n s_p s_m) (Bennett 1976)."""
    found, n, n_chains = [], 1500, 1000 // n_draws
    for seed in range(100):
        built = bridge.bridge(*ratios(shift, n, n_chains, n_draws, Rng(seed)), tolerance=math.inf)
        found.append((built.root.log_z, built.root.error(), built.change))
    log_z, error, change = torch.tensor(found, dtype=torch.double).T
    assert ((log_z - LOG_Z).abs() <= error + change).sum() >= binom.ppf(1e-6, 100, 0.95)
    assert change.mean() < error.mean()
    exact = ((1 / overlap(shift, 0.6) - 1) / (2500 * 0.24)) ** 0.5
    assert error.median() / 1.96 == pytest.approx(exact, rel=0.12)
    assert log_z.std() == pytest.approx(exact, rel=0.35)  # 5 standard errors of the standard deviation of 100


def overlap(shift, share):
    """The integral of p m / (s_p p + s_m m) for p = N(0, 1), m = N(shift, 1) and s_p = share."""

    def integrand(x):
        p, m = norm.pdf(x), norm.pdf(x - shift)
        return p * m / (share * p + (1 - share) * m)

    return quad(integrand, -10, 20, points=[0, shift])[0]


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("m", [-2.0, 0.0, 1.0])
def test_any_shares_give_the_same_root_and_their_overlap(shift, m):
    """4 standard errors."""
    root = bridge.solve(*ratios(shift, 100_000, 100_000, 1, Rng(0)), m)
    assert abs(root.log_z - LOG_Z) <= max(2 * root.error(), 1e-9)
    assert root.overlap == pytest.approx(overlap(shift, 1 / (1 + math.exp(m))), rel=0.05)


def test_the_root_by_hand():
    """The fixed point of Meng and Wong: Z = mean w / (s_m w + s_p Z) over p, divided by mean 1 / (s_m w + s_p Z) over the model."""
    of_p, of_model = torch.tensor([-1.0, 0.5, 2.0]).double(), torch.tensor([[0.0, 3.0]]).double()
    z, s = math.exp(bridge.solve(of_p, of_model, math.log(2 / 3)).log_z), 0.6
    w, v = of_p.exp(), of_model.exp()
    assert z == pytest.approx(((w / (0.4 * w + s * z)).mean() / (1 / (0.4 * v + s * z)).mean()).item(), rel=1e-9)


def test_repeated_draws_of_a_chain_do_not_make_the_error_smaller():
    of_p, of_model = ratios(1.0, 2000, 500, 1, Rng(0))
    once, often = (bridge.solve(of_p, part, 0.0) for part in (of_model, of_model.expand(500, 20)))
    assert often.log_z == pytest.approx(once.log_z, abs=1e-9)
    assert often.error() == pytest.approx(once.error(), rel=1e-9)


@pytest.mark.parametrize("d", [4, 10, 30, 64])
@pytest.mark.parametrize(("nats", "scaled"), [(1.0, False), (5.0, False), (1.0, True)])
def test_the_kl_divergence_of_gaussians(d, nats, scaled):
    """KL of N(0, I) from N(mean, I) is mean^2 / 2, and from N(0, s^2 I) it is d (log s + (s^-2 - 1) / 2). It is right to 2 %. An
    error of more than 2.5 half-widths has a probability of 1e-6."""
    mean, scale = (2 * nats) ** 0.5, 1.0
    if scaled:
        mean, scale = 0.0, 1 + (nats / d) ** 0.5  # KL = d e^2 up to the third order in s = 1 + e
        nats = d * (math.log(scale) + (scale**-2 - 1) / 2)
    found = BridgeSampling(n_draws=60_000, tolerance=0.1)(case(d, mean, scale, n_draws=50, seed=1))
    assert found["kl"] == pytest.approx(nats, rel=0.02)
    assert found["kl_error"] < 0.05 * max(nats, 1)
    assert abs(found["kl"] - nats) <= 2.5 * found["kl_error"]
    assert abs(found["bridge_log_z"] - LOG_Z - d * math.log(2.5)) <= 2.5 * found["bridge_log_z_error"]
    nll = nats + d / 2 * math.log(2 * math.pi * math.e) + d * math.log(2.5)
    assert abs(found["bridge_nll"] - nll) <= 2.5 * found["bridge_nll_error"] < 0.5


def test_the_errors_of_paired_draws_cover():
    """95 % of 150 intervals of KL and NLL (one false alarm in 1e6). The pairs make the error of the KL smaller than those of its terms."""
    covered, n, d, shift = {"kl": 0, "nll": 0}, 1500, 4, 1.0
    exact = {"kl": shift**2 / 2, "nll": shift**2 / 2 + d / 2 * math.log(2 * math.pi * math.e)}
    for seed in range(150):
        rng = Rng(seed)
        x, y = rng.normal("p", n, d).double(), rng.normal("model", 200, 5, d).double()
        y[..., 0] += shift
        root = bridge.solve(*(shift * part[..., 0] - shift**2 / 2 + LOG_Z for part in (x, y)), math.log(1000 / n))
        of_p = shift * x[..., 0] - shift**2 / 2 + LOG_Z
        energy = 0.5 * x.square().sum(-1) + d / 2 * math.log(2 * math.pi) - of_p
        found = bridge.kl(root, of_p, 0.0) | bridge.paired_nll(root, energy, 0.0, 0.0)
        covered["kl"] += abs(found["kl"] - exact["kl"]) <= found["kl_error"]
        covered["nll"] += abs(found["bridge_nll"] - exact["nll"]) <= found["bridge_nll_error"]
        assert found["kl_error"] < math.hypot(root.error(), 1.96 * shift / n**0.5)
    low, high = binom.ppf([1e-6, 1 - 1e-6], 150, 0.95)
    assert low <= covered["kl"] <= high
    assert low <= covered["nll"] <= high


@pytest.mark.parametrize("d", [4, 64])
def test_the_kl_divergence_of_the_truth_from_itself_is_zero_within_its_interval(d):
    found = METRIC(case(d, 0.0))
    assert abs(found["kl"]) <= found["kl_error"] < 1e-3
    assert found["bridge_overlap"] == pytest.approx(1, abs=1e-4)


def test_without_a_density_the_reference_is_the_other_end():
    """The reference is the Gaussian with the moments of the data. The NLL is that of the held-out points."""

    class Rows(Normal):
        provides = frozenset({"real"})

    model, data = Gaussian(5, 1.0, 1.2), Rows(*vars(standard(5)).values())
    found = METRIC(context_of(model, data, model.draw(500, 20)))
    assert abs(found["bridge_log_z"] - LOG_Z) <= found["bridge_log_z_error"] < 0.1
    nll = 5 / 2 * math.log(2 * math.pi) + 5 * math.log(1.2) + (5 + 1) / 2 / 1.2**2
    assert abs(found["bridge_nll"] - nll) <= found["bridge_nll_error"] < 0.15
    assert "not known" in found["kl"]


def test_no_overlap_is_refused_because_the_interval_would_be_wrong():
    """Two Gaussians 12 standard deviations apart: the root is far from log Z, more than its error in most of 50 cases."""
    wrong = 0
    for seed in range(50):
        of_p, of_model = ratios(12.0, 2000, 200, 10, Rng(seed))
        assert "overlap" in bridge.bridge(of_p, of_model, tolerance=0.1)
        root = bridge.solve(of_p, of_model, 0.0)
        error = 1.96 * math.hypot(bridge.standard_error(root.by_draw), bridge.standard_error(root.by_chain))
        wrong += abs(root.log_z - LOG_Z) > error
    assert wrong > 25


def test_nothing_in_common_is_refused():
    nothing = torch.full((100,), -math.inf).double()
    assert "overlap" in bridge.bridge(nothing, torch.ones(20, 5).double(), tolerance=0.1)


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_samples_of_another_distribution_are_refused_because_the_interval_would_be_wrong(share):
    """A share of the chains follows the data instead of the model, as chains do that have hardly moved."""

    def samples(model):
        x = model.draw(1000, 10)
        x[: int(1000 * share), :, 0] -= 2.0
        return x

    context = case(4, 2.0, samples=samples)
    assert "do not follow" in METRIC(context)
    lax = BridgeSampling(20_000, tolerance=math.inf)._numbers(context)
    assert abs(lax["bridge_log_z"] - LOG_Z - 4 * math.log(2.5)) > 0.2


def test_a_small_bias_of_the_samples_is_part_of_the_error():
    """The samples are 0.05 too far: log Z changes by about 0.05, which is less than the tolerance."""
    biased = METRIC(case(4, 1.0, samples=lambda model: model.draw(1000, 50) + torch.tensor([0.05, 0, 0, 0])))
    exact = METRIC(case(4, 1.0, n_draws=50))
    assert exact["bridge_log_z_error"] < 0.03
    assert 0.02 < abs(biased["bridge_log_z"] - LOG_Z - 4 * math.log(2.5)) <= biased["bridge_log_z_error"]


def test_the_reasons_why_there_are_no_numbers():
    assert "9 chains" in METRIC(case(4, 1.0, n_chains=9))
    lost = torch.zeros(20, 10, 4)
    lost[0, 0, 0] = math.nan
    assert METRIC(case(4, 1.0, samples=lambda model: lost)) == "the samples are not finite"
    assert "energy is not finite" in METRIC(case(4, math.nan, samples=lambda model: torch.zeros(20, 10, 4)))
    score = ScoreMLP((2,), torch.zeros(2), torch.ones(2), gaussian(torch.zeros(2), torch.ones(2)), hidden=[4], activation="tanh", tilt=1.0)
    assert "no energy" in reason(METRIC, context_of(score, standard(2)))
    root = bridge.solve(*ratios(1.0, 100, 100, 1, Rng(0)), 0.0)
    for energy, words in (([1.0], "1 held-out points"), ([1.0, math.inf], "not finite")):
        assert all(words in reason for reason in bridge.nll(root, torch.tensor(energy), 0.0, 0.0).values())
    infinite = torch.tensor([1.0, -math.inf] * 50).double()
    assert all("not finite" in reason for reason in bridge.kl(root, infinite, 0.0).values())
    assert all("not finite" in reason for reason in bridge.paired_nll(root, -infinite, 0.0, 0.0).values())


def test_a_kl_divergence_that_may_be_infinite_is_refused():
    """E_p |x|^2 is infinite for a Student t with two degrees of freedom, so that the KL divergence from a Gaussian is infinite."""
    model = Gaussian(5, 0.0, 1.5)
    for nu, heavy in ((2, True), (8, False)):
        found = METRIC(context_of(model, StudentT(None, 5, nu), model.draw(1000, 10)))
        assert abs(found["bridge_log_z"] - LOG_Z) <= found["bridge_log_z_error"] < 0.2
        assert isinstance(found["kl"], str) == heavy
        if heavy:
            assert "heavy tail" in found["kl"]


@pytest.mark.parametrize("k", [0.3, 0.6, 0.7])
def test_the_error_of_a_mean_without_a_variance_covers(k):
    """-l is a generalized Pareto variable of shape k with the mean 1 / (1 - k), and log Z is known. 95 % of the intervals that are not
    refused (one false alarm in 1e6). At k = 0.7 the interval of a normal mean covers less often."""
    error, inside, narrow = [], 0, 0
    for of_p in pareto_draws(k):
        found = bridge.kl(KNOWN, of_p, 0.0)
        if isinstance(found["kl"], str):
            continue
        error.append(abs(found["kl"] - 1 / (1 - k)))
        inside += error[-1] <= found["kl_error"]
        narrow += error[-1] <= 1.96 * bridge.standard_error(of_p)
    assert len(error) > 70
    assert inside >= binom.ppf(1e-6, len(error), 0.95)
    assert k < 0.7 or narrow < binom.ppf(1e-3, len(error), 0.95)


def test_a_mean_that_hardly_exists_is_refused():
    """At k = 0.9 the estimate of k, whose standard deviation is 0.1, is below 0.7 in 3 % of the cases (one false alarm in 1e6 at 5 %)."""
    shown = sum(isinstance(bridge.kl(KNOWN, of_p, 0.0)["kl"], float) for of_p in pareto_draws(0.9))
    assert shown <= binom.ppf(1 - 1e-6, 200, 0.05)


KNOWN = bridge.Root(0.0, 1.0, torch.zeros(10_000, dtype=torch.double), torch.zeros(20, dtype=torch.double), 10_000, 20)  # log Z is 0


def pareto_draws(k):
    """200 times 10,000 values of l: -l is ((1 - u)^-k - 1) / k."""
    for seed in range(200):
        yield -((1 - Rng(seed).uniform("u", 10_000).double()) ** -k - 1) / k


def test_a_density_of_bounded_support():
    """p is uniform on [-1, 1], and the model N(0, 1): l is infinite at a third of its draws."""
    x, y = 2 * Rng(0).uniform("p", 20_000).double() - 1, Rng(0).normal("model", 1000, 10).double()

    def ratio(z):
        return torch.where(z.abs() < 1, -0.5 * z.square() - 0.5 * math.log(2 * math.pi) + math.log(2) + LOG_Z, math.inf)

    built = bridge.bridge(ratio(x), ratio(y), tolerance=0.1)
    assert abs(built.root.log_z - LOG_Z) <= built.root.error() + built.change < 0.05


def test_the_quadrature_has_the_kl_divergence_of_spaces_with_a_grid():
    found = METRIC(case(2, 1.0))
    assert "kl" not in found
    assert abs(found["bridge_log_z"] - LOG_Z - 2 * math.log(2.5)) <= found["bridge_log_z_error"]
    quadrature, grid, many = Quadrature(tolerance=0.01, margin=1.5), standard(2), standard(4)
    assert "kl" in quadrature.expected(grid)
    assert "kl" not in METRIC.expected(grid)
    assert "kl" in METRIC.expected(many)
    assert "kl" not in quadrature.expected(many)


def test_log_mean_is_stable():
    assert bridge.log_mean(logsigmoid(torch.tensor([-2000.0, -2000.0]))).item() == pytest.approx(-2000)

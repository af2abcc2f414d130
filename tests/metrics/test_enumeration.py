"""Enumeration against sums by hand, its reasons for missing numbers, and an energy that knows its log Z."""

import math
from dataclasses import dataclass

import pytest
import torch
from contexts import context_of, reason
from discrete import SPACES, Table
from torch import nn

from ebm_cli.core import states as states_module
from ebm_cli.core.contracts import Dataset
from ebm_cli.core.discrete_density import DiscreteDensity
from ebm_cli.core.states import number, states
from ebm_cli.core.wrappers import Tempered
from ebm_cli.metrics import enumeration
from ebm_cli.metrics.enumeration import Enumeration
from ebm_cli.types import Batch, Space

pytestmark = pytest.mark.usefixtures("double")

METRIC = Enumeration(max_states=1 << 22)


@dataclass(frozen=True)
class Weighted(DiscreteDensity):
    """Given probabilities of the states; each draw of n events has them as its frequencies, for n = 1000 up to rounding."""

    kind: str
    p: tuple

    @property
    def space(self):
        return SPACES[self.kind]

    @property
    def provides(self):
        return frozenset({self.space.kind, "density"})

    def draw(self, n, rng):
        counts = torch.tensor(self.p).mul(n).round().long()
        return states(self.space).repeat_interleave(counts, 0)

    def log_prob(self, x):
        return torch.tensor(self.p)[number(x, self.space)].log()


class Rows(Dataset):
    """Events of a distribution that is not known."""

    provides = frozenset({"binary"})
    n_train = 5

    def __init__(self, *, test=3, n=4):
        self.n_test, self.space = test, Space((n,), "binary")

    def split(self, name, n, rng):
        return Batch(torch.ones(self.n_test if name == "test" else 5, *self.shape))


def known(kind, seed=5):
    p = (-Table(SPACES[kind], seed).value).detach().softmax(0).mul(1000).round()
    p[-1] += 1000 - p.sum()
    return Weighted(None, kind, tuple((p / 1000).tolist()))


class Bits(nn.Module):
    """E(x) = -a sum_i x_i: log Z = n log(1 + e^a). It can state its log Z, with a mark that shows whether the statement was used."""

    def __init__(self, a=0.7, known=False):
        super().__init__()
        self.a, self.has_log_partition = nn.Parameter(torch.tensor(a)), known

    def forward(self, x):
        return -self.a * x.flatten(1).sum(-1)

    def log_partition(self):
        return 100 + self.a


@pytest.mark.parametrize("kind", SPACES)
def test_the_numbers_of_a_table_of_energies(kind, monkeypatch):
    """By hand, also if the states are evaluated in several parts."""
    module, dataset = Table(SPACES[kind]), known(kind)
    energy, p = module.value.detach(), torch.tensor(dataset.p)
    log_z, entropy = (-energy).exp().sum().log().item(), -torch.special.xlogy(p, p).sum().item()
    kl = (torch.special.xlogy(p, p) + p * (energy + log_z)).sum().item()
    for most in (1 << 22, 10):
        monkeypatch.setattr(states_module, "MOST", most)
        enumeration.true_log_prob.cache_clear()
        found = METRIC(context_of(module, dataset))
        assert found == {key: pytest.approx(value) for key, value in zip(METRIC.units, (kl, kl + entropy, entropy, log_z), strict=True)}
    assert kl > 0.1


def test_the_kl_of_the_truth_is_zero_and_states_without_probability_do_not_count():
    p = torch.tensor([0.5, 0.0, 0.25, 0.25, *[0.0] * 12])
    dataset, module = Weighted(None, "bits", tuple(p.tolist())), Table(SPACES["bits"])
    with torch.no_grad():
        module.value.copy_(-p.log() + 3)  # infinite where p = 0
    found = METRIC(context_of(module, dataset))
    assert found["kl"] == pytest.approx(0, abs=1e-12)
    assert found["log_z"] == pytest.approx(-3)
    assert found["entropy"] == pytest.approx(1.5 * math.log(2))


def test_the_nll_of_rows():
    """log Z is exact, the NLL is the mean of the test rows, and there is no KL."""
    found = METRIC(context_of(Bits(), Rows()))
    log_z = 4 * math.log1p(math.exp(0.7))
    assert (found["log_z"], found["nll"]) == (pytest.approx(log_z), pytest.approx(log_z - 4 * 0.7))
    assert found["kl"] == found["entropy"] == "the true density of this dataset is not known"
    assert [*METRIC.expected(Rows())] == ["nll", "log_z"]
    assert METRIC(context_of(Bits(), Rows(test=0)))["nll"] == "there are no test rows (dataset.test=0)"


def test_too_many_states():
    assert METRIC(context_of(Bits(), Rows(n=64))) == "the events have 2^64 states, more than metric.enumeration.max_states=4194304"
    at_the_end = Enumeration(max_states=1 << 20)
    assert "at the end of training only" in at_the_end(context_of(Bits(), Rows(n=18), final=False))
    assert at_the_end(context_of(Bits(), Rows(n=18)))["log_z"] == pytest.approx(18 * math.log1p(math.exp(0.7)))
    assert [*at_the_end.expected(Rows(n=64))] == ["nll", "log_z"]


def test_an_energy_that_knows_its_log_z():
    """Its sum is used, also where the events have too many states."""
    found = METRIC(context_of(Bits(known=True), Rows(n=64)))
    assert found["log_z"] == pytest.approx(100.7)
    assert found["nll"] == pytest.approx(100.7 - 64 * 0.7)
    assert METRIC(context_of(Bits(known=True), Rows()))["log_z"] == pytest.approx(100.7)


def test_at_another_temperature_the_energy_is_summed():
    """E / T has another log Z than the energy states."""
    context = context_of(Bits(known=True), Rows())
    context = type(context)(Tempered(context.model, 2.0), context.params, context.dataset, context.rng, reference=context.reference)
    assert METRIC(context)["log_z"] == pytest.approx(4 * math.log1p(math.exp(0.35)))


def test_energies_that_are_not_finite():
    module = Table(SPACES["bits"])
    with torch.no_grad():
        module.value[3] = math.nan
    assert METRIC(context_of(module, known("bits"))) == "the energy is not finite at some states"
    assert reason(METRIC, context_of(Bits(), known("bits"))) is None


def test_a_large_power_of_two_is_named_by_its_exponent():
    assert [enumeration.described(n) for n in (16, 1 << 16, 1 << 17, 3**20)] == ["16", "65536", "2^17", str(3**20)]

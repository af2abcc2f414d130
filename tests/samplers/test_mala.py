"""MALA: the textbook acceptance probability, and exactness at steps where unadjusted Langevin fails. All draws are seeded."""

import math

import pytest
import torch
from exactness import FALSE_ALARM, TARGETS, Gaussian, Gumbel, TwoModes, moved, p_value, parts
from scipy.stats import binomtest, kstest
from torch import nn

from ebm_cli.core import chain
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.samplers.langevin import Langevin
from ebm_cli.samplers.mala import MALA

pytestmark = pytest.mark.usefixtures("double")

STEP_SIZE = {Gaussian: 0.25, Gumbel: 1.0, TwoModes: 0.15}


class Quartic(nn.Module):
    """E(x) = a sum x^4 + x_0 x_1 + exp(x_0), which is neither even nor separable."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.3))

    def forward(self, x):
        u = x.flatten(1)
        return self.a * u.pow(4).sum(-1) + u[:, 0] * u[:, 1] + u[:, 0].exp()


@pytest.mark.parametrize("max_score_norm", [None, 0.8])
@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_acceptance_probability_is_that_of_the_textbook(shape, max_score_norm):
    """E(x) - E(x') + log q(x | x') - log q(x' | x): accepted for a uniform slightly below, rejected slightly above."""
    eps, n, mala = 0.37, 50, MALA(0.37, max_score_norm)
    model, params = Model(Quartic(), event_ndim=len(shape), stacked=False), {"a": torch.tensor(0.3)}
    x, z = Rng(0).normal("x", n, *shape), Rng(0).normal("z", n, *shape)

    def drift(x):
        norms = torch.linalg.vector_norm(model.score(params, x), dim=model.event_axes, keepdim=True)
        return model.score(params, x) * ((max_score_norm or math.inf) / norms).clamp(max=1.0)

    x_new = x + eps * drift(x) + (2 * eps) ** 0.5 * z

    def log_q(to, start):
        return -(to - start - eps * drift(start)).flatten(1).square().sum(-1) / (4 * eps)

    log_alpha = model.energy(params, x) - model.energy(params, x_new) + log_q(x, x_new) - log_q(x_new, x)
    state = mala.init(model, params, x)
    for hair, accepted in ((-1e-9, True), (1e-9, False)):
        after, info = mala.step(model, params, state, (z, log_alpha + hair))
        assert (info["acceptance_rate"] == accepted).all()
        torch.testing.assert_close(after.x, x_new if accepted else x)


@pytest.mark.parametrize("max_score_norm", [None, 0.8])
@pytest.mark.parametrize("target", TARGETS)
def test_exact_where_langevin_is_not(target, max_score_norm):
    """Chains that start at exact draws remain exact draws: F(x) is uniform after 20 moves. At this step size Langevin fails this test.

    Most scores are truncated to 0.8, which changes the proposals but not the stationary distribution.
    """
    module, eps = target(), STEP_SIZE[target]
    exact, info = moved(MALA(eps, max_score_norm), module, n_steps=20)
    assert 0.2 < info["acceptance_rate"].double().mean() < 0.9
    assert p_value(module, exact) > FALSE_ALARM
    assert p_value(module, moved(Langevin(eps, max_score_norm), module, n_steps=20)[0]) < FALSE_ALARM


@pytest.mark.parametrize("max_score_norm", [None, 0.8])
@pytest.mark.parametrize("target", TARGETS)
def test_reversible(target, max_score_norm):
    """From exact draws, (x, x') and (x', x) have the same distribution: half of the moves across an off-centre line x_0 = c go up."""
    module = target()
    x = module.draw(20_000)
    after, _ = moved(MALA(STEP_SIZE[target], max_score_norm), module, n_steps=1)
    for share in (0.1, 0.4, 0.8):
        line = x[:, 0].quantile(share)
        up = ((x[:, 0] < line) & (after[:, 0] > line)).sum().item()
        down = ((x[:, 0] > line) & (after[:, 0] < line)).sum().item()
        assert up + down > 500
        assert binomtest(up, up + down).pvalue > FALSE_ALARM


def test_rejected_chains_keep_their_state_bit_for_bit_and_accepted_chains_are_reevaluated():
    module = Gaussian()
    model, params = parts(module)
    mala, x = MALA(0.3, None), module.draw(40)
    state = mala.init(model, params, x)
    accept = torch.arange(40) % 3 == 0
    after, info = mala.step(model, params, state, (Rng(0).normal("z", 40, 2), torch.where(accept, -math.inf, math.inf)))
    assert torch.equal(info["acceptance_rate"], accept)
    for name in ("x", "energy", "score"):
        assert torch.equal(getattr(after, name)[~accept], getattr(state, name)[~accept])
    assert (after.x[accept] != x[accept]).all()
    energy, score = model.energy_and_score(params, after.x)
    torch.testing.assert_close(after.energy, energy)
    torch.testing.assert_close(after.score, score)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_proposal_without_a_finite_energy_is_rejected(bad):
    class HalfLine(nn.Module):
        def __init__(self):
            super().__init__()
            self.bad = nn.Parameter(torch.tensor(0.0))

        def forward(self, x):
            return torch.where(x[:, 0] > 0, x[:, 0], self.bad)

    model, params = Model(HalfLine(), event_ndim=1, stacked=False), {"bad": torch.tensor(bad)}
    mala, x = MALA(0.5, None), torch.ones(2, 1)
    state = mala.init(model, params, x)
    z = torch.tensor([[-3.0], [0.7]])  # to 1 - 0.5 - 3 < 0, and to 1 - 0.5 + 0.7
    after, info = mala.step(model, params, state, (z, torch.full((2,), -1e300)))
    assert info["acceptance_rate"].tolist() == [False, True]
    assert info["divergence"].tolist() == [True, False]
    torch.testing.assert_close(after.x, torch.tensor([[1.0], [1.2]]))
    assert after.energy.isfinite().all()


def test_noise_is_normal_and_the_log_of_a_uniform():
    """Seeded Kolmogorov-Smirnov tests."""
    model, params = parts(Gaussian())
    state = MALA(0.3, None).init(model, params, torch.zeros(200, 2))
    normal, log_uniform = MALA(0.3, None).noise(Rng(0), state, 30)
    assert normal.shape == (30, 200, 2)
    assert log_uniform.shape == (30, 200)
    assert kstest(normal.flatten().numpy(), "norm").pvalue > FALSE_ALARM
    assert kstest(log_uniform.exp().flatten().numpy(), "uniform").pvalue > FALSE_ALARM


def test_each_model_of_a_stack_moves_as_the_single_model():
    mala, factors = MALA(0.3, None), torch.stack([torch.eye(2), torch.tensor([[2.0, 0.0], [1.0, 0.5]])])
    stacked = Model(Gaussian(), event_ndim=1, stacked=True)
    x = Rng((3, 4)).normal("x", 30, 2)
    together, info = chain.run(mala, stacked, {"factor": factors}, x, Rng((3, 4)), n_steps=10)
    for m, seed in enumerate((3, 4)):
        alone, info_alone = chain.run(mala, stacked.alone(), {"factor": factors[m]}, x[m], Rng(seed), n_steps=10)
        torch.testing.assert_close(together[m], alone)
        assert torch.equal(info["acceptance_rate"][m], info_alone["acceptance_rate"])


def test_diagnostics():
    """The ratio of the drift before the move, truncated to 0.8, to the noise: sqrt(eps / 2) |s| / sqrt(d)."""
    model, params = parts(Gaussian())
    x = torch.tensor([[2.0, 1.0], [0.1, -0.1]])
    mala = MALA(0.3, 0.8)
    _, info = mala.step(model, params, mala.init(model, params, x), (torch.zeros(2, 2), torch.zeros(2)))
    lengths = torch.linalg.vector_norm(model.score(params, x), dim=-1).clamp(max=0.8)
    assert lengths[1] < lengths[0] == 0.8
    torch.testing.assert_close(info["gradient_noise_ratio"], 0.15**0.5 * lengths / 2**0.5)
    assert not info["divergence"].any()

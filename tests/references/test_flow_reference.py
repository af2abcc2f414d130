"""Flows: the density integrates to one, belongs to the draws, and is fitted. Statistical checks are seeded (false-alarm rate 1e-6 each)."""

import sys

import numpy as np
import pytest
import torch
from scipy.stats import kstest

pytest.importorskip("zuko")

from reference_checks import check_no_score, check_stack, check_streams

from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.energies.reference import ReferenceEnergy
from ebm_cli.errors import InputError
from ebm_cli.references import flow
from ebm_cli.references.flow import Flow

pytestmark = pytest.mark.usefixtures("double")

Q = Flow(2, 6, (16, 16), 0.01, 150, 4, None)


def bent(n, seed):
    """Points on a parabola with noise, off-centre and in other units than those of the flow."""
    z = Rng(seed).normal("x", n, 2)
    return torch.stack([30 + 5 * z[..., 0], z[..., 0].square() + 0.3 * z[..., 1]], -1)


class Fitted(Flow):
    """With held-out points of its own, so that the checks of all references apply."""

    def fit(self, x, shape, rng, held_out=None):
        return super().fit(x, shape, rng, x[..., ::2, :] if held_out is None else held_out)


def test_it_integrates_to_one_and_its_draws_follow_its_density():
    """The mean of -log q over draws is the entropy on a grid, and the first coordinate follows its marginal, for a flow of few steps."""
    q = Flow(2, 6, (16, 16), 0.01, 60, 4, None)
    params = q.fit(bent(400, 0), (2,), Rng(0), bent(200, 1))
    axes = [torch.linspace(0.0, 60.0, 401), torch.linspace(-5.0, 30.0, 401)]
    cell = (60 / 400) * (35 / 400)
    log_q = q.log_prob(params, torch.cartesian_prod(*axes))
    mass = log_q.exp() * cell
    assert mass.sum().item() == pytest.approx(1.0, abs=2e-3)
    x, n = q.draw(params, 20_000, Rng(1), "start"), 20_000
    log_prob = q.log_prob(params, x)
    assert abs(log_prob.mean() - (mass * log_q).sum()) < 5 * log_prob.std() / n**0.5 + 5e-3
    cumulative = mass.view(401, 401).sum(1).cumsum(0)
    uniform = np.interp(x[:, 0].numpy(), (axes[0] + 30 / 400).numpy(), cumulative.numpy())
    assert kstest(uniform, "uniform").pvalue > 1e-6


def test_the_fit_is_better_than_a_gaussian_and_ends_early():
    """On held-out points of a parabola, by more than half a nat. The kept step is that of the best evaluation."""
    x, held_out, test = bent(1000, 0), bent(500, 1), bent(2000, 2)
    params = Flow(2, 6, (16, 16), 0.01, 400, 4, None).fit(x, (2,), Rng(0), held_out)
    gaussian = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov())
    assert Q.log_prob(params, test).mean() > gaussian.log_prob(test).mean() + 0.5
    assert 0 < params["n_steps"] <= 400
    assert params["n_steps"] % flow.EVERY == 0


def test_points_that_the_held_out_points_do_not_support_are_not_learned():
    """Held-out points of another distribution: the first evaluation is the best, and the fit ends when the patience is used up."""
    x = bent(300, 0)
    params = Q.fit(x, (2,), Rng(0), x.mean(0) + 0.01 * (bent(200, 1) - x.mean(0)))
    assert params["n_steps"] <= 100


def test_a_refit_takes_the_same_number_of_steps():
    x, held_out = bent(300, 0), bent(100, 1)
    params = Q.fit(x, (2,), Rng(0), held_out)
    again = Q.refit(params, torch.cat([x, held_out]), (2,), Rng(0))
    assert again["n_steps"] == params["n_steps"]
    both = torch.cat([x, held_out])
    assert (
        Q.log_prob(again, both).mean() > Q.log_prob(Q.refit(params | {"n_steps": torch.tensor(0)}, both, (2,), Rng(0)), both).mean() + 0.3
    )


def test_it_draws_from_no_global_generator():
    state = torch.get_rng_state()
    flow._networks.clear()
    params = Q.fit(bent(100, 0), (2,), Rng(0), bent(50, 1))
    Q.draw(params, 10, Rng(0), "start")
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(5)
    flow._networks.clear()
    again = Q.fit(bent(100, 0), (2,), Rng(0), bent(50, 1))
    assert all(torch.equal(again[name], value) for name, value in params.items())


def test_a_stack_and_streams():
    q = Fitted(1, 4, (8,), 0.01, 30, 2, None)
    check_stack(q, torch.stack([bent(60, 1), 2 * bent(60, 2) - 1]))
    check_streams(q, bent(60, 1), n=5000)
    check_no_score(q, bent(60, 1), bent(20, 2))
    assert q.starts_at_zero


def test_the_energy_of_a_stack_is_differentiable_twice():
    """As a tilt needs it: the network is vmapped over models, and score matching differentiates the score."""
    x = torch.stack([bent(60, 1), 2 * bent(60, 2) - 1])
    fitted = FittedReference.fit(Q, x, (2,), Rng((0, 1)), x)
    module = ReferenceEnergy(fitted.select(0))
    model = Model(module, event_ndim=1, stacked=True)
    assert tensors(module).keys() == fitted.named.keys()
    torch.testing.assert_close(model.energy(fitted.named, x), -fitted.log_prob(x))
    leaf = x.clone().requires_grad_()
    score = model.score(fitted.named, leaf, create_graph=True)
    (curvature,) = torch.autograd.grad(score.square().sum(), leaf)
    assert curvature.isfinite().all()
    step = 1e-6 * torch.tensor([1.0, 0.0])
    difference = (model.energy(fitted.named, x - step) - model.energy(fitted.named, x + step)) / 2e-6
    torch.testing.assert_close(score[..., 0].detach(), difference, rtol=1e-4, atol=1e-5)


def test_without_the_package_or_validation_events_it_is_refused(monkeypatch):
    with pytest.raises(InputError, match="validation events"):
        Q.fit(bent(20, 0), (2,), Rng(0), bent(20, 0)[:0])
    flow._networks.clear()
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(InputError) as error:
        Q.fit(bent(20, 0), (2,), Rng(0), bent(20, 1))
    assert error.value.problems[0] == ("reference=flow needs the package zuko", "pip install 'ebm-cli[flow]'")

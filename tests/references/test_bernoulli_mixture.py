"""Mixtures of products of Bernoullis. Statistical checks are seeded and state their tolerance."""

import itertools
import math

import pytest
import torch
from reference_checks import check_no_score, check_stack, check_streams, check_tilt
from scipy.stats import chisquare

from ebm_cli.core.rng import Rng
from ebm_cli.core.states import number, states
from ebm_cli.errors import InputError
from ebm_cli.references.bernoulli import Bernoulli
from ebm_cli.references.bernoulli_mixture import BernoulliMixture, Products, improve
from ebm_cli.types import Space

pytestmark = pytest.mark.usefixtures("double")

SPACE = Space((4,), "binary")
P = torch.tensor([[0.9, 0.8, 0.1, 0.2], [0.1, 0.2, 0.8, 0.9]], dtype=torch.double)
WEIGHT = torch.tensor([0.3, 0.7], dtype=torch.double)
Q = BernoulliMixture(2, 1.0)


def data(seed=0, n=2000):
    rng = Rng(seed)
    k = (rng.uniform("k", n) > 0.3).long()
    return (rng.uniform("x", n, 4) < P[k]).double()


def by_hand(params, x):
    """The log of the sum over components of products, by loops."""
    weight, p = params["log_weight"].exp().tolist(), params["probability"].tolist()
    found = []
    for event in x.tolist():
        terms = [w * math.prod(q if bit else 1 - q for bit, q in zip(event, row, strict=True)) for w, row in zip(weight, p, strict=True)]
        found.append(math.log(sum(terms)))
    return torch.tensor(found)


def test_the_probability_of_every_state():
    params = Q.fit(data(), (4,), Rng(0))
    torch.testing.assert_close(Q.log_prob(params, states(SPACE)), by_hand(params, states(SPACE)))
    assert Q.log_prob(params, states(SPACE)).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_one_component_is_the_bernoulli_reference():
    one, x = BernoulliMixture(1, 2.0), data()
    torch.testing.assert_close(one.fit(x, (4,), Rng(0))["probability"][0], Bernoulli(2.0).fit(x, (4,), Rng(0))["probability"])


def test_a_known_mixture_is_recovered():
    """20,000 events: probabilities within 0.03 and weights within 0.02, more than five standard errors."""
    params = BernoulliMixture(2, 1.0).fit(data(n=20_000), (4,), Rng(0))
    order = params["probability"][:, 0].argsort(descending=True)
    torch.testing.assert_close(params["probability"][order], P, atol=0.03, rtol=0)
    torch.testing.assert_close(params["log_weight"][order].exp(), WEIGHT, atol=0.02, rtol=0)


def test_an_iteration_of_em_by_hand():
    """Responsibilities r_nk from the weights and probabilities; then p_k = (sum_n r_nk x_n + s) / (sum_n r_nk + 2 s)."""
    x, start = (
        torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]),
        Products(torch.tensor([0.4, 0.6]).log(), torch.tensor([[0.9, 0.5], [0.2, 0.3]])),
    )
    joint = torch.tensor([[0.4 * 0.9 * 0.5, 0.6 * 0.2 * 0.7], [0.4 * 0.9 * 0.5, 0.6 * 0.2 * 0.3], [0.4 * 0.1 * 0.5, 0.6 * 0.8 * 0.7]])
    share = joint / joint.sum(-1, keepdim=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ebm_cli.references.bernoulli_mixture.N_ITERATIONS", 1)
        found = improve(x, start, 0.5)
    torch.testing.assert_close(found.log_weight.exp(), share.mean(0))
    torch.testing.assert_close(found.probability, (share.T @ x + 0.5) / (share.sum(0).unsqueeze(-1) + 1.0))


def test_draws_follow_the_distribution():
    params, n = Q.fit(data(), (4,), Rng(0)), 40_000
    counts = torch.bincount(number(Q.draw(params, n, Rng(1), "start"), SPACE), minlength=16).numpy()
    expected = n * Q.log_prob(params, states(SPACE)).exp().numpy()
    assert expected.min() > 5
    assert chisquare(counts, expected).pvalue > 1e-6


def test_the_number_of_components_is_chosen_on_held_out_events():
    """Four distant patterns of twelve bits with noise: one product or two are far worse, and more than eight are not needed."""
    pattern = torch.tensor([list(map(float, row)) for row in itertools.islice(itertools.product([0, 1], repeat=12), 0, 4096, 1171)])

    def noisy(n, seed):
        rng = Rng(seed)
        x = pattern[rng.integers("k", len(pattern), n)]
        return (x - (rng.uniform("flip", n, 12) < 0.05).double()).abs()

    q = BernoulliMixture(None, 1.0)
    params = q.fit(noisy(600, 0), (12,), Rng(0), noisy(300, 1))
    n = int((params["log_weight"] > -torch.inf).sum())
    assert n in (4, 8)
    assert f"n_components={n}" in q.notes(params)[0]
    assert q.refit(params, noisy(600, 2), (12,), Rng(0))["probability"].shape == (n, 12)
    with pytest.raises(InputError, match="chosen on validation events"):
        q.fit(noisy(600, 0), (12,), Rng(0))


def test_models_of_a_stack_may_differ_in_their_number():
    """Components of weight 0 fill up: they are not drawn, and change no probability."""
    params = {"log_weight": torch.tensor([0.0, -torch.inf]), "probability": torch.tensor([[1.0, 0.5], [0.3, 0.3]])}
    assert Q.draw(params, 1000, Rng(0), "s")[:, 0].min() == 1
    torch.testing.assert_close(
        Q.log_prob({**params, "probability": P[:, :2]}, P[:, :2].round())[0],
        by_hand({"log_weight": torch.zeros(1), "probability": P[:1, :2]}, P[:1, :2].round())[0],
    )


def test_the_contract():
    stack = torch.stack([data(n=200), data(seed=2, n=200)])
    check_tilt(Q, data(), data(3, 20))
    check_tilt(Q, stack, stack[:, :20])
    check_stack(Q, stack)
    check_streams(Q, data())
    check_no_score(Q, data(), data(3, 20))

"""Independent categorical coordinates by hand. Statistical checks are seeded (false-alarm rate 1e-6 each)."""

import pytest
import torch
from reference_checks import check_no_score, check_stack, check_streams, check_tilt
from scipy.stats import chisquare

from ebm_cli.core.rng import Rng
from ebm_cli.core.states import number, states
from ebm_cli.references.bernoulli import Bernoulli
from ebm_cli.references.categorical import Categorical
from ebm_cli.types import Space

pytestmark = pytest.mark.usefixtures("double")

SPACE = Space((3,), "categorical", (2, 4, 3))
Q = Categorical(1.0).on(SPACE)


def data(seed=0, n=300):
    """Three coordinates with skewed probabilities; value 3 of the second coordinate never occurs."""
    u = Rng(seed).uniform("u", n, 3)
    return torch.stack([u[:, 0] < 0.2, (u[:, 1] * 3 - 0.9).clamp(min=0).ceil(), (u[:, 2] * 2).floor() * 2 * (u[:, 2] > 0.4)], -1).double()


def test_the_smoothed_marginals_by_hand():
    x = torch.tensor([[0.0, 0.0, 2.0], [1.0, 2.0, 2.0], [1.0, 0.0, 0.0], [1.0, 1.0, 2.0]])
    params = Categorical(0.5).on(SPACE).fit(x, (3,), Rng(0))
    expected = [[1.5 / 5, 3.5 / 5, 0, 0], [2.5 / 6, 1.5 / 6, 1.5 / 6, 0.5 / 6], [1.5 / 5.5, 0.5 / 5.5, 3.5 / 5.5, 0]]
    torch.testing.assert_close(params["log_probability"].exp(), torch.tensor(expected))
    log_q = Categorical(0.5).log_prob(params, torch.tensor([[1.0, 3.0, 1.0]]))
    torch.testing.assert_close(log_q, torch.tensor([3.5 / 5 * 0.5 / 6 * 0.5 / 5.5]).log())


def test_it_sums_to_one_over_the_states_of_the_space():
    params = Q.fit(data(), (3,), Rng(0))
    assert Q.log_prob(params, states(SPACE)).exp().sum().item() == pytest.approx(1.0, abs=1e-12)


def test_draws_follow_the_distribution():
    params, n = Categorical(20.0).on(SPACE).fit(data(), (3,), Rng(0)), 40_000
    counts = torch.bincount(number(Q.draw(params, n, Rng(1), "start"), SPACE), minlength=24).numpy()
    expected = n * Q.log_prob(params, states(SPACE)).exp().numpy()
    assert expected.min() > 5
    assert chisquare(counts, expected).pvalue > 1e-6


def test_rounding_draws_no_state_that_does_not_exist():
    """A uniform number above the sum of the probabilities in single precision."""

    class Last:
        def uniform(self, stream, *shape):
            return torch.full(shape, 1 - 2**-24)

    params = {"log_probability": torch.tensor([[0.5, 0.4999999, 0.0], [0.2, 0.3, 0.4999999]]).log()}
    assert Q.draw(params, 1, Last(), "start").tolist() == [[1.0, 2.0]]


def test_on_bits_it_is_the_bernoulli_reference():
    x = (Rng(0).uniform("x", 100, 4) < 0.3).double()
    bits = Categorical(2.0).on(Space((4,), "binary"))
    q, p = bits.fit(x, (4,), Rng(0)), Bernoulli(2.0).fit(x, (4,), Rng(0))
    torch.testing.assert_close(bits.log_prob(q, x), Bernoulli(2.0).log_prob(p, x))


def test_the_contract():
    stack = torch.stack([data(), data(seed=2)])
    check_tilt(Q, data(), data(3, 20))
    check_tilt(Q, stack, stack[:, :20])
    check_stack(Q, stack)
    check_streams(Q, data())
    check_no_score(Q, data(), data(3, 20))

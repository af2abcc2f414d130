"""A known restricted Boltzmann machine as data, compared with a sum over all its states. All draws are seeded."""

import pytest
import torch
from scipy.stats import chi2

from ebm_cli.core.rng import Rng
from ebm_cli.core.states import number, states
from ebm_cli.datasets.rbm import RBMData
from ebm_cli.errors import InputError


def data(n_visible, n_hidden, bias_std=0.5):
    return RBMData(n_visible=n_visible, n_hidden=n_hidden, std=1.5, bias_std=bias_std, weight_seed=3, n_train=None)


def joint(known):
    """log p(v) at all states, summed over all hidden states of the formula of the docstring."""
    weight, b, _ = known.parameters
    v, h = (states(known.space._replace(shape=(n,))).double() for n in (known.n_visible, known.n_hidden))
    own = b + 0.5 * weight.sum(1)
    return ((v - 0.5) @ weight @ (h - 0.5).T + (v @ own).unsqueeze(-1)).logsumexp(1).log_softmax(0)


@pytest.mark.parametrize("size", [(6, 3), (3, 6)])
def test_the_density_and_the_draws_are_those_of_the_machine(size):
    """A chi-square test of the frequencies of all states fails for one seed in 10^6."""
    known, n = data(*size), 40_000
    x = states(known.space)
    torch.testing.assert_close(known.log_prob(x), joint(known))
    p = joint(known).exp()
    for drawn in (known.draw(n, Rng(0)), known.draw(n, Rng((1, 0)))[1]):
        assert torch.equal(drawn, known.draw(n, Rng(0)))
        counts = number(drawn, known.space).bincount(minlength=len(x))
        assert ((counts - n * p).square() / (n * p)).sum() < chi2.isf(1e-6, len(x) - 1)


def test_without_biases_every_bit_is_fair():
    known = data(6, 3, bias_std=0.0)
    x = states(known.space).double()
    torch.testing.assert_close(known.log_prob(x).exp() @ x, torch.full((6,), 0.5).double())


def test_a_machine_without_an_exact_distribution_is_refused():
    with pytest.raises(InputError, match="an RBM of 21 x 30 units has no exact distribution"):
        data(21, 30)

"""Persistent chains: the gradient in closed form, and what happens to each slot of the buffer. Statistical checks are seeded."""

from dataclasses import dataclass

import pytest
import torch
from scipy.stats import binomtest, kstest
from targets import Quadratic

from ebm_cli.errors import InputError
from ebm_cli.model import Model, expand
from ebm_cli.objectives.pcd import PersistentContrastiveDivergence
from ebm_cli.rng import Rng
from ebm_cli.samplers.langevin import Langevin, State
from ebm_cli.samplers.mala import MALA

pytestmark = pytest.mark.usefixtures("double")

OLD = 1e6  # a value that no fresh chain has


@dataclass(frozen=True)
class Exact:
    """Draws from N(0, I/a), whatever the state."""

    def init(self, model, params, x):
        return State(x, x.new_zeros(model.model_shape(params)))

    def noise(self, rng, state, n_steps):
        return (rng.normal("exact", n_steps, *state.x.shape[state.step_size.ndim :]),)

    def step(self, model, params, state, noise):
        return state._replace(x=noise[0] / expand(params["a"].detach(), noise[0]).sqrt()), {}


@dataclass(frozen=True)
class Shift(Exact):
    """Moves every chain by `shift`: where a chain came from can be read off."""

    shift: float

    def step(self, model, params, state, noise):
        return state._replace(x=state.x + self.shift), {}


def model_of(shape, *, stacked=False):
    return Model(Quadratic(), event_ndim=len(shape), stacked=stacked)


@pytest.mark.parametrize("sampler", [Exact(), MALA(0.8, None)])
def test_gradient_is_zero_at_the_truth_with_the_right_sign_on_both_sides(sampler):
    """dL/da = (E_data |x|^2 - E_model |y|^2) / 2 = d/2 (1 - 1/a). Seeded; within 5 standard errors: a false alarm in 1e6."""
    n, d, model = 20_000, 3, model_of((3,))
    pcd = PersistentContrastiveDivergence(sampler, 30, n, 1.0)
    x = Rng(1).normal("x", n, d)
    _, carry = pcd.init(model, x, Rng(0))
    for a in (0.7, 1.0, 1.5):
        params = {"a": torch.tensor(a, requires_grad=True)}
        aux, _, _ = pcd.prepare(model, params, carry, x, Rng(2))
        (gradient,) = torch.autograd.grad(pcd.loss(model, params, x, aux)[0].mean(), params["a"])
        error = (d / 2 * (1 + a**-2) / n) ** 0.5
        assert abs(gradient - d / 2 * (1 - 1 / a)) < 5 * error
        assert a == 1 or gradient / (a - 1) > 0


def test_loss_is_the_energy_of_data_less_that_of_negatives():
    model, x, y = model_of((2,)), torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 2.0]])
    pcd = PersistentContrastiveDivergence(Exact(), 1, 8, 0.0)
    loss, info = pcd.loss(model, {"a": torch.tensor(3.0)}, x, {"negatives": y})
    torch.testing.assert_close(info["energy"], torch.tensor([7.5, 13.5]))
    torch.testing.assert_close(info["energy_negatives"], torch.tensor([1.5, 12.0]))
    torch.testing.assert_close(loss, torch.tensor([6.0, 1.5]))


@pytest.mark.parametrize("sampler", [MALA(0.1, None), Langevin(0.1, None)])
def test_no_gradient_through_negatives_and_no_graph_in_the_buffer(sampler):
    model, x = model_of((2,)), Rng(1).normal("x", 8, 2)
    pcd = PersistentContrastiveDivergence(sampler, 3, 16, 0.5)
    params = {"a": torch.tensor(0.8, requires_grad=True)}
    _, carry = pcd.init(model, x, Rng(0))
    for step in range(3):
        aux, carry, _ = pcd.prepare(model, params, carry, x, Rng(0).at(step))
        assert not any(value.requires_grad for value in (*aux.values(), *carry.values()))
    (gradient,) = torch.autograd.grad(pcd.loss(model, params, x, aux)[0].mean(), params["a"])
    torch.testing.assert_close(gradient, (x.square() - aux["negatives"].square()).sum(-1).mean() / 2)


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_negatives_go_back_to_the_slots_they_came_from(shape, stacked):
    """Each drawn slot ends as itself moved by 3 shifts, is drawn once, and the others stay bit for bit. All are drawn in the long run."""
    model, rng, m, n = model_of(shape, stacked=stacked), Rng((5, 6) if stacked else 5), (2,) if stacked else (), 8
    pcd = PersistentContrastiveDivergence(Shift(100.0), 3, 4 * n, 0.0)
    x, params = rng.normal("x", n, *shape), {"a": torch.ones(m)}
    _, carry = pcd.init(model, x, rng)
    ever = torch.zeros(*m, 4 * n, dtype=torch.bool)
    for step in range(100):  # a slot is missed 100 times with probability 0.75^100 = 3e-13
        aux, after, _ = pcd.prepare(model, params, carry, x, rng.at(step))
        moved = (after["buffer"] - carry["buffer"]).reshape(*m, 4 * n, -1)
        drawn = moved.ne(0).any(-1)
        assert (drawn.sum(-1) == n).all()
        torch.testing.assert_close(moved, 300.0 * drawn.unsqueeze(-1).expand_as(moved))
        written = after["buffer"][drawn].reshape(*m, n, -1)
        negatives = aux["negatives"].reshape(*m, n, -1)
        torch.testing.assert_close(written.sort(-2).values, negatives.sort(-2).values)
        carry, ever = after, ever | drawn
    assert ever.all()


def test_restarts_come_from_the_data_law_and_not_from_old_chains():
    """A binomial number of whole rows from N(mean, scale^2). Each test below has a false-alarm rate of 1e-6; the seed is fixed."""
    model, n, rng = model_of((2,)), 500, Rng(3)
    pcd = PersistentContrastiveDivergence(Shift(0.0), 1, 4 * n, 0.3)
    x = rng.normal("x", 1000, 2) * torch.tensor([2.0, 0.5]) + torch.tensor([5.0, -1.0])
    _, carry = pcd.init(model, x, rng)
    carry |= {"buffer": torch.full_like(carry["buffer"], OLD)}
    fresh = []
    for step in range(20):
        aux, _, _ = pcd.prepare(model, {"a": torch.ones(())}, carry, x[:n], rng.at(step))
        new = aux["negatives"].ne(OLD)
        assert torch.equal(new[:, 0], new[:, 1])
        fresh.append(aux["negatives"][new[:, 0]])
    fresh = torch.cat(fresh)
    assert binomtest(len(fresh), 20 * n, 0.3).pvalue > 1e-6
    white = (fresh - x.mean(0)) / x.std(0)
    assert all(kstest(column.numpy(), "norm").pvalue > 1e-6 for column in white.T)
    assert abs(torch.corrcoef(white.T)[0, 1]) < 4.9 * len(white) ** -0.5


def test_first_chains_follow_the_data_law():
    """Seeded; Kolmogorov-Smirnov with a false-alarm rate of 1e-6."""
    x = Rng(1).normal("x", 1000, 2) * torch.tensor([2.0, 0.5]) + torch.tensor([5.0, -1.0])
    extra, carry = PersistentContrastiveDivergence(Exact(), 1, 4000, 0.0).init(model_of((2,)), x, Rng(0))
    assert extra == {}
    assert carry["buffer"].shape == (4000, 2)
    white = (carry["buffer"] - x.mean(0)) / x.std(0)
    assert all(kstest(column.numpy(), "norm").pvalue > 1e-6 for column in white.T)


def test_fewer_chains_than_a_batch_needs_is_refused():
    model, x = model_of((2,)), torch.zeros(9, 2)
    pcd = PersistentContrastiveDivergence(Exact(), 1, 8, 0.0)
    _, carry = pcd.init(model, x, Rng(0))
    with pytest.raises(InputError, match=r"objective\.n_chains: 8 .* 9"):
        pcd.prepare(model, {"a": torch.ones(())}, carry, x, Rng(0))

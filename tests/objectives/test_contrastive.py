"""Contrastive objectives: starts of chains, gradients in closed form, temperature, step size, buffer. Statistical checks are seeded."""

from dataclasses import dataclass

import pytest
import torch
from scipy.stats import binomtest, kstest
from targets import LogGamma, Quadratic, assert_mean, log_integral

from ebm_cli.core.chain import Compiled
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.errors import InputError
from ebm_cli.objectives.contrastive import ContrastiveDivergence, FromNoise, PersistentContrastiveDivergence
from ebm_cli.samplers.annealed import AnnealedLangevin
from ebm_cli.samplers.langevin import Langevin, State
from ebm_cli.samplers.mala import MALA
from ebm_cli.samplers.mh import MetropolisHastings
from ebm_cli.samplers.sgld import SGLD
from ebm_cli.types import Sampler

pytestmark = pytest.mark.usefixtures("double")

OLD = 1e6  # a value that no fresh chain has


@dataclass(frozen=True)
class Exact(Sampler):
    """Draws from N(0, T I/a), whatever the state."""

    at: float = 1.0

    @property
    def temperature(self):
        return self.at

    def init(self, model, params, x):
        return State(x, x.new_zeros(model.model_shape(params)))

    def noise(self, rng, state, n_steps):
        return (rng.normal("exact", n_steps, *state.x.shape[state.step_size.ndim :]),)

    def step(self, model, params, state, noise):
        return state._replace(x=noise[0] * expand(self.at / params["a"].detach(), noise[0]).sqrt()), {}


@dataclass(frozen=True)
class Shift(Exact):
    """Moves every chain by `shift`: where a chain came from can be read off."""

    shift: float = 0.0

    def step(self, model, params, state, noise):
        return state._replace(x=state.x + self.shift), {}


@dataclass(frozen=True)
class Accepting(Sampler):
    """Accepts a quarter of the first model's chains in each transition, half of the second's; x is the step size that it ran with."""

    step_size: float
    target_acceptance = 0.6

    def init(self, model, params, x):
        return State(x, x.new_full(model.model_shape(params), self.step_size))

    def noise(self, rng, state, n_steps):
        return (rng.normal("none", n_steps, *state.x.shape[state.step_size.ndim :]),)

    def step(self, model, params, state, noise):
        accepted = torch.arange(state.x.shape[1]) % torch.tensor([[4], [2]]) == 0
        return state._replace(x=expand(state.step_size, state.x).expand_as(state.x)), {"acceptance_rate": accepted}


def pcd_of(sampler, n_steps, n_chains, restart):
    return PersistentContrastiveDivergence(sampler, n_steps, 0.0, n_chains, restart)


def model_of(shape, *, stacked=False):
    return Model(Quadratic(), event_ndim=len(shape), stacked=stacked)


def three(sampler, n_steps, n):
    return [
        FromNoise(sampler, n_steps, 0.0),
        ContrastiveDivergence(sampler, n_steps, 0.0, 0.0),
        pcd_of(sampler, n_steps, n, 1.0),
    ]


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("sampler", [Exact(), MALA(0.8, None)])
def test_gradient_is_zero_at_the_truth_with_the_right_sign_on_both_sides(sampler, kind):
    """dL/da = (E_data |x|^2 - E_model |y|^2) / 2 = d/2 (1 - 1/a). Seeded; within 5 standard errors: a false alarm in 1e6."""
    n, d, model = 10_000, 3, model_of((3,))
    objective = three(sampler, 1 if isinstance(sampler, Exact) else 30, n)[kind]
    x = Rng(1).normal("x", n, d)
    _, carry = objective.init(model, x, Rng(0))
    for a in (0.7, 1.0, 1.5):
        params = {"a": torch.tensor(a, requires_grad=True)}
        aux, _, _ = objective.prepare(model, params, carry, x, Rng(2))
        (gradient,) = torch.autograd.grad(objective.loss(model, params, x, aux)[0].mean(), params["a"])
        error = (d / 2 * (1 + a**-2) / n) ** 0.5
        assert abs(gradient - d / 2 * (1 - 1 / a)) < 5 * error
        assert a == 1 or gradient / (a - 1) > 0
        assert objective.trained(model) is model


def test_gradient_at_the_truth_of_a_skewed_law():
    """Mean of x - y, and of e^-x - e^-y, under exp(-x) ~ Gamma(2): MALA started at the data stays there; moved data give the signs."""
    n, model, objective = 10_000, Model(LogGamma(), event_ndim=1, stacked=False), ContrastiveDivergence(MALA(0.3, None), 20, 0.0, 0.0)
    u = -(1 - Rng(1).uniform("u", n, 2)).log().sum(-1, keepdim=True)
    for shift in (0.0, 0.5, -0.5):
        x, params = shift - u.log(), {"k": torch.tensor(2.0), "b": torch.full((n, 1), 0.0, requires_grad=True)}
        aux, _, _ = objective.prepare(model, params | {"b": torch.tensor(0.0)}, objective.init(model, x, Rng(0))[1], x, Rng(2))
        alone = {"k": params["k"].expand(n), "b": params["b"].squeeze(-1)}
        loss, _ = objective.loss(
            Model(LogGamma(), event_ndim=1, stacked=True), alone, x.unsqueeze(1), {"negatives": aux["negatives"].unsqueeze(1)}
        )
        (gradient,) = torch.autograd.grad(loss.sum(), params["b"])
        z_score = gradient.mean() / gradient.std() * n**0.5
        assert abs(z_score) < 5 if not shift else z_score * shift < -5 * abs(shift)


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("kl_weight", [0.0, 0.3])
def test_cd_starts_at_the_data(kl_weight, stacked):
    m, rng = ((2,), Rng((5, 6))) if stacked else ((), Rng(5))
    model, x, cd = model_of((2,), stacked=stacked), rng.normal("x", 8, 2), ContrastiveDivergence(Shift(shift=100.0), 3, 0.0, kl_weight)
    aux, _, _ = cd.prepare(model, {"a": torch.ones(m)}, cd.init(model, x, rng)[1], x, rng)
    torch.testing.assert_close(aux["negatives"], x + 300)


def test_mle_starts_at_noise_from_the_data_law_anew_each_time():
    """N(mean, scale^2) by Kolmogorov-Smirnov, a false alarm in 1e6; the data themselves are of another law."""
    model, x = model_of((2,)), Rng(1).uniform("x", 4000, 2) * torch.tensor([2.0, 0.5]) + torch.tensor([5.0, -1.0])
    mle = FromNoise(Shift(), 1, 0.0)
    _, carry = mle.init(model, x, Rng(0))
    first, second = (mle.prepare(model, {"a": torch.ones(())}, carry, x, Rng(0).at(step))[0]["negatives"] for step in range(2))
    for start in (first, second):
        white = (start - x.mean(0)) / x.std(0)
        assert all(kstest(column.numpy(), "norm").pvalue > 1e-6 for column in white.T)
    for a, b in ((first, second), (first, x), (second, x)):
        assert abs(torch.corrcoef(torch.stack([a[:, 0], b[:, 0]]))[0, 1]) < 4.9 * 4000**-0.5


def test_loss_is_the_energy_of_data_less_that_of_negatives():
    model, x, y = model_of((2,)), torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 2.0]])
    pcd = pcd_of(Exact(), 1, 8, 0.0)
    loss, info = pcd.loss(model, {"a": torch.tensor(3.0)}, x, {"negatives": y})
    torch.testing.assert_close(info["energy"], torch.tensor([7.5, 13.5]))
    torch.testing.assert_close(info["energy_negatives"], torch.tensor([1.5, 12.0]))
    torch.testing.assert_close(loss, torch.tensor([6.0, 1.5]))


@pytest.mark.parametrize("sampler", [MALA(0.1, None), Langevin(0.1, None)])
def test_no_gradient_through_negatives_and_no_graph_in_the_buffer(sampler):
    model, x = model_of((2,)), Rng(1).normal("x", 8, 2)
    pcd = pcd_of(sampler, 3, 16, 0.5)
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
    pcd = pcd_of(Shift(shift=100.0), 3, 4 * n, 0.0)
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
    pcd = pcd_of(Shift(), 1, 4 * n, 0.3)
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
    extra, carry = pcd_of(Exact(), 1, 4000, 0.0).init(model_of((2,)), x, Rng(0))
    assert extra == {}
    assert carry["buffer"].shape == (4000, 2)
    white = (carry["buffer"] - x.mean(0)) / x.std(0)
    assert all(kstest(column.numpy(), "norm").pvalue > 1e-6 for column in white.T)


def test_fewer_chains_than_a_batch_needs_is_refused():
    model, x = model_of((2,)), torch.zeros(9, 2)
    pcd = pcd_of(Exact(), 1, 8, 0.0)
    _, carry = pcd.init(model, x, Rng(0))
    with pytest.raises(InputError, match=r"objective\.n_chains: 8 .* 9"):
        pcd.prepare(model, {"a": torch.ones(())}, carry, x, Rng(0))


def hand_written(params, before, noise, eps, kl_weight):
    """kl_weight (E_sg(y) - d log |y - y'|) of Langevin's y for E = a |x|^2 / 2, by loops."""
    y = before - eps * params["a"] * before + (2 * eps) ** 0.5 * noise
    n, d = y.shape
    nearest = [min((y[i] - y[j]).norm() for j in range(n) if j != i) for i in range(n)]
    return kl_weight * torch.stack([params["a"].detach() / 2 * y[i].square().sum() - d * nearest[i].log() for i in range(n)])


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_kl_term_of_cd_goes_through_the_last_transition_only(shape):
    """Value and gradient against a Langevin step and a nearest-neighbour entropy written out."""
    eps, weight, model, x = 0.2, 0.7, model_of(shape), Rng(1).normal("x", 6, *shape)
    cd, plain = (ContrastiveDivergence(Langevin(eps, None), 3, 0.0, one) for one in (weight, 0.0))
    params = {"a": torch.tensor(0.8, requires_grad=True)}
    aux, _, _ = cd.prepare(model, params, cd.init(model, x, Rng(0))[1], x, Rng(2))
    assert not any(value.requires_grad for value in aux.values())
    before, noise = aux["before"].flatten(1), aux["noise.0"].flatten(1)
    torch.testing.assert_close(aux["negatives"].flatten(1), before * (1 - 0.8 * eps) + (2 * eps) ** 0.5 * noise)
    with_term, (without, _) = cd.loss(model, params, x, aux)[0], plain.loss(model, params, x, aux)
    expected = hand_written(params, before, noise, eps, weight)
    torch.testing.assert_close(with_term - without, expected)
    gradients = [torch.autograd.grad(one.mean(), params["a"], retain_graph=True)[0] for one in (with_term, without, expected)]
    torch.testing.assert_close(gradients[0] - gradients[1], gradients[2])
    assert abs(gradients[2]) > 0.01
    torch.testing.assert_close(gradients[1], (x.square().sum() - aux["negatives"].square().sum()) / 12)  # at weight 0: that of plain CD


def test_kl_term_at_a_temperature():
    """The loss is T times the likelihood's, and so is the KL divergence: T times the entropy counts."""
    model, x, eps, sigma, t = model_of((2,)), Rng(1).normal("x", 6, 2), 0.2, 1.1, 1.1**2 / 0.4
    cd, plain = (ContrastiveDivergence(SGLD(eps, None, sigma), 2, 0.0, weight) for weight in (0.7, 0.0))
    params = {"a": torch.tensor(0.8)}
    aux, _, _ = cd.prepare(model, params, cd.init(model, x, Rng(0))[1], x, Rng(2))
    y = aux["before"] * (1 - 0.8 * eps) + sigma * aux["noise.0"]
    nearest = (torch.cdist(y, y) + torch.eye(6) * 1e9).amin(-1)
    found = cd.loss(model, params, x, aux)[0] - plain.loss(model, params, x, aux)[0]
    torch.testing.assert_close(found, 0.7 * (0.4 * y.square().sum(-1) - t * 2 * nearest.log()))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ContrastiveDivergence(MetropolisHastings(0.3), 2, 0.0, 0.5), "no gradient passes"),
        (lambda: FromNoise(AnnealedLangevin(0.1, 5), 2, 0.0), "a walk down a ladder"),
    ],
)
def test_samplers_that_cannot_serve_are_refused(build, words):
    with pytest.raises(InputError, match=words):
        build()
    ContrastiveDivergence(MetropolisHastings(0.3), 2, 0.0, 0.0)


def test_kl_term_of_each_model_of_a_stack():
    stack, a, rng = model_of((2,), stacked=True), torch.tensor([0.5, 2.0]), Rng((3, 4))
    cd, x = ContrastiveDivergence(MALA(0.3, None), 2, 0.1, 0.7), rng.normal("x", 6, 2)
    aux, _, _ = cd.prepare(stack, {"a": a}, cd.init(stack, x, rng)[1], x, rng)
    together, _ = cd.loss(stack, {"a": a}, x, aux)
    for m, seed in enumerate((3, 4)):
        one, params = stack.alone(), {"a": a[m]}
        aux, _, _ = cd.prepare(one, params, cd.init(one, x[m], Rng(seed))[1], x[m], Rng(seed))
        torch.testing.assert_close(together[m], cd.loss(one, params, x[m], aux)[0])


@pytest.mark.parametrize("kind", ["noise", "cd", "cd with the KL term", "cd with one step", "pcd"])
def test_step_size_follows_the_acceptance(kind):
    """log eps += adapt (a - 0.6) for each model of a stack, from where it stands; chains run with the step size of the carry."""
    model, x, adapt = model_of((2,), stacked=True), torch.zeros(2, 8, 2), 0.5
    build = {
        "noise": lambda adapt: FromNoise(Accepting(2.0), 3, adapt),
        "cd": lambda adapt: ContrastiveDivergence(Accepting(2.0), 3, adapt, 0.0),
        "cd with the KL term": lambda adapt: ContrastiveDivergence(Accepting(2.0), 3, adapt, 0.4),
        "cd with one step": lambda adapt: ContrastiveDivergence(Accepting(2.0), 1, adapt, 0.4),
        "pcd": lambda adapt: PersistentContrastiveDivergence(Accepting(2.0), 3, adapt, 16, 0.1),
    }[kind]
    params = {"a": torch.ones(2)}
    _, carry = build(adapt).init(model, x, Rng((0, 1)))
    assert carry["step_size"].tolist() == [2.0, 2.0]
    carry["step_size"] = torch.tensor([2.0, 8.0])
    aux, after, info = build(adapt).prepare(model, params, carry, x, Rng((0, 1)))
    torch.testing.assert_close(after["step_size"], torch.tensor([2.0, 8.0]) * (adapt * (torch.tensor([0.25, 0.5]) - 0.6)).exp())
    torch.testing.assert_close(aux["negatives"], torch.tensor([2.0, 8.0]).reshape(2, 1, 1).expand(2, 8, 2))
    torch.testing.assert_close(info["step_size"], torch.tensor([2.0, 8.0]))
    torch.testing.assert_close(info["acceptance_rate"].mean(-1), torch.tensor([0.25, 0.5]))
    _, fixed = build(0.0).init(model, x, Rng((0, 1)))
    aux, after, _ = build(0.0).prepare(model, params, fixed, x, Rng((0, 1)))
    assert "step_size" not in fixed | after
    assert (aux["negatives"] == 2.0).all()


def test_step_size_of_a_compiled_sampler_follows_too():
    assert Compiled(MALA(0.1, None)).target_acceptance == MALA.target_acceptance
    assert "step_size" not in FromNoise(Langevin(0.1, None), 3, 0.5).init(model_of((2,)), torch.zeros(4, 2), Rng(0))[1]  # none to aim at


@pytest.mark.parametrize("t", [0.4, 3.0])
def test_likelihood_is_that_of_the_model_at_its_temperature(t):
    """Where chains follow exp(-E / T) the gradient on N(0, 1) vanishes at a = T: E / T is the data's energy, and E is not.

    NLL of N(0, 1): log(2 pi)/2 + 1/2, by quadrature. Seeded; the gradient within 5 standard errors: a false alarm in 1.7e6.
    """
    n, model, objective = 20_000, model_of((1,)), FromNoise(Exact(t), 1, 0.0)
    x = Rng(1).normal("x", n, 1)
    aux, _, _ = objective.prepare(model, {"a": torch.tensor(t)}, objective.init(model, x, Rng(0))[1], x, Rng(2))
    assert_mean((x.square() - aux["negatives"].square()) / 2, 0.0)
    params, nll = {"a": torch.tensor(t)}, 0.5 * (1 + torch.tensor(2 * torch.pi).log())

    def nll_of(one):
        return one.energy(params, torch.ones(1, 1)).squeeze() + log_integral(lambda x: one.energy(params, x), [(-20.0, 20.0)])

    torch.testing.assert_close(nll_of(objective.trained(model)), nll)  # at x = 1: E / T = 1/2, as on average
    assert abs(nll_of(model) - nll) > 0.05
    torch.testing.assert_close(objective.trained(model).score(params, x), -x)


def test_short_runs_of_sgld_train_to_their_temperature():
    """From N(0, 1) starts the chains' variance is exactly r^{2n} + sigma^2 (1 - r^{2n}) / (1 - r^2), r = 1 - eps a: dL/da by it. Seeded."""
    n, steps, eps, sigma = 20_000, 12, 0.1, 0.8  # T = 3.2
    model, objective = model_of((1,)), FromNoise(SGLD(eps, None, sigma), steps, 0.0)
    x = Rng(1).normal("x", n, 1)
    x = (x - x.mean()) / x.std()
    for a in (1.0, 3.2, 6.0):
        aux, _, _ = objective.prepare(model, {"a": torch.tensor(a)}, objective.init(model, x, Rng(0))[1], x, Rng(2))
        r = (1 - eps * a) ** 2
        assert_mean(aux["negatives"].square(), r**steps + sigma**2 * (1 - r**steps) / (1 - r))
    assert objective.trained(model).temperature == pytest.approx(3.2)

"""Contrastive objectives: starts of chains, gradients in closed form, temperature, step size, buffer. Statistical checks are seeded."""

from dataclasses import dataclass

import pytest
import torch
from scipy.stats import binomtest, kstest
from standard import reference
from targets import LogGamma, Quadratic, assert_mean, log_integral

from ebm_cli.core.chain import Compiled
from ebm_cli.core.contracts import Sampler
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model, expand
from ebm_cli.core.rng import Rng
from ebm_cli.errors import InputError
from ebm_cli.objectives.contrastive import ContrastiveDivergence, FromReference, PersistentContrastiveDivergence
from ebm_cli.references.gaussian import Gaussian
from ebm_cli.references.uniform import Uniform
from ebm_cli.samplers.annealed import AnnealedLangevin
from ebm_cli.samplers.langevin import Langevin, State
from ebm_cli.samplers.mala import MALA
from ebm_cli.samplers.mh import MetropolisHastings
from ebm_cli.samplers.sgld import SGLD

pytestmark = pytest.mark.usefixtures("double")

OLD = 1e6  # a value that no fresh chain has


@dataclass(frozen=True)
class Exact(Sampler):
    """Draws from N(0, T I/a), independently of the state."""

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
    """Moves every chain by `shift`, so that the start of a chain can be recovered."""

    shift: float = 0.0

    def step(self, model, params, state, noise):
        return state._replace(x=state.x + self.shift), {}


@dataclass(frozen=True)
class Accepting(Sampler):
    """Accepts a quarter of the chains of the first model in each transition and half of those of the second; x becomes the step size."""

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
    return PersistentContrastiveDivergence(sampler, n_steps, 0.0, Gaussian(), n_chains, restart)


def model_of(shape, *, stacked=False):
    return Model(Quadratic(), event_ndim=len(shape), stacked=stacked)


def three(sampler, n_steps, n):
    return [
        FromReference(sampler, n_steps, 0.0, Gaussian()),
        ContrastiveDivergence(sampler, n_steps, 0.0, 0.0),
        pcd_of(sampler, n_steps, n, 1.0),
    ]


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("sampler", [Exact(), MALA(0.8, None)])
def test_gradient_is_zero_at_the_truth_with_the_right_sign_on_both_sides(sampler, kind):
    """dL/da = (E_data |x|^2 - E_model |y|^2) / 2 = d/2 (1 - 1/a). Seeded; within 5 standard errors: one false alarm in 1e6."""
    n, d, model = 10_000, 3, model_of((3,))
    objective = three(sampler, 1 if isinstance(sampler, Exact) else 30, n)[kind]
    x = Rng(1).normal("x", n, d)
    _, carry = objective.init(model, reference(x, model), x, Rng(0))
    for a in (0.7, 1.0, 1.5):
        params = {"a": torch.tensor(a, requires_grad=True)}
        aux, _, _ = objective.prepare(model, params | reference(x, model), carry, x, Rng(2))
        (gradient,) = torch.autograd.grad(objective.loss(model, params, x, aux)[0].mean(), params["a"])
        error = (d / 2 * (1 + a**-2) / n) ** 0.5
        assert abs(gradient - d / 2 * (1 - 1 / a)) < 5 * error
        assert a == 1 or gradient / (a - 1) > 0
        assert objective.trained(model) is model


def test_gradient_at_the_truth_of_a_skewed_distribution():
    """The means of x - y and of e^-x - e^-y vanish if MALA starts at data with exp(-x) ~ Gamma(2); shifted data give the signs."""
    n, model, objective = 10_000, Model(LogGamma(), event_ndim=1, stacked=False), ContrastiveDivergence(MALA(0.3, None), 20, 0.0, 0.0)
    u = -(1 - Rng(1).uniform("u", n, 2)).log().sum(-1, keepdim=True)
    for shift in (0.0, 0.5, -0.5):
        x, params = shift - u.log(), {"k": torch.tensor(2.0), "b": torch.full((n, 1), 0.0, requires_grad=True)}
        aux, _, _ = objective.prepare(
            model, params | {"b": torch.tensor(0.0)}, objective.init(model, reference(x, model), x, Rng(0))[1], x, Rng(2)
        )
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
    aux, _, _ = cd.prepare(model, {"a": torch.ones(m)} | reference(x, model), cd.init(model, reference(x, model), x, rng)[1], x, rng)
    torch.testing.assert_close(aux["negatives"], x + 300)


def test_mle_starts_at_draws_from_the_reference_anew_each_time():
    """The starts follow N(mean, scale^2), unlike the data. Kolmogorov-Smirnov test, one false alarm in 1e6."""
    model, x = model_of((2,)), Rng(1).uniform("x", 4000, 2) * torch.tensor([2.0, 0.5]) + torch.tensor([5.0, -1.0])
    mle = FromReference(Shift(), 1, 0.0, Gaussian())
    _, carry = mle.init(model, reference(x, model), x, Rng(0))
    first, second = (
        mle.prepare(model, {"a": torch.ones(())} | reference(x, model), carry, x, Rng(0).at(step))[0]["negatives"] for step in range(2)
    )
    for start in (first, second):
        white = (start - x.mean(0)) / x.std(0)
        assert all(kstest(column.numpy(), "norm").pvalue > 1e-6 for column in white.T)
    for a, b in ((first, second), (first, x), (second, x)):
        assert abs(torch.corrcoef(torch.stack([a[:, 0], b[:, 0]]))[0, 1]) < 4.9 * 4000**-0.5


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_chains_start_at_draws_from_any_reference(shape):
    """Each model of a stack has its own uniform reference on the box of its data. Kolmogorov-Smirnov test, one false alarm in 1e6."""
    model, rng, n = model_of(shape, stacked=True), Rng((3, 4)), 4000
    x = rng.normal("x", n, *shape) + torch.tensor([0.0, 50.0]).reshape(2, 1, *[1] * len(shape))
    box = FittedReference.fit(Uniform(0.0), x, shape, rng).named
    low, high = (side.reshape(2, 1, 2) for side in (x.amin(1), x.amax(1)))
    params = {"a": torch.ones(2)} | box
    mle = FromReference(Shift(), 1, 0.0, Uniform(0.0))
    pcd = PersistentContrastiveDivergence(Shift(), 1, 0.0, Uniform(0.0), n, 1.0)
    buffer = pcd.init(model, params, x, rng)[1]
    starts = [objective.prepare(model, params, carry, x, rng)[0]["negatives"] for objective, carry in ((mle, {}), (pcd, buffer))]
    for start in (*starts, buffer["buffer"]):
        assert start.shape == (2, n, *shape)
        for column in ((start.flatten(2) - low) / (high - low)).mT.flatten(0, 1):
            assert kstest(column.numpy(), "uniform").pvalue > 1e-6
    assert not torch.equal(starts[0], buffer["buffer"])


def test_loss_is_the_energy_of_data_minus_that_of_negatives():
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
    _, carry = pcd.init(model, reference(x, model), x, Rng(0))
    for step in range(3):
        aux, carry, _ = pcd.prepare(model, params | reference(x, model), carry, x, Rng(0).at(step))
        assert not any(value.requires_grad for value in (*aux.values(), *carry.values()))
    (gradient,) = torch.autograd.grad(pcd.loss(model, params, x, aux)[0].mean(), params["a"])
    torch.testing.assert_close(gradient, (x.square() - aux["negatives"].square()).sum(-1).mean() / 2)


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_negatives_are_written_back_to_their_slots(shape, stacked):
    """Each selected slot is moved by 3 shifts and selected once; the others are bit-identical. Every slot is selected eventually."""
    model, rng, m, n = model_of(shape, stacked=stacked), Rng((5, 6) if stacked else 5), (2,) if stacked else (), 8
    pcd = pcd_of(Shift(shift=100.0), 3, 4 * n, 0.0)
    x, params = rng.normal("x", n, *shape), {"a": torch.ones(m)}
    _, carry = pcd.init(model, reference(x, model), x, rng)
    ever = torch.zeros(*m, 4 * n, dtype=torch.bool)
    for step in range(100):  # a slot is missed 100 times with probability 0.75^100 = 3e-13
        aux, after, _ = pcd.prepare(model, params | reference(x, model), carry, x, rng.at(step))
        moved = (after["buffer"] - carry["buffer"]).reshape(*m, 4 * n, -1)
        drawn = moved.ne(0).any(-1)
        assert (drawn.sum(-1) == n).all()
        torch.testing.assert_close(moved, 300.0 * drawn.unsqueeze(-1).expand_as(moved))
        written = after["buffer"][drawn].reshape(*m, n, -1)
        negatives = aux["negatives"].reshape(*m, n, -1)
        torch.testing.assert_close(written.sort(-2).values, negatives.sort(-2).values)
        carry, ever = after, ever | drawn
    assert ever.all()


def test_restarts_are_draws_from_the_reference():
    """A binomial number of rows is drawn from N(mean, scale^2). Each check below has a false-alarm rate of 1e-6; the seed is fixed."""
    model, n, rng = model_of((2,)), 500, Rng(3)
    pcd = pcd_of(Shift(), 1, 4 * n, 0.3)
    x = rng.normal("x", 1000, 2) * torch.tensor([2.0, 0.5]) + torch.tensor([5.0, -1.0])
    _, carry = pcd.init(model, reference(x, model), x, rng)
    carry |= {"buffer": torch.full_like(carry["buffer"], OLD)}
    fresh = []
    for step in range(20):
        aux, _, _ = pcd.prepare(model, {"a": torch.ones(())} | reference(x, model), carry, x[:n], rng.at(step))
        new = aux["negatives"].ne(OLD)
        assert torch.equal(new[:, 0], new[:, 1])
        fresh.append(aux["negatives"][new[:, 0]])
    fresh = torch.cat(fresh)
    assert binomtest(len(fresh), 20 * n, 0.3).pvalue > 1e-6
    white = (fresh - x.mean(0)) / x.std(0)
    assert all(kstest(column.numpy(), "norm").pvalue > 1e-6 for column in white.T)
    assert abs(torch.corrcoef(white.T)[0, 1]) < 4.9 * len(white) ** -0.5


def test_first_chains_follow_the_reference():
    """Seeded Kolmogorov-Smirnov test with a false-alarm rate of 1e-6."""
    x = Rng(1).normal("x", 1000, 2) * torch.tensor([2.0, 0.5]) + torch.tensor([5.0, -1.0])
    extra, carry = pcd_of(Exact(), 1, 4000, 0.0).init(model_of((2,)), reference(x, model_of((2,))), x, Rng(0))
    assert extra == {}
    assert carry["buffer"].shape == (4000, 2)
    white = (carry["buffer"] - x.mean(0)) / x.std(0)
    assert all(kstest(column.numpy(), "norm").pvalue > 1e-6 for column in white.T)


def test_fewer_chains_than_the_batch_size_are_refused():
    model, x = model_of((2,)), torch.zeros(9, 2)
    pcd = pcd_of(Exact(), 1, 8, 0.0)
    _, carry = pcd.init(model, reference(x, model), x, Rng(0))
    with pytest.raises(InputError, match=r"objective\.n_chains: 8 .* 9"):
        pcd.prepare(model, {"a": torch.ones(())} | reference(x, model), carry, x, Rng(0))


def hand_written(params, before, noise, eps, kl_weight):
    """kl_weight (E_sg(y) - d log |y - y'|) for a Langevin step y and E = a |x|^2 / 2, computed by loops."""
    y = before - eps * params["a"] * before + (2 * eps) ** 0.5 * noise
    n, d = y.shape
    nearest = [min((y[i] - y[j]).norm() for j in range(n) if j != i) for i in range(n)]
    return kl_weight * torch.stack([params["a"].detach() / 2 * y[i].square().sum() - d * nearest[i].log() for i in range(n)])


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_kl_term_of_cd_goes_through_the_last_transition_only(shape):
    """Value and gradient equal those of an explicit Langevin step and nearest-neighbor entropy."""
    eps, weight, model, x = 0.2, 0.7, model_of(shape), Rng(1).normal("x", 6, *shape)
    cd, plain = (ContrastiveDivergence(Langevin(eps, None), 3, 0.0, kl_weight) for kl_weight in (weight, 0.0))
    params = {"a": torch.tensor(0.8, requires_grad=True)}
    aux, _, _ = cd.prepare(model, params | reference(x, model), cd.init(model, reference(x, model), x, Rng(0))[1], x, Rng(2))
    assert not any(value.requires_grad for value in aux.values())
    before, noise = aux["before"].flatten(1), aux["noise.0"].flatten(1)
    torch.testing.assert_close(aux["negatives"].flatten(1), before * (1 - 0.8 * eps) + (2 * eps) ** 0.5 * noise)
    with_term, (without, _) = cd.loss(model, params, x, aux)[0], plain.loss(model, params, x, aux)
    expected = hand_written(params, before, noise, eps, weight)
    torch.testing.assert_close(with_term - without, expected)
    gradients = [torch.autograd.grad(loss.mean(), params["a"], retain_graph=True)[0] for loss in (with_term, without, expected)]
    torch.testing.assert_close(gradients[0] - gradients[1], gradients[2])
    assert abs(gradients[2]) > 0.01
    torch.testing.assert_close(gradients[1], (x.square().sum() - aux["negatives"].square().sum()) / 12)  # at weight 0: that of plain CD


def test_kl_term_at_a_temperature():
    """The loss is T times the negative log-likelihood and the KL term T times the divergence, so the entropy is multiplied by T."""
    model, x, eps, sigma, t = model_of((2,)), Rng(1).normal("x", 6, 2), 0.2, 1.1, 1.1**2 / 0.4
    cd, plain = (ContrastiveDivergence(SGLD(eps, None, sigma), 2, 0.0, weight) for weight in (0.7, 0.0))
    params = {"a": torch.tensor(0.8)}
    aux, _, _ = cd.prepare(model, params | reference(x, model), cd.init(model, reference(x, model), x, Rng(0))[1], x, Rng(2))
    y = aux["before"] * (1 - 0.8 * eps) + sigma * aux["noise.0"]
    nearest = (torch.cdist(y, y) + torch.eye(6) * 1e9).amin(-1)
    found = cd.loss(model, params, x, aux)[0] - plain.loss(model, params, x, aux)[0]
    torch.testing.assert_close(found, 0.7 * (0.4 * y.square().sum(-1) - t * 2 * nearest.log()))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ContrastiveDivergence(MetropolisHastings(0.3), 2, 0.0, 0.5), "are not differentiable"),
        (lambda: FromReference(AnnealedLangevin(0.1, 5), 2, 0.0, Gaussian()), "anneals over noise levels"),
    ],
)
def test_unsuitable_samplers_are_refused(build, words):
    with pytest.raises(InputError, match=words):
        build()
    ContrastiveDivergence(MetropolisHastings(0.3), 2, 0.0, 0.0)


def test_kl_term_of_each_model_of_a_stack():
    stack, a, rng = model_of((2,), stacked=True), torch.tensor([0.5, 2.0]), Rng((3, 4))
    cd, x = ContrastiveDivergence(MALA(0.3, None), 2, 0.1, 0.7), rng.normal("x", 6, 2)
    aux, _, _ = cd.prepare(stack, {"a": a} | reference(x, stack), cd.init(stack, reference(x, stack), x, rng)[1], x, rng)
    together, _ = cd.loss(stack, {"a": a}, x, aux)
    for m, seed in enumerate((3, 4)):
        model, params = stack.alone(), {"a": a[m]}
        carry = cd.init(model, reference(x[m], model), x[m], Rng(seed))[1]
        aux, _, _ = cd.prepare(model, params | reference(x, model), carry, x[m], Rng(seed))
        torch.testing.assert_close(together[m], cd.loss(model, params, x[m], aux)[0])


@pytest.mark.parametrize("kind", ["noise", "cd", "cd with the KL term", "cd with one step", "pcd"])
def test_step_size_follows_the_acceptance(kind):
    """log eps += adapt (a - 0.6) for each model of a stack, from its current value; chains use the step size of the carry."""
    model, x, adapt = model_of((2,), stacked=True), torch.zeros(2, 8, 2), 0.5
    build = {
        "noise": lambda adapt: FromReference(Accepting(2.0), 3, adapt, Gaussian()),
        "cd": lambda adapt: ContrastiveDivergence(Accepting(2.0), 3, adapt, 0.0),
        "cd with the KL term": lambda adapt: ContrastiveDivergence(Accepting(2.0), 3, adapt, 0.4),
        "cd with one step": lambda adapt: ContrastiveDivergence(Accepting(2.0), 1, adapt, 0.4),
        "pcd": lambda adapt: PersistentContrastiveDivergence(Accepting(2.0), 3, adapt, Gaussian(), 16, 0.1),
    }[kind]
    params = {"a": torch.ones(2)}
    _, carry = build(adapt).init(model, reference(x, model), x, Rng((0, 1)))
    assert carry["step_size"].tolist() == [2.0, 2.0]
    carry["step_size"] = torch.tensor([2.0, 8.0])
    aux, after, info = build(adapt).prepare(model, params | reference(x, model), carry, x, Rng((0, 1)))
    torch.testing.assert_close(after["step_size"], torch.tensor([2.0, 8.0]) * (adapt * (torch.tensor([0.25, 0.5]) - 0.6)).exp())
    torch.testing.assert_close(aux["negatives"], torch.tensor([2.0, 8.0]).reshape(2, 1, 1).expand(2, 8, 2))
    torch.testing.assert_close(info["step_size"], torch.tensor([2.0, 8.0]))
    torch.testing.assert_close(info["acceptance_rate"].mean(-1), torch.tensor([0.25, 0.5]))
    _, fixed = build(0.0).init(model, reference(x, model), x, Rng((0, 1)))
    aux, after, _ = build(0.0).prepare(model, params | reference(x, model), fixed, x, Rng((0, 1)))
    assert "step_size" not in fixed | after
    assert (aux["negatives"] == 2.0).all()


def test_step_size_of_a_compiled_sampler_is_adapted():
    assert Compiled(MALA(0.1, None)).target_acceptance == MALA.target_acceptance
    assert (
        "step_size"
        not in FromReference(Langevin(0.1, None), 3, 0.5, Gaussian()).init(
            model_of((2,)), reference(torch.zeros(4, 2), model_of((2,))), torch.zeros(4, 2), Rng(0)
        )[1]
    )  # no target acceptance


@pytest.mark.parametrize("t", [0.4, 3.0])
def test_likelihood_is_that_of_the_model_at_its_temperature(t):
    """If chains follow exp(-E / T), the gradient on N(0, 1) vanishes at a = T: E / T is the energy of the data, and E is not.

    NLL of N(0, 1): log(2 pi)/2 + 1/2, by quadrature. Seeded; the gradient within 5 standard errors: a false alarm in 1.7e6.
    """
    n, model, objective = 20_000, model_of((1,)), FromReference(Exact(t), 1, 0.0, Gaussian())
    x = Rng(1).normal("x", n, 1)
    aux, _, _ = objective.prepare(
        model, {"a": torch.tensor(t)} | reference(x, model), objective.init(model, reference(x, model), x, Rng(0))[1], x, Rng(2)
    )
    assert_mean((x.square() - aux["negatives"].square()) / 2, 0.0)
    params, nll = {"a": torch.tensor(t)}, 0.5 * (1 + torch.tensor(2 * torch.pi).log())

    def nll_of(tempered):
        return tempered.energy(params, torch.ones(1, 1)).squeeze() + log_integral(lambda x: tempered.energy(params, x), [(-20.0, 20.0)])

    torch.testing.assert_close(nll_of(objective.trained(model)), nll)  # at x = 1: E / T = 1/2, as on average
    assert abs(nll_of(model) - nll) > 0.05
    torch.testing.assert_close(objective.trained(model).score(params, x), -x)


def test_short_runs_of_sgld_train_the_model_at_their_temperature():
    """From N(0, 1) the variance of the chains is r^{2n} + sigma^2 (1 - r^{2n}) / (1 - r^2), r = 1 - eps a, which gives dL/da. Seeded."""
    n, steps, eps, sigma = 20_000, 12, 0.1, 0.8  # T = 3.2
    model, objective = model_of((1,)), FromReference(SGLD(eps, None, sigma), steps, 0.0, Gaussian())
    x = Rng(1).normal("x", n, 1)
    x = (x - x.mean()) / x.std()
    for a in (1.0, 3.2, 6.0):
        aux, _, _ = objective.prepare(
            model, {"a": torch.tensor(a)} | reference(x, model), objective.init(model, reference(x, model), x, Rng(0))[1], x, Rng(2)
        )
        r = (1 - eps * a) ** 2
        assert_mean(aux["negatives"].square(), r**steps + sigma**2 * (1 - r**steps) / (1 - r))
    assert objective.trained(model).temperature == pytest.approx(3.2)

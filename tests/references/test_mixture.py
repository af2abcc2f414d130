"""Mixtures of Gaussians against scipy, and what expectation maximization finds. Statistical checks are seeded (false alarm 1e-6 each)."""

import numpy as np
import pytest
import torch
from reference_checks import check_entropy, check_score, check_stack, check_streams, check_tilt, coordinates
from scipy.stats import binomtest, kstest, multivariate_normal
from targets import log_integral, normal_nodes

from ebm_cli.core.rng import Rng
from ebm_cli.errors import InputError
from ebm_cli.references.full_gaussian import FullGaussian
from ebm_cli.references.mixture import Components, Mixture

pytestmark = pytest.mark.usefixtures("double")

WEIGHT, MEAN = torch.tensor([0.2, 0.3, 0.5], dtype=torch.double), torch.tensor([[-6.0, 0.0], [5.0, 4.0], [1.0, -5.0]], dtype=torch.double)
FACTOR = torch.tensor([[[1.0, 0.0], [0.8, 0.4]], [[0.5, 0.0], [0.0, 1.5]], [[1.2, 0.0], [-0.5, 0.7]]], dtype=torch.double)
KNOWN = Components(WEIGHT.log(), MEAN, FACTOR, torch.linalg.inv(FACTOR))
PARAMS = KNOWN._asdict() | dict(zip(("variance", "vectors"), torch.linalg.eigh(FACTOR @ FACTOR.mT), strict=True))
Q = Mixture(3, 0.0, None)


def draw_known(n, seed):
    return KNOWN.draw(n, Rng(seed), "noise")


def fitted_to(x, n_components, rng, shrinkage=0.0):
    """The components of a fitted mixture."""
    params = Mixture(n_components, shrinkage, None).fit(x, x.shape[-1:], rng)
    return Components(*(params[name] for name in Components._fields))


def log_prob_of(fitted, x):
    return torch.logsumexp(fitted.log_joint(x), -1)


def scipys_log_prob(x, sigma=0.0):
    """The log-density of `KNOWN` with noise of standard deviation sigma."""
    density = sum(
        float(weight) * multivariate_normal(mean, factor @ factor.T + sigma**2 * torch.eye(2)).pdf(x.numpy())
        for weight, mean, factor in zip(WEIGHT, MEAN, FACTOR, strict=True)
    )
    return torch.from_numpy(np.log(density))


def test_log_prob_is_that_of_scipy():
    x = 4 * Rng(0).normal("x", 50, 2)
    torch.testing.assert_close(Q.log_prob(PARAMS, x), scipys_log_prob(x))
    torch.testing.assert_close(log_prob_of(KNOWN, x), scipys_log_prob(x))


def test_draws_follow_the_mixture():
    """The components are well separated: their frequencies are the weights, and whitened draws are standard normal."""
    x = draw_known(20_000, 1)
    of = KNOWN.log_joint(x).argmax(-1)
    for k in range(3):
        mine = x[of == k]
        assert binomtest(len(mine), 20_000, float(WEIGHT[k])).pvalue > 1e-6
        white = (mine - MEAN[k]) @ KNOWN.precision[k].T
        assert all(kstest(column.numpy(), "norm").pvalue > 1e-6 for column in white.T)
        assert abs(torch.corrcoef(white.T)[0, 1]) < 4.9 * len(white) ** -0.5


def test_one_component_has_the_mean_and_covariance_of_the_data():
    x = 3 + Rng(2).normal("x", 300, 2) @ torch.tensor([[2.0, 1.5], [0.0, 0.4]])  # correlated
    fitted = fitted_to(x, 1, Rng(0))
    torch.testing.assert_close(fitted.mean, x.mean(0, keepdim=True))
    covariance = fitted.factor[0] @ fitted.factor[0].T
    torch.testing.assert_close(covariance, torch.cov(x.T, correction=0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_prob_of(fitted, x), torch.distributions.MultivariateNormal(x.mean(0), covariance).log_prob(x))
    white = (fitted.draw(5000, Rng(3), "noise") - x.mean(0)) @ fitted.precision[0].T
    assert all(kstest(column.numpy(), "norm").pvalue > 1e-6 for column in white.T)
    assert abs(torch.corrcoef(white.T)[0, 1]) < 4.9 * 5000**-0.5


def test_a_known_mixture_is_recovered():
    """From 10,000 draws: weights and means within 5 standard errors, covariances within a tenth."""
    n = 10_000
    fitted = fitted_to(draw_known(n, 4), 3, Rng(2))
    order = torch.cdist(MEAN, fitted.mean).argmin(-1)
    assert sorted(order.tolist()) == [0, 1, 2]
    assert ((fitted.log_weight[order].exp() - WEIGHT).abs() < 5 * (WEIGHT * (1 - WEIGHT) / n).sqrt()).all()
    covariance, known = (factor @ factor.mT for factor in (fitted.factor[order], FACTOR))
    error = (known.diagonal(dim1=1, dim2=2) / (n * WEIGHT).unsqueeze(-1)).sqrt()
    assert ((fitted.mean[order] - MEAN).abs() < 5 * error).all()
    assert ((covariance - known).abs() < 0.1 * known.abs().amax((1, 2), keepdim=True)).all()


def test_fits_and_draws_of_a_stack_equal_those_of_single_models():
    x = torch.stack([draw_known(200, 6), 2 * draw_known(200, 7) - 1])
    together = fitted_to(x, 3, Rng((3, 4)))
    draws, log_prob = together.draw(40, Rng((3, 4)), "noise"), log_prob_of(together, x)
    for m, seed in enumerate((3, 4)):
        alone = fitted_to(x[m], 3, Rng(seed))
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[m], b)
        torch.testing.assert_close(draws[m], alone.draw(40, Rng(seed), "noise"))
        torch.testing.assert_close(log_prob[m], log_prob_of(alone, x[m]))
    check_stack(Q, x)


def test_the_fit_uses_double_precision_and_returns_the_precision_of_the_data():
    x = (draw_known(200, 6) + 1000).float()  # far from 0: single precision would lose the covariance
    assert {part.dtype for part in fitted_to(x, 2, Rng(0))} == {torch.float32}
    fitted = fitted_to(x, 1, Rng(0))
    torch.testing.assert_close(fitted.factor[0] @ fitted.factor[0].T, torch.cov(x.double().T, correction=0).float(), rtol=1e-4, atol=1e-3)
    assert {value.dtype for value in Mixture(2, 0.0, None).fit(x, x.shape[-1:], Rng(0)).values()} == {torch.float32}


def test_the_tensors_are_those_of_the_fit_and_the_eigenvectors_of_its_covariances():
    x = draw_known(300, 8)
    params, fitted = Q.fit(x, x.shape[-1:], Rng(0)), fitted_to(x, 3, Rng(0))
    assert params.keys() == {*Components._fields, "variance", "vectors", "shrinkage"}
    assert all(torch.equal(params[name], value) for name, value in fitted._asdict().items())
    covariance = params["vectors"] @ torch.diag_embed(params["variance"]) @ params["vectors"].mT
    torch.testing.assert_close(covariance, fitted.factor @ fitted.factor.mT)


def test_it_integrates_to_one_and_its_draws_have_its_entropy():
    """The entropy is a Riemann sum; that of the draws is within 5 standard errors (false alarm 5e-7)."""
    box, x_train = [(-20.0, 16.0), (-16.0, 16.0)], draw_known(1000, 9)
    for params in (PARAMS, Q.fit(x_train, x_train.shape[-1:], Rng(0))):
        assert log_integral(lambda x, params=params: -Q.log_prob(params, x), box) == pytest.approx(0.0, abs=1e-9)
    assert Q.log_normalizer(PARAMS) == 0.0
    x = torch.cartesian_prod(*(torch.linspace(low, high, 801) for low, high in box))
    log_prob = Q.log_prob(Q.fit(x_train, x_train.shape[-1:], Rng(0)), x)
    check_entropy(Q, x_train, -(log_prob.exp() * log_prob).sum() * 36 * 32 / 800**2)


def test_tilt():
    x_train = draw_known(300, 8)
    check_tilt(Q, x_train, 4 * Rng(0).normal("x", 50, 2))
    check_tilt(Q, torch.stack([x_train, 2 * x_train - 1]), 4 * Rng((0, 1)).normal("x", 50, 2))


@pytest.mark.parametrize("sigma", [0.1, 0.7, 3.0])
def test_smoothing_adds_the_variance_of_the_noise_to_every_covariance(sigma):
    x = 4 * Rng(0).normal("x", 50, 2)
    tilt = Q.tilt(PARAMS, x, coordinates(x, x)[0], torch.full((50,), sigma))
    torch.testing.assert_close(-tilt, scipys_log_prob(x, sigma))


def test_every_point_has_its_own_noise_level():
    x, level = 4 * Rng(0).normal("x", 12, 2), torch.linspace(0.05, 4.0, 12)
    tilt = Q.tilt(PARAMS, x, coordinates(x, x, level)[0], level)
    torch.testing.assert_close(-tilt, torch.stack([scipys_log_prob(x, sigma)[i] for i, sigma in enumerate(level.tolist())]))


@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_the_smoothed_distribution_is_the_convolution_with_the_noise(sigma):
    """E_z q(x + sigma z) by Gauss-Hermite quadrature, which is accurate if sigma is below the widths of the components."""
    z, weight = normal_nodes(60)
    nodes, weights = torch.cartesian_prod(z, z), torch.outer(weight, weight).flatten()
    x = draw_known(40, 10)
    density = Q.log_prob(PARAMS, (x.unsqueeze(1) + sigma * nodes).flatten(0, 1)).exp().view(40, -1)
    tilt = Q.tilt(PARAMS, x, coordinates(x, x)[0], torch.full((40,), sigma))
    torch.testing.assert_close((density @ weights).log(), -tilt, atol=1e-6, rtol=0)


def test_score():
    """By autograd, and for the known mixture by differences of the density of scipy."""
    x, level = 4 * Rng(0).normal("x", 30, 2), torch.linspace(0.05, 3.0, 30)
    check_score(Q, draw_known(300, 8), x, level)
    u, inverse_width = coordinates(x, x)
    score = Q.score(PARAMS, x, u, inverse_width, torch.full((30,), 0.7)) * inverse_width
    h = 1e-5 * torch.eye(2)
    expected = torch.stack([(scipys_log_prob(x + step, 0.7) - scipys_log_prob(x - step, 0.7)) / 2e-5 for step in h], -1)
    torch.testing.assert_close(score, expected, rtol=1e-6, atol=1e-7)


def test_streams():
    """The components are far apart: draws that shared their components would be correlated."""
    check_streams(Q, draw_known(300, 8))
    assert Q.starts_at_zero
    assert Q.as_noise() is Q


def uneven():
    """Points of two models that need different numbers of components, and held-out points: two far clusters, and four."""
    center = torch.tensor([[-9.0, 0.0], [9.0, 0.0], [0.0, 9.0], [0.0, -9.0]])
    draws = Rng((5, 6)).normal("x", 600, 2)
    x = draws + torch.stack([center[:2].repeat(300, 1), center.repeat(150, 1)])
    return x[:, :400], x[:, 400:]


def test_models_of_a_stack_choose_for_themselves_and_are_padded_with_components_of_weight_zero():
    """Density, score, smoothed density, draws and their gradients are those of the single models."""
    (x, held_out), q, seeds = uneven(), Mixture(None, None, None), (3, 4)
    together = q.fit(x, (2,), Rng(seeds), held_out)
    points, level, n = x[:, :30], torch.full((2, 30), 0.6), []
    here = coordinates(x, points, level)
    draws = q.draw(together, 500, Rng(seeds), "start")
    leaf = points.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(q.log_prob(together, leaf).sum(), leaf, create_graph=True)
    (curvature,) = torch.autograd.grad(gradient.square().sum(), leaf)
    assert curvature.isfinite().all()
    for m, seed in enumerate(seeds):
        alone = q.fit(x[m], (2,), Rng(seed), held_out[m])
        n.append(len(alone["log_weight"]))
        for name, value in alone.items():
            torch.testing.assert_close(together[name][m][: n[m]] if value.ndim else together[name][m], value)
        torch.testing.assert_close(draws[m], q.draw(alone, 500, Rng(seed), "start"))
        leaf = points[m].clone().requires_grad_()
        torch.testing.assert_close(gradient[m], torch.autograd.grad(q.log_prob(alone, leaf).sum(), leaf)[0])
        torch.testing.assert_close(q.log_prob(together, points)[m], q.log_prob(alone, points[m]))
        torch.testing.assert_close(q.tilt(together, points, here[0], level)[m], q.tilt(alone, points[m], here[0][m], level[m]))
        single = q.score(alone, points[m], here[0][m], here[1][m], level[m])
        torch.testing.assert_close(q.score(together, points, *here, level)[m], single)
    assert n[0] < n[1]
    assert (together["log_weight"][0, n[0] :] == -torch.inf).all()
    assert f"n_components={n[0]}, {n[1]}, shrinkage=" in q.notes(together)[0]


def test_a_refit_keeps_the_number_of_components_and_the_shrinkage():
    """On the points of the first fit it changes nothing; with more points it is better on points like those."""
    (x, held_out), q = uneven(), Mixture(None, None, None)
    params = q.fit(x, (2,), Rng((3, 4)), held_out)
    again = q.refit(params, x, (2,), Rng((3, 4)))
    assert torch.equal(again["shrinkage"], params["shrinkage"])
    torch.testing.assert_close(q.log_prob(again, held_out), q.log_prob(params, held_out), atol=2e-2, rtol=0)
    moved = 2 * torch.cat([x, held_out], 1) + 1  # it begins in the old place
    after = q.refit(params, moved, (2,), Rng((3, 4)))
    assert torch.equal(after["log_weight"] > -torch.inf, params["log_weight"] > -torch.inf)
    assert torch.equal(after["shrinkage"], params["shrinkage"])
    assert (q.log_prob(after, moved).mean(-1) > q.log_prob(params, moved).mean(-1) + 1).all()
    single = q.refit({name: value[1] for name, value in params.items()}, moved[1], (2,), Rng(4))
    torch.testing.assert_close(q.log_prob(single, moved[1]), q.log_prob(after, moved)[1])


@pytest.mark.parametrize(("n_components", "shrinkage", "key"), [(None, 0.0, "n_components=8"), (3, None, "shrinkage=1.0")])
def test_a_choice_without_held_out_points_is_refused(n_components, shrinkage, key):
    x = draw_known(50, 1)
    for held_out in (None, x[:0]):
        with pytest.raises(InputError) as error:
            Mixture(n_components, shrinkage, None).fit(x, (2,), Rng(0), held_out)
        assert f"reference.{key}" in error.value.problems[0].hint


def test_given_settings_need_no_held_out_points():
    """A table whose rows are all trained on (dataset.validation=0) has an empty split."""
    x = draw_known(50, 1)
    for q in (Mixture(2, 1.0, None), FullGaussian()):
        alone = q.fit(x, (2,), Rng(0))
        for name, value in q.fit(x, (2,), Rng(0), x[:0]).items():
            assert torch.equal(value, alone[name])

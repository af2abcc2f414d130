"""Fixed matrices: their form, and that they do not depend on the seed of a run. `OPTIONS` are all datasets that have them."""

import densities
import pytest
import torch

from ebm_cli.core.rng import Rng
from ebm_cli.core.structured_density import covariance_factor, rotation, spectrum

OPTIONS = ["copula", "digits_mixture", "flow", "full_mixture", "ica", "many_well", "student_t_mixture"]
SEEDED = [name for name in OPTIONS if name not in ("digits_mixture", "many_well")]


@pytest.mark.parametrize("dim", [1, 2, 30])
def test_rotations_are_orthogonal_and_differ_between_streams(dim):
    q = rotation(Rng(0), "a", dim)
    torch.testing.assert_close(q @ q.T, torch.eye(dim, dtype=torch.double))
    assert torch.equal(q, rotation(Rng(0), "a", dim))
    assert dim == 1 or not torch.allclose(q, rotation(Rng(0), "b", dim))


def test_rotations_are_uniform():
    """A column of a uniform rotation of the plane has a uniform angle: without the signs of R, its first entry would be negative. The mean
    of 4,000 cosines and sines is within 5 standard errors of 0 (one false alarm in 2e6 each)."""
    first = torch.stack([rotation(Rng(seed), "q", 2)[:, 0] for seed in range(4000)])
    assert (first.mean(0).abs() < 5 * (0.5 / 4000) ** 0.5).all()


def test_covariances_have_the_condition_number_and_determinant_one():
    for dim, condition in ((1, 9.0), (2, 9.0), (7, 100.0), (40, 1.0)):
        factor = covariance_factor(Rng(1), "q", dim, condition)
        values = torch.linalg.eigvalsh(factor @ factor.T)
        assert values.log().sum().abs() < 1e-10
        assert values[-1] / values[0] == pytest.approx(condition if dim > 1 else 1)
        torch.testing.assert_close(values, spectrum(dim, condition))


@pytest.mark.parametrize("name", SEEDED)
def test_the_structure_has_its_own_seed(name):
    a, same, other = (densities.option(name, structure_seed=seed) for seed in (3, 3, 4))
    x = a.draw(5, Rng(0))
    assert torch.equal(x, same.draw(5, Rng(0)))
    assert torch.equal(a.log_prob(x), same.log_prob(x))
    assert not torch.allclose(a.log_prob(x), other.log_prob(x))


@pytest.mark.parametrize("name", OPTIONS)
def test_a_stack_has_the_draws_of_its_models(name):
    """Bit by bit, also where the draws of a model do not begin at an aligned address."""
    dataset = densities.option(name)
    stack = dataset.draw(7, Rng((5, 3, 8)))
    for m, seed in enumerate((5, 3, 8)):
        assert torch.equal(stack[m], dataset.draw(7, Rng(seed)))
    assert stack.dtype == torch.float32
    assert dataset.batch(4, 7, Rng((0, 1))).x.shape == (2, 7, *dataset.shape)
    assert not torch.equal(dataset.batch(4, 7, Rng(0)).x, dataset.batch(5, 7, Rng(0)).x)


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - {"digits_mixture"}))
def test_784_coordinates(name):
    """Log-densities and scores are finite in the dimension of MNIST, at draws and far out."""
    dataset = densities.option(name, dim=784)
    x = dataset.draw(20, Rng(0)).double()
    x = torch.cat([x, 30 * x.abs()]).requires_grad_()
    log_p = dataset.log_prob(x)
    (score,) = torch.autograd.grad(log_p.sum(), x)
    assert log_p.isfinite().all()
    assert score.isfinite().all()
    assert len(dataset.box) == 784

"""Pairs of columns and principal components of tables."""

import numpy as np
from densities import option

from ebm_cli.core.figure import Scene
from ebm_cli.figures.pairs import Pairs, chosen, principal


def test_the_first_component_is_the_direction_of_two_equal_columns():
    """Three standardized columns of which two are equal: shares 2/3 and 1/3."""
    a, b = np.random.default_rng(0).standard_normal((2, 500))
    b -= b.mean() + (b - b.mean()) @ (a - a.mean()) / np.square(a - a.mean()).sum() * (a - a.mean())  # exactly uncorrelated
    directions, share = principal(np.stack([a, 5 * a + 3, b], 1))
    np.testing.assert_allclose(np.abs(directions[0]), [0.5**0.5, 0.5**0.5, 0], atol=1e-9)
    np.testing.assert_allclose(share, [2 / 3, 1 / 3, 0], atol=1e-9)


def test_the_columns_with_the_largest_weights_are_shown_in_their_order():
    directions = np.array([[0.1, 0.9, 0.0, 0.4], [0.2, 0.1, 0.1, 0.9], [9, 9, 9, 9]])
    assert chosen(directions, 2).tolist() == [1, 3]
    assert chosen(directions, 9).tolist() == [0, 1, 2, 3]


def test_data_are_below_the_diagonal_and_samples_above_it():
    data = option("student_t_mixture")
    scene = Scene.of(data)
    n = min(scene.n_columns, 3)
    columns = chosen(principal(scene.data)[0], n)
    axes = np.array(Pairs(n).plot(scene).axes[: n * n]).reshape(n, n)
    np.testing.assert_allclose(axes[2, 0].collections[0].get_offsets(), scene.data[:, columns[[0, 2]]])
    np.testing.assert_allclose(axes[0, 2].collections[0].get_offsets(), scene.samples[:, columns[[2, 0]]])
    assert axes[2, 0].get_xlim() == axes[0, 2].get_ylim()


def test_two_columns_and_bits_have_other_pictures():
    assert Pairs(5).lacking(Scene.of(option("moons"))) == "pairs need at least three columns; figure=density shows two"
    assert Pairs(5).lacking(Scene.of(option("rbm"))) == "the events are not real numbers"
    assert Pairs(5).lacking(Scene.of(option("student_t_mixture"))) is None

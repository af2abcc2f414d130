"""Quadratic energies of bits, in spins s = 2x - 1 and in bits x.

    E(s) = -(sum over i < j of J_ij s_i s_j + sum_i h_i s_i) + constant
    E(x) = sum over i < j of Q_ij x_i x_j + sum_i q_i x_i:    J = -Q/4,  h_i = -(q_i/2 + sum_j Q_ij/4),  constant = sum q/2 + sum Q/4

An energy that has such a form defines `quadratic`, () -> Quadratic. With hidden units it is that of the joint energy of visible and hidden
units, of which the visible ones come first: the energy of an event is then -log of the sum of exp(-E) over the hidden units.
"""

from typing import NamedTuple

from torch import Tensor


class Quadratic(NamedTuple):
    """All in nats: J (n, n), zero on and below the diagonal, h (n,), and a scalar."""

    coupling: Tensor
    field: Tensor
    constant: Tensor

    def energy(self, s: Tensor) -> Tensor:
        """E of spins, (..., n) -> (...)."""
        return self.constant - ((s @ self.coupling) * s).sum(-1) - s @ self.field


def of_bits(quadratic: Tensor, linear: Tensor) -> Quadratic:
    """The form in spins of Q (n, n), zero on and below the diagonal, and q (n,)."""
    constant = linear.sum() / 2 + quadratic.sum() / 4
    return Quadratic(-quadratic / 4, -(linear / 2 + (quadratic + quadratic.mT).sum(-1) / 4), constant)

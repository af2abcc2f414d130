"""A multilayer perceptron f that outputs the score itself, pulled towards the data's mean. Song & Ermon 2019, arXiv:1907.05600.

    s(x) = (f(u) - confinement u) / scale,    u = (x - mean) / scale

There is no energy behind it (its Jacobian need not be symmetric): no log Z, no Metropolis step, no contrastive objective.
"""

from torch import Tensor

from ebm_cli.energies.mlp import MLP


class ScoreMLP(MLP):
    """x (B, *d) -> s(x) (B, *d), built as the energy of the same name is."""

    outputs_score = True

    def forward(self, x: Tensor) -> Tensor:
        u = (x - self.mean) * self.inverse_scale
        return (self.network(u.flatten(1)).view_as(u) - self.confinement * u) * self.inverse_scale

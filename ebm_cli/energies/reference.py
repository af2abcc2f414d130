"""The reference itself as a model: the baseline that a trained energy is compared with.

    E(x) = -log q(x),    log Z = 0

q is the `reference` of the run, fitted to the training events. There are no parameters, so a run takes no training steps, and its
objective, regularizers and number of steps do not matter. It is measured, sampled and compared like any other run: its log Z is estimated,
not assumed.
"""

from typing import ClassVar

from torch import Tensor, nn

from ebm_cli.core.contracts import Energy
from ebm_cli.core.fitted_reference import FittedReference, ReferenceTensors


class ReferenceEnergy(nn.Module, Energy):
    """x (B, *d) -> -log q(x) (B,). It has no settings; those of q are in the group `reference`."""

    requires: ClassVar[frozenset[str]] = frozenset()  # the reference has its own requirements
    learns: ClassVar[bool] = False

    def __init__(self, reference: FittedReference) -> None:
        super().__init__()
        self.q, self.reference = reference.reference, ReferenceTensors(reference.params)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return -self.q.log_prob(self.reference.params(), x) + 0 * x.sum(-1)  # a density that is constant has the score 0, not none

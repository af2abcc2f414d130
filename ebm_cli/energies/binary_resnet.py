"""A residual perceptron f on bits or on the one-hot codes of categories, tilted by the reference. He et al. 2016, arXiv:1603.05027.

    E(x) = f(s) - tilt log q(x),    s = 2x - 1 for bits;    for categories s_ik = 1 if x_i = k, else 0

The blocks are those of residual_mlp.py, and the inputs those of binary_mlp.py. It is suited to distributions in which many coordinates
interact, such as the bits of a quantized plane.
"""

from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.energies.binary_mlp import DiscreteNetwork
from ebm_cli.energies.mlp import Activation
from ebm_cli.energies.network import Positivity
from ebm_cli.energies.residual_mlp import residual_perceptron
from ebm_cli.types import Count, NonNegative, Space


class BinaryResNet(DiscreteNetwork):
    """x (B, *d) -> E(x) (B,)."""

    def __init__(
        self,
        space: Space,
        reference: FittedReference,
        *,
        width: Count,
        n_blocks: Count,
        activation: Activation,
        positive: Positivity,
        tilt: NonNegative,
    ) -> None:
        super().__init__(space, reference, positive=positive, tilt=tilt)
        self.network = residual_perceptron(self.n_in, width, n_blocks, self.n_out, activation)
        self.start()

"""The dataset's own density as an energy: what a perfect model would be, to see what a sampler makes of it.

    E(x) = -log p(x),    log Z = 0

For datasets whose density is known (not a table). Outside the support, where p = 0, E is infinite. An evaluation costs what the
dataset's log-density costs, in double precision: for curves, a mixture of some hundred Gaussians.
"""

from torch import Tensor

from ebm_cli.core.densities import Density
from ebm_cli.core.rng import Rng
from ebm_cli.energies.analytic import Analytic
from ebm_cli.errors import bad
from ebm_cli.types import Dataset

N_FIT = 10_000  # points from which the place and the width of the start are taken


class Exact(Analytic):
    """x (B, *d) -> -log p(x) (B,)."""

    def __init__(self, *, dataset: Dataset) -> None:
        if not isinstance(dataset, Density):
            raise bad("energy=exact needs a dataset whose density is known, and a table's is not", "dataset=moons")
        x = dataset.draw(N_FIT, Rng(0).at("exact"))
        super().__init__(x.mean(0), x.std(0))
        self.dataset, self.box, self.length_scale = dataset, list(dataset.box), dataset.length_scale

    @property
    def column_names(self) -> list[str]:
        return list(self.dataset.column_names)

    @property
    def log_z(self) -> float:
        return 0.0

    def forward(self, x: Tensor) -> Tensor:
        return -self.dataset.log_prob(x).to(x.dtype)

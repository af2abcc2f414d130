"""The exact density of a dataset as an energy: a perfect model, on which samplers can be tested.

    E(x) = -log p(x),    log Z = 0

The density of the dataset must be known. Outside the support, where p = 0, E is infinite. One evaluation costs one evaluation of the
log-density of the dataset in double precision; for curves this is a mixture of some hundred Gaussians.
"""

from collections.abc import Sequence

from torch import Tensor

from ebm_cli.core.contracts import Dataset
from ebm_cli.energies.analytic import Analytic, Box
from ebm_cli.errors import bad


class Exact(Analytic):
    """x (B, *d) -> -log p(x) (B,)."""

    def __init__(self, *, dataset: Dataset) -> None:
        if "density" not in dataset.provides:
            raise bad("energy=exact: the density of this dataset is not known", "dataset=moons")
        if "real" not in dataset.provides:
            raise bad("energy=exact: it is for real events, and those of this dataset are discrete", "dataset=moons")
        super().__init__(*dataset.start)
        self.dataset, self.box, self.length_scale = dataset, list(dataset.box), dataset.length_scale

    @property
    def frame(self) -> Box:
        return list(self.dataset.frame)

    @property
    def column_names(self) -> Sequence[str]:
        return self.dataset.column_names

    @property
    def log_z(self) -> float:
        return 0.0

    def forward(self, x: Tensor) -> Tensor:
        return -self.dataset.log_prob(x).to(x.dtype)

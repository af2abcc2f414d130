"""The interface of figures, and their input: one model with its data, its samples and its rows. Arrays are in data units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from ebm_cli.core.contracts import Dataset
from ebm_cli.core.model import Model
from ebm_cli.core.pointwise import in_chunks
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.types import Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

N_POINTS = 4000  # maximum number of points in a scatter plot
N_GRID = 200  # number of grid points per axis of an image


@dataclass(frozen=True)
class Scene:
    """One model with the data and results that figures show."""

    model: Model
    params: Params
    rng: Rng
    standardization: Standardization
    column_names: Sequence[str]
    dataset: Dataset | None  # None if the data are not available
    draws: Tensor  # (n_chains, n_draws, *d), in the coordinates of the model
    log_z: float | None  # log Z of the energy in data units
    rows: Sequence[Mapping[str, Any]]  # the rows of metrics.jsonl
    title: str
    tracked: Mapping[str, str]  # the numbers that a training curve may show, in order of priority, with their units
    frame: Sequence[Sequence[float]] | None = None  # the ranges of a 2-D picture of an analytic energy
    kind: str = "real"  # the kind of the events, as in `Space`

    @cached_property
    def samples(self) -> np.ndarray:
        """The finite samples as vectors, (n, d), thinned to at most `N_POINTS`."""
        flat = self.standardization.to_data(self.draws.flatten(0, 1)).flatten(1).numpy()
        flat = flat[np.isfinite(flat).all(1)]
        return flat[np.linspace(0, len(flat) - 1, min(N_POINTS, len(flat))).astype(int)]

    @cached_property
    def data(self) -> np.ndarray | None:
        """Fresh test points or, for a finite dataset, points of all splits, (n, d)."""
        if self.dataset is None:
            return None
        splits = ("test",) if self.knows_density else ("test", "validation", "train")
        points = torch.cat([self.dataset.split(name, N_POINTS, self.rng).x for name in splits])[:N_POINTS]
        return self.standardization.to_data(points).flatten(1).numpy()

    @property
    def n_columns(self) -> int:
        return self.standardization.mean.numel()

    @property
    def is_plane(self) -> bool:
        """Whether events are points in the plane."""
        return self.n_columns == 2 and self.kind == "real"

    @property
    def knows_density(self) -> bool:
        """Whether the density of the data is known."""
        return self.dataset is not None and "density" in self.dataset.provides

    @property
    def has_energy(self) -> bool:
        return {"energy", "unconditional"} <= self.model.provides

    @property
    def has_density(self) -> bool:
        return self.has_energy and self.log_z is not None and not self.projected

    @property
    def projected(self) -> bool:
        """Whether the model is of principal components; its energy, score and density are then not functions of the columns."""
        return self.standardization.matrix is not None

    @cached_property
    def box(self) -> tuple[tuple[float, float], ...]:
        """The ranges of a 2-D picture. For a density with long tails, this is the middle of its box."""
        if self.frame is not None:
            return tuple(map(tuple, self.frame))
        points = self.data if self.knows_density else self.samples if self.data is None else np.concatenate([self.data, self.samples])
        low, high = np.quantile(points, [0.002, 0.998], axis=0)
        if self.knows_density:
            wide = zip(low - (high - low), high + (high - low), self.dataset.box, strict=True)
            return tuple((max(a, bottom), min(b, top)) for a, b, (bottom, top) in wide)
        return tuple(zip(low - 0.15 * (high - low), high + 0.15 * (high - low), strict=True))

    def grid(self, n: int = N_GRID) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """Two axes (n,) and the points of their grid, (n * n, 2), in data units."""
        axes = [torch.linspace(low, high, n, dtype=torch.double) for low, high in self.box]
        return axes[0].numpy(), axes[1].numpy(), torch.stack(torch.meshgrid(*axes, indexing="xy"), -1).reshape(-1, 2)

    def energy(self, y: Tensor) -> np.ndarray:
        """E at points in data units, (N,)."""
        u = self.standardization.from_data(y).to(self.draws)
        return in_chunks(lambda part: self.model.energy(self.params, part), u).numpy()

    def score(self, y: Tensor) -> np.ndarray:
        """s at points in data units, (N, d), per unit of the model, so that arrows have the angle they have in standardized columns."""
        u = self.standardization.from_data(y).to(self.draws)
        return in_chunks(lambda part: self.model.score(self.params, part).flatten(1), u).numpy()


class Figure(Protocol):
    """A picture, or an animation, of one trained model."""

    requires: ClassVar[frozenset[str]] = frozenset()
    suffix: ClassVar[str] = ".png"  # the suffix of its file, which is named after its option
    shows_samples: ClassVar[bool] = True  # false if the figure does not depend on the samples: `ebm sample` then does not redraw it

    def applies(self, scene: Scene) -> bool:
        """Whether the figure can be drawn for this scene."""
        return True

    def plot(self, scene: Scene) -> "Drawing":
        """The matplotlib figure."""
        ...

    def save(self, scene: Scene, path: Path) -> None:
        """Write the file. An animation overrides this."""
        self.plot(scene).savefig(path, dpi=130, bbox_inches="tight")

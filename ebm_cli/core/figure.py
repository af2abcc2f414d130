"""The interface of figures, and their input: one model with its data, its samples and its rows. Arrays are in data units."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ebm_cli.core import style
from ebm_cli.core.contracts import Dataset, Sampler
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.pointwise import in_chunks
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.types import Params, SplitName

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

N_POINTS = 4000  # maximum number of points in a scatter plot
N_GRID = 200  # number of grid points per axis of an image


@dataclass(frozen=True)
class Scene:
    """One model with its data, samples and results. Events have the shape *d in the data and in the model, except for principal components.

    Points in data units are arrays (n, d): the events as vectors, in row-major order. `points.reshape(-1, *scene.shape)` has their shape.
    """

    model: Model  # for `energy(params, u)` and `score(params, u)` at points u (B, *d) in the coordinates of the model
    params: Params  # the averaged parameters of this model
    rng: Rng  # the random numbers of the run, with which the dataset returns the same splits as in training
    standardization: Standardization  # maps between the coordinates of the model, u, and those of the data, y
    column_names: Sequence[str]  # d names
    dataset: Dataset | None  # None if the data are not available
    draws: Tensor  # the samples, (n_chains, n_draws, *d), in the coordinates of the model; they may contain NaN
    log_z: float | None  # log Z of the energy in data units, in nats; None if it is unknown
    rows: Sequence[Mapping[str, Any]]  # the rows of metrics.jsonl: {"step": 100, "loss": 0.5, ...}, a list of values for a stack of seeds
    title: str  # the name of the run
    tracked: Mapping[str, str]  # the numbers that a training curve may show, in order of priority, with their units
    frame: Sequence[Sequence[float]] | None = None  # two ranges, (2, 2), of a picture of an analytic energy; None for a trained model
    kind: str = "real"  # the kind of the events, as in `Space`: real, binary or categorical
    reference: FittedReference | None = None  # the reference distribution of the model
    sampler: Sampler | None = None  # the sampler of the run

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        energy: nn.Module | None = None,
        samples: Any = None,
        *,
        log_z: float | None = None,
        rows: Sequence[Mapping[str, Any]] = (),
    ) -> "Scene":
        """A scene without a run, for tests of figures.

        `energy` is a module, u (B, *d) -> (B,), and `log_z` its log Z in data units, in nats. `samples` are events in data units, (n, *d),
        as an array or a tensor. By default both are of the standard normal distribution in the coordinates of the model, with its log Z.
        """
        rng, units, shape = Rng(0), dataset.standardization, dataset.shape
        if energy is None:
            energy, log_z = _StandardNormal(), math.prod(shape) / 2 * math.log(2 * math.pi) + units.log_det
        draws = rng.normal("samples", 1000, *shape) if samples is None else units.from_data(torch.as_tensor(samples)).float()
        params = {name: value.detach() for name, value in tensors(energy).items()}
        model = Model(energy, event_ndim=len(shape), stacked=False)
        coordinates = units, dataset.column_names, dataset
        return cls(model, params, rng, *coordinates, draws.unsqueeze(1), log_z, rows, "a test", {}, kind=dataset.space.kind)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one event of the data."""
        return tuple(self.standardization.mean.shape)

    @cached_property
    def samples(self) -> np.ndarray:
        """The finite samples in data units, (n, d), thinned evenly to at most `N_POINTS`."""
        flat = self.standardization.to_data(self.draws.flatten(0, 1)).flatten(1).numpy()
        flat = flat[np.isfinite(flat).all(1)]
        return flat[np.linspace(0, len(flat) - 1, min(N_POINTS, len(flat))).astype(int)]

    @cached_property
    def data(self) -> np.ndarray | None:
        """At most `N_POINTS` points of the data in data units, (n, d), to show the distribution; None if the data are not available.

        If the density of the data is known, these are fresh draws. Otherwise they are the test rows, then the validation rows, then rows
        that the model was trained on. `held_out` returns test points only.
        """
        return (
            None if self.dataset is None else self._points(("test",) if self.knows_density else ("test", "validation", "train"), N_POINTS)
        )

    def held_out(self, n: int) -> np.ndarray | None:
        """At most n points of the test split in data units, (n, d), which were not used in training; None without data."""
        return None if self.dataset is None else self._points(("test",), n)

    def _points(self, splits: Sequence[SplitName], n: int) -> np.ndarray:
        points = torch.cat([self.dataset.split(name, n, self.rng).x for name in splits])[:n]
        return self.standardization.to_data(points).flatten(1).numpy()

    @property
    def n_columns(self) -> int:
        """d, the number of columns of the data."""
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
        """Whether the model has an energy that does not depend on a label."""
        return {"energy", "unconditional"} <= self.model.provides

    @property
    def has_density(self) -> bool:
        """Whether the density of the model is known: exp(-energy(y) - log_z) at points y in data units."""
        return self.has_energy and self.log_z is not None and not self.projected

    @property
    def projected(self) -> bool:
        """Whether the model is of principal components; its energy, score and density are then not functions of the columns."""
        return self.standardization.matrix is not None

    @cached_property
    def box(self) -> tuple[tuple[float, float], ...]:
        """The ranges of a 2-D picture, ((low, high), (low, high)), in data units. If a density has long tails: the middle of its box."""
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
        """E at points y (N, *d) in data units, (N,), in nats."""
        u = self.standardization.from_data(y).to(self.draws)
        return (in_chunks(lambda part: self.model.energy(self.params, part), u) - self.standardization.log_warp(y)).numpy()

    def energies(self, u: Tensor) -> np.ndarray:
        """The finite energies in data units, in nats, of events u (N, *d) in the coordinates of the model."""
        u = u[u.flatten(1).isfinite().all(1)]
        found = in_chunks(lambda part: self.model.energy(self.params, part), u.to(self.draws))
        found = (found - self.standardization.log_warp(self.standardization.to_data(u))).numpy()
        return found[np.isfinite(found)]

    def score(self, y: Tensor, noise_level: float | None = None) -> np.ndarray:
        """s at points y (N, *d) in data units, (N, d), per unit of the model: arrows have the angle of standardized columns.

        `noise_level` is in the units of the model, for a model that takes one.
        """
        units = self.standardization
        u = units.from_data(y).to(self.draws)

        def of(part: Tensor) -> Tensor:
            return self.model.score(self.params, part, None if noise_level is None else part.new_full((len(part),), noise_level))

        found = in_chunks(of, u)
        if units.changes_energy:  # the gradient of the energy in data units, per unit of the model
            found = units.score_of(found, y) / units.slope(y)
        return found.flatten(1).numpy()


class _StandardNormal(nn.Module):
    """The energy |u|^2 / 2 of events u (B, *d)."""

    def forward(self, u: Tensor) -> Tensor:
        return 0.5 * u.flatten(1).square().sum(1)


class Figure(Protocol):
    """A picture, or an animation, of one trained model."""

    requires: ClassVar[frozenset[str]] = frozenset()
    suffix: ClassVar[str] = ".png"  # the suffix of its file, which is named after its option
    shows_samples: ClassVar[bool] = True  # false if the figure does not depend on the samples: `ebm sample` then does not redraw it

    def lacking(self, scene: Scene) -> str | None:
        """The reason why the figure cannot be drawn for this scene, as a clause without a period; None if it can be drawn."""
        return None

    def plot(self, scene: Scene) -> "Drawing":
        """The matplotlib figure. Create it with `matplotlib.figure.Figure`; `pyplot` would keep every figure in memory."""
        ...

    def save(self, scene: Scene, path: Path) -> None:
        """Write the file. An animation overrides this."""
        with style.applied():
            drawing = self.plot(scene)
            if drawing is None:
                raise TypeError(f"{type(self).__name__}.plot returned None, not a matplotlib figure")
            drawing.savefig(path, dpi=style.DPI, bbox_inches="tight")

"""log Z, NLL and KL, in nats, by the trapezoid rule on a grid, for events of one to three coordinates.

    log Z = log sum exp(-E) dA        KL(p || q) = sum p (log p + E + log Z) dA        NLL = KL + entropy

For smooth densities the rule converges spectrally once the spacing is below the smallest length scale. If the density of the data has
jumps, Gauss-Legendre rules between the jumps replace it: a model of such data is smooth between the jumps, with steep slopes at the ends,
where the points of this rule are dense. The resolution is doubled until neither log Z nor the mean energy of the data changes.
`log_z_error` is the change of log Z in the last doubling of the resolution, plus its change when the box is doubled. `kl_error` also
includes the change of the mean energy. The NLL of a table is the mean of E + log Z over its test rows. `edge_mass` is the probability
under the model of the outer twentieth of the box.
"""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ebm_cli.core.contracts import Dataset
from ebm_cli.core.densities import Density
from ebm_cli.core.metric import Metric, MetricContext, no_events
from ebm_cli.core.model import Model
from ebm_cli.core.pointwise import energy_of
from ebm_cli.core.rng import Rng
from ebm_cli.types import Best, Params, Positive

Box = tuple[tuple[float, ...], ...]  # for each coordinate, the two ends and, between them, the jumps of the density
CHUNK = 16384  # number of grid points that are evaluated at once
FIRST = 2**17  # maximum number of points of the first grid
MOST = 2**21  # maximum number of points of the finest grid
FINER = 200.0  # at the end of training the grid is refined until changes are below tolerance / FINER, or until MOST points
PANEL = 64  # maximum number of points of one Gauss-Legendre panel
MOST_COORDINATES = 3
N_DATA = 10_000  # maximum number of held-out points
MISSED = 1.0  # nats by which energies of the data may lie below all energies on the grid


def has_grid(shape: Sequence[int]) -> bool:
    """Whether events of this shape have few enough coordinates for a grid."""
    return len(shape) == 1 and shape[0] <= MOST_COORDINATES


@dataclass(frozen=True)
class Grid:
    """An energy on a grid: `points` (N, d), and for each point the log of the volume of its cell and the energy, both (N,)."""

    points: Tensor
    log_volume: Tensor
    energy: Tensor
    box: Box
    spacing: float
    dataset: Dataset | None

    @classmethod
    def of(cls, model: Model, params: Params, dataset: Dataset | None, box: Box, spacing: float) -> "Grid":
        points, log_volume = grid(box, spacing)
        return cls(points, log_volume, energy_of(model, params, points), box, spacing, dataset)

    @cached_property
    def log_z(self) -> float:
        """log Z in nats."""
        return torch.logsumexp(self.log_volume - self.energy, -1).item()

    @cached_property
    def log_p(self) -> Tensor | None:
        """The log-density of the data at the points, (N,); None if it is unknown."""
        known = self.dataset is not None and "density" in self.dataset.provides
        return true_log_prob(self.dataset, self.box, self.spacing) if known else None

    @cached_property
    def entropy(self) -> float | None:
        """The entropy of the data; None if their density is unknown."""
        return None if self.log_p is None else -self._mean(self.log_p)

    @cached_property
    def mean_energy(self) -> float | None:
        """The mean energy of the data, with KL = mean energy + log Z - entropy; None if their density is unknown."""
        return None if self.log_p is None else self._mean(self.energy)

    def _mean(self, values: Tensor) -> float:
        p = (self.log_p + self.log_volume).exp()
        return torch.where(p > 0, p * values, 0).sum().item()

    @property
    def mass(self) -> Tensor:
        """The probability of every cell under the model, (N,)."""
        return (self.log_volume - self.energy - self.log_z).exp()

    def draw(self, n: int, rng: Rng) -> Tensor:
        """Draws from the model, (n, d): cells are drawn by their probability, and points uniformly within a cell."""
        cumulative = self.mass.cumsum(0)
        cell = torch.searchsorted(cumulative, rng.uniform("cell", n).cpu().double() * cumulative[-1]).clamp(max=len(cumulative) - 1)
        cells = [axis_of(axis, self.spacing)[1:] for axis in self.box]
        places = torch.unravel_index(cell, [len(low) for low, _ in cells])
        low, high = (torch.stack([ends[side][place] for ends, place in zip(cells, places, strict=True)], -1) for side in (0, 1))
        return low + (high - low) * rng.uniform("within", n, len(cells)).cpu().double()


@dataclass(frozen=True)
class Resolved:
    """The finest `grid`, and the changes in the last doubling of the resolution and of the box, in nats."""

    grid: Grid
    log_z_moved: Mapping[str, float]
    mean_moved: float  # change of the mean energy of the data by the resolution; there are no data beyond the box


@dataclass(frozen=True)
class Quadrature(Metric):
    """`tolerance`, in nats, bounds the change when the grid or the box is doubled. `margin` widens the box of the data for the model."""

    tolerance: Positive
    margin: Positive
    requires: ClassVar[frozenset[str]] = frozenset({"real", "energy", "unconditional"})
    units: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("kl", "kl_error", "nll", "entropy", "log_z", "log_z_error"), "nats"),
        "edge_mass": "",
    }
    headline: ClassVar[Sequence[str]] = ("kl", "nll")
    best: ClassVar[Mapping[str, Best]] = {"kl": "min", "nll": "min"}
    unaveraged: ClassVar[Sequence[str]] = ("kl_error", "log_z_error")

    def expected(self, dataset: Dataset) -> Collection[str]:
        if not has_grid(dataset.shape):
            return ()
        return self.units if "density" in dataset.provides else ("nll", "log_z", "log_z_error", "edge_mass")

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        found = self.resolved(context)
        if isinstance(found, str):
            return found
        fine, log_det, log_z_error = found.grid, context.dataset.standardization.log_det, sum(found.log_z_moved.values())
        low, high = torch.tensor([(axis[0], axis[-1]) for axis in fine.box], dtype=torch.double).T
        border = ((2 * fine.points - low - high) / (high - low)).abs().amax(-1) > 0.95
        of_log_z = {"log_z": fine.log_z + log_det, "log_z_error": log_z_error, "edge_mass": fine.mass[border].sum().item()}
        if fine.log_p is None:
            reason = "the true density of this dataset is not known"
            energy = at_data(context)
            nll = energy.mean().item() + fine.log_z + log_det if len(energy) else no_events(context.held_out_name)
            return {"kl": reason, "kl_error": reason, "nll": nll, "entropy": reason} | of_log_z
        kl, kl_error, entropy = fine.mean_energy + fine.log_z - fine.entropy, found.mean_moved + log_z_error, fine.entropy + log_det
        if not kl_error <= 2 * self.tolerance:
            moved = f"doubling the resolution changes the mean energy of the data by {found.mean_moved:.2g} nats"
            reason = f"{moved}: the grid does not resolve the energy there"
            return {"kl": reason, "kl_error": reason, "nll": reason, "entropy": entropy} | of_log_z
        return {"kl": kl, "kl_error": kl_error, "nll": kl + entropy, "entropy": entropy} | of_log_z

    def on_grid(self, context: MetricContext) -> Grid | str:
        """The energy on a grid that resolves it. A sentence with the reason is returned if there is no grid or no log Z."""
        if not self.requires <= context.model.provides | context.dataset.provides:
            return "a grid needs real events, and an energy that takes no labels"
        found = self.resolved(context)
        return found if isinstance(found, str) else found.grid

    def resolved(self, context: MetricContext) -> Resolved | str:
        return context.once(self, lambda: self._resolved(context))

    def _resolved(self, context: MetricContext) -> Resolved | str:
        model, params, dataset = context.model, context.params, context.dataset
        if not has_grid(dataset.shape):
            return f"quadrature takes at most {MOST_COORDINATES} coordinates; the events have {'x'.join(map(str, dataset.shape))}"
        box, spacing = self.first_grid(dataset, context.rng)
        aim = self.tolerance / (FINER if context.final else 2)
        fine = Grid.of(model, params, dataset, box, 2 * spacing)
        while True:
            coarse, fine = fine, Grid.of(model, params, dataset, box, spacing)
            resolution = abs(fine.log_z - coarse.log_z)
            mean = 0.0 if fine.log_p is None else abs(fine.mean_energy - coarse.mean_energy)
            if max(resolution, mean) <= aim or 2 ** len(box) * len(fine.points) > MOST:
                break
            spacing /= 2
        wide = Grid.of(model, params, dataset, widen(box, 2.0), 2 * spacing)
        moved = {"resolution": resolution, "box": abs(wide.log_z - fine.log_z)}
        if not sum(moved.values()) <= self.tolerance:
            worst = max(moved, key=moved.get)
            reason = f"doubling the {worst} changes log Z by {moved[worst]:.2g} nats"
            return f"{reason}: the energy may not be normalizable, or the grid does not resolve it"
        at_held_out = energy_of(model, params, held_out(context))  # in the coordinates of the model, as the grid
        if (at_held_out < fine.energy.min() - MISSED).any():
            return "the data lie in valleys of the energy that the finest grid does not resolve"
        if fine.log_p is not None:
            mass = (fine.log_p + fine.log_volume).exp().sum()
            if not abs(mass - 1) <= self.tolerance:
                return f"the grid does not resolve the density of the data: on the grid it integrates to {mass:.3g}"
        return Resolved(fine, moved, mean)

    def first_grid(self, dataset: Dataset, rng: Rng) -> tuple[Box, float]:
        """The widened box of the data, and a spacing that resolves their density, limited by the number of points `FIRST`."""
        if "density" in dataset.provides:
            box, spacing = widen(tuple(dataset.box), self.margin), 0.5 * dataset.length_scale
            if dataset.jumps:
                box = tuple((low, *jumps, high) for (low, high), jumps in zip(box, dataset.jumps, strict=True))
        else:
            x = dataset.split("train", 10_000, rng).x
            box, spacing = widen(tuple(zip(x.amin(0).tolist(), x.amax(0).tolist(), strict=True)), 2 * self.margin), 0.05
        return box, max(spacing, (math.prod(axis[-1] - axis[0] for axis in box) / FIRST) ** (1 / len(box)))


def at_data(context: MetricContext) -> Tensor:
    """E in data units at the held-out points, (N,); there may be none."""
    return context.once("energy at data", lambda: context.energy(held_out(context)))


def held_out(context: MetricContext) -> Tensor:
    """Up to `N_DATA` held-out points, (N, *d); there may be none."""
    return context.dataset.split(context.held_out_name, N_DATA, context.rng).x


def widen(box: Box, factor: float) -> Box:
    """The box with the same center that is `factor` times as wide."""
    return tuple(((1 + factor) / 2 * a + (1 - factor) / 2 * b, *jumps, (1 - factor) / 2 * a + (1 + factor) / 2 * b) for a, *jumps, b in box)


def grid(box: Box, spacing: float) -> tuple[Tensor, Tensor]:
    """Points (N, d) at most `spacing` apart, in double precision, and the log of the volume of each cell (N,)."""
    axes = [axis_of(axis, spacing) for axis in box]
    points = torch.cartesian_prod(*(axis for axis, _, _ in axes)).reshape(-1, len(box))
    return points, torch.cartesian_prod(*((high - low).log() for _, low, high in axes)).reshape(-1, len(box)).sum(-1)


def axis_of(ends: Sequence[float], spacing: float) -> tuple[Tensor, Tensor, Tensor]:
    """The grid points of one coordinate, and the lower and upper ends of their cells, each (n,)."""
    low, *jumps, high = ends
    if jumps:
        return tuple(map(torch.cat, zip(*(_gauss(a, b, spacing) for a, b in itertools.pairwise(ends)), strict=True)))
    points = torch.linspace(low, high, max(_cells(high - low, spacing), 2) + 1, dtype=torch.double)
    middles = (points[1:] + points[:-1]) / 2  # the cells at both ends are half as wide
    return points, torch.cat([points[:1], middles]), torch.cat([middles, points[-1:]])


def _gauss(low: float, high: float, spacing: float) -> tuple[Tensor, Tensor, Tensor]:
    """A composite Gauss-Legendre rule with equal panels. Adjacent cells with the widths of the weights contain one point each.

    (Szego 1939, 3.41.)
    """
    n_panels = math.ceil(_cells(high - low, spacing) / PANEL)
    points, weights = map(torch.from_numpy, _legendre(max(_cells((high - low) / n_panels, spacing), 2)))
    width = (high - low) / n_panels
    corners = low + width * torch.arange(n_panels, dtype=torch.double).unsqueeze(-1)
    borders = torch.cat([torch.zeros(1, dtype=torch.double), weights.cumsum(0)])
    return tuple((corners + width * part).flatten() for part in (points, borders[:-1], borders[1:]))


@lru_cache
def _legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights of the rule on [0, 1], (n,)."""
    points, weights = np.polynomial.legendre.leggauss(n)
    return (points + 1) / 2, weights / 2


def _cells(width: float, spacing: float) -> int:
    return max(math.ceil(width / spacing - 1e-6), 1)


@lru_cache(maxsize=4)
def true_log_prob(dataset: Density, box: Sequence[tuple[float, float]], spacing: float) -> Tensor:
    """log p at the points of the grid, cached because every evaluation of a run uses the same grid."""
    return torch.cat([dataset.log_prob(part) for part in grid(box, spacing)[0].split(CHUNK)])

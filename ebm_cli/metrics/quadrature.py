"""log Z, NLL and KL in nats by the trapezoid rule on a grid, for events of one to three coordinates.

    log Z = log sum exp(-E) dA        KL(p || q) = sum p (log p + E + log Z) dA        NLL = KL + entropy

For smooth densities the rule converges spectrally once the spacing is below the smallest length. At the end of training resolution and
box are doubled until both changes of log Z are below the tolerance; `log_z_error` is the sum of the two. The NLL of a table is the
mean of E + log Z over its test rows. `edge_mass` is the model's mass in the outer twentieth of the box. Where the density jumps, the
rule is that of midpoints, in cells that end at the jumps.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from ebm_cli.case import Case
from ebm_cli.densities import Density
from ebm_cli.model import Model
from ebm_cli.rng import Rng
from ebm_cli.types import Dataset, Metric, Params, Positive

Box = tuple[tuple[float, ...], ...]  # per coordinate its ends, and between them where the density jumps
CHUNK = 16384  # grid points evaluated at once
FIRST = 2**17  # points of the first grid, at most
MOST = 2**21  # of the finest
MOST_COORDINATES = 3
N_DATA = 10_000  # held-out points
MISSED = 1.0  # nats by which the data may lie below all the grid's energies


@dataclass(frozen=True)
class Grid:
    """An energy on a grid that resolves it: `points` (N, d), each one's `log_volume`, `energy` and the data's `log_p`, all (N,)."""

    points: Tensor
    log_volume: Tensor
    energy: Tensor
    log_p: Tensor | None  # where the density of the data is known
    log_z: float
    log_z_error: float | None  # at the end of training
    box: Box
    spacing: float

    @property
    def mass(self) -> Tensor:
        """The model's, of every cell, (N,)."""
        return (self.log_volume - self.energy - self.log_z).exp()

    def draw(self, n: int, rng: Rng) -> Tensor:
        """Points of the model's law, (n, d): of cells by their mass, and uniformly within each."""
        cumulative = self.mass.cumsum(0)
        cell = torch.searchsorted(cumulative, rng.uniform("cell", n).cpu().double() * cumulative[-1]).clamp(max=len(cumulative) - 1)
        cells = [axis_of(axis, self.spacing)[1:] for axis in self.box]
        places = torch.unravel_index(cell, [len(low) for low, _ in cells])
        low, high = (torch.stack([ends[side][place] for ends, place in zip(cells, places, strict=True)], -1) for side in (0, 1))
        return low + (high - low) * rng.uniform("within", n, len(cells)).cpu().double()


@dataclass(frozen=True)
class Quadrature(Metric):
    """`tolerance`, in nats, bounds what doubling may change; `margin` widens the data's box for the model's tails."""

    tolerance: Positive
    margin: Positive
    units: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("kl", "nll", "entropy", "log_z", "log_z_error"), "nats"),
        "edge_mass": "",
    }
    headline: ClassVar[Sequence[str]] = ("kl", "nll")
    best: ClassVar[Mapping[str, str | float]] = {"kl": "least", "nll": "least"}
    unaveraged: ClassVar[Sequence[str]] = ("log_z_error",)

    def __call__(self, case: Case) -> dict[str, float | str] | str:
        found = self.on_grid(case)
        if isinstance(found, str):
            return found
        log_det, log_z = case.dataset.units.log_det, found.log_z
        numbers = {"log_z": log_z + log_det} | ({"log_z_error": found.log_z_error} if case.final else {})
        low, high = torch.tensor([(axis[0], axis[-1]) for axis in found.box], dtype=torch.double).T
        border = ((2 * found.points - low - high) / (high - low)).abs().amax(-1) > 0.95
        numbers["edge_mass"] = found.mass[border].sum().item()
        if found.log_p is None:
            reason = "the true density of this dataset is not known"
            return {"kl": reason, "nll": at_data(case).mean().item() + log_z + log_det, "entropy": reason} | numbers
        log_p, p = found.log_p, (found.log_p + found.log_volume).exp()
        kl = torch.where(p > 0, p * (log_p + found.energy + log_z), 0).sum().item()
        entropy = -torch.where(p > 0, p * log_p, 0).sum().item() + log_det
        return {"kl": kl, "nll": kl + entropy, "entropy": entropy} | numbers

    def on_grid(self, case: Case) -> Grid | str:
        """The energy on its grid; where there is no log Z, the reason why."""
        return case.once(self, lambda: self._on_grid(case))

    def _on_grid(self, case: Case) -> Grid | str:
        model, params, dataset = case.model, case.params, case.dataset
        if "energy" not in model.provides:
            return "a score network has no energy"
        if len(dataset.shape) > 1 or dataset.shape[0] > MOST_COORDINATES:
            return f"quadrature takes at most {MOST_COORDINATES} coordinates, these events have {'x'.join(map(str, dataset.shape))}"
        box, spacing = self.first_grid(dataset, case.rng)
        energy = evaluate(model, params, box, spacing)
        log_z, error = log_integral(energy, box, spacing), None
        if case.final:
            energy, spacing, log_z, changes = self._double(model, params, box, spacing, log_z)
            error = sum(changes.values())
            if not error <= self.tolerance:
                worst = max(changes, key=changes.get)
                reason = f"doubling the {worst} moves log Z by {changes[worst]:.2g} nats"
                return f"{reason}: the energy may not be normalisable, or is not resolved by the grid"
        if at_data(case).min() < energy.min() - MISSED:
            return "the data lie in valleys of the energy that are narrower than the finest grid"
        points, log_volume = grid(box, spacing)
        log_p = true_log_prob(dataset, box, spacing) if isinstance(dataset, Density) else None
        if log_p is not None:
            mass = (log_p + log_volume).exp().sum()
            if not abs(mass - 1) <= self.tolerance:
                return f"the grid gives the data's density a mass of {mass:.3g}: it does not resolve it"
        return Grid(points, log_volume, energy, log_p, log_z, error, box, spacing)

    def first_grid(self, dataset: Dataset, rng: Rng) -> tuple[Box, float]:
        """Where the data lie, widened, and a spacing that resolves them, if that many points will do."""
        if isinstance(dataset, Density):
            box, spacing = widen(tuple(dataset.box), self.margin), 0.5 * dataset.length_scale
            if dataset.jumps:
                box = tuple((low, *jumps, high) for (low, high), jumps in zip(box, dataset.jumps, strict=True))
        else:
            x = dataset.split("train", 10_000, rng)
            box, spacing = widen(tuple(zip(x.amin(0).tolist(), x.amax(0).tolist(), strict=True)), 2 * self.margin), 0.05
        return box, max(spacing, (math.prod(axis[-1] - axis[0] for axis in box) / FIRST) ** (1 / len(box)))

    def _double(
        self, model: Model, params: Params, box: Box, spacing: float, log_z: float
    ) -> tuple[Tensor, float, float, dict[str, float]]:
        """Energy, spacing and log Z of a grid that doubling no longer changes, and what doubling resolution and box still changed."""
        while True:
            spacing, coarse = spacing / 2, log_z
            energy = evaluate(model, params, box, spacing)
            log_z = log_integral(energy, box, spacing)
            if abs(log_z - coarse) <= 0.5 * self.tolerance or 2 ** len(box) * len(energy) > MOST:
                break
        wide = widen(box, 2.0)
        wider = log_integral(evaluate(model, params, wide, 2 * spacing), wide, 2 * spacing)
        return energy, spacing, log_z, {"resolution": abs(log_z - coarse), "box": abs(wider - log_z)}


def at_data(case: Case) -> Tensor:
    """E at held-out points, (N,)."""
    return case.once("energy at data", lambda: energy_of(case.model, case.params, case.held_out(N_DATA)))


def widen(box: Box, factor: float) -> Box:
    """The box about its centre, `factor` times as wide."""
    return tuple(((1 + factor) / 2 * a + (1 - factor) / 2 * b, *jumps, (1 - factor) / 2 * a + (1 + factor) / 2 * b) for a, *jumps, b in box)


def grid(box: Box, spacing: float) -> tuple[Tensor, Tensor]:
    """Points (N, d) at most `spacing` apart, in double precision, and the log of each one's volume (N,)."""
    axes = [axis_of(axis, spacing) for axis in box]
    points = torch.cartesian_prod(*(axis for axis, _, _ in axes)).reshape(-1, len(box))
    return points, torch.cartesian_prod(*((high - low).log() for _, low, high in axes)).reshape(-1, len(box)).sum(-1)


def axis_of(ends: Sequence[float], spacing: float) -> tuple[Tensor, Tensor, Tensor]:
    """Points of one coordinate, and the two ends of the cell of each, (n,)."""
    low, *jumps, high = ends
    if jumps:  # the middles of equal cells between each two
        borders = [torch.linspace(a, b, _cells(b - a, spacing) + 1, dtype=torch.double) for a, b in itertools.pairwise(ends)]
        lows, highs = torch.cat([one[:-1] for one in borders]), torch.cat([one[1:] for one in borders])
        return (lows + highs) / 2, lows, highs
    points = torch.linspace(low, high, max(_cells(high - low, spacing), 2) + 1, dtype=torch.double)
    middles = (points[1:] + points[:-1]) / 2  # from end to end, where the cells are half as wide
    return points, torch.cat([points[:1], middles]), torch.cat([middles, points[-1:]])


def _cells(width: float, spacing: float) -> int:
    return max(math.ceil(width / spacing - 1e-6), 1)


def evaluate(model: Model, params: Params, box: Box, spacing: float) -> Tensor:
    """E at the points of the grid, (N,)."""
    return torch.cat([energy_of(model, params, part) for part in grid(box, spacing)[0].split(CHUNK)])


@torch.no_grad()
def energy_of(model: Model, params: Params, x: Tensor) -> Tensor:
    """E at points (N, d), in double precision on the CPU."""
    return model.energy(params, x.to(params[model.names[0]])).cpu().double()


def log_integral(energy: Tensor, box: Box, spacing: float) -> float:
    """log Z in nats."""
    return torch.logsumexp(grid(box, spacing)[1] - energy, -1).item()


@lru_cache(maxsize=2)
def true_log_prob(dataset: Density, box: Sequence[tuple[float, float]], spacing: float) -> Tensor:
    """log p at the points of the grid: every evaluation of a run asks for the same."""
    return torch.cat([dataset.log_prob(part) for part in grid(box, spacing)[0].split(CHUNK)])

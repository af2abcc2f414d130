"""Helpers for 2-D figures: scatter plots, images of a density, and their axes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from ebm_cli.core import style
from ebm_cli.core.figure import Scene

BLUE, RED = style.SAMPLES, style.DATA


def plane(scene: Scene) -> str | None:
    """The reason why a scene has no points in the plane to show; None if it has some."""
    if not scene.is_plane:
        return "the events are not points in the plane"
    return None if len(scene.samples) else "there are no finite samples"


def sides(scene: Scene) -> tuple[int, int] | None:
    """The sides (height, width) of discrete events on a lattice with two axes; None for other events."""
    *channels, height, width = (0, *scene.shape) if len(scene.shape) == 1 else scene.shape
    is_lattice = scene.kind != "real" and channels in ([], [1]) and min(height, width) > 1
    return (height, width) if is_lattice else None


def is_analytic(scene: Scene) -> bool:
    """Whether the scene is of an analytic energy with a known density."""
    return scene.frame is not None and scene.log_z is not None


def scatter(axis: Axes, points: np.ndarray, color: str = style.SAMPLES, **more: Any) -> None:
    """Draw points (n, 2). The more points there are, the smaller they are drawn."""
    size = np.clip(8000 / max(len(points), 1), 2, 16)
    axis.scatter(*points.T, **{"s": size, "alpha": 0.5, "linewidths": 0, "color": color, "rasterized": True} | more)


def image(axis: Axes, scene: Scene, values: np.ndarray, **style: Any) -> Any:
    """Draw values (n * n,) on the grid of the scene."""
    x, y, _ = scene.grid()
    return axis.pcolormesh(x, y, values.reshape(len(y), len(x)), rasterized=True, **style)


def frame(axis: Axes, scene: Scene, *, names: Sequence[str] | None = None, equal: bool) -> None:
    """Set limits and labels and, with `equal`, the same scale for both axes."""
    names = names or scene.column_names
    axis.set(xlim=scene.box[0], ylim=scene.box[1], xlabel=names[0], ylabel=names[1])
    if equal:
        axis.set_aspect("equal")


def aspect(scene: Scene) -> float:
    """The width of the frame divided by its height."""
    (a, b), (c, d) = scene.box
    return (b - a) / (d - c)


def contours(axis: Axes, scene: Scene, n: int = 15, most: float = 12.0) -> None:
    """Draw n contours of the energy, from its minimum to `most` nats above it, or to its 90 % quantile if that is lower."""
    x, y, points = scene.grid()
    energy = scene.energy(points).reshape(len(y), len(x))
    inside = np.isfinite(energy)
    if not inside.any() or np.ptp(energy[inside]) == 0:
        return
    energy = np.ma.masked_where(~inside, energy - energy[inside].min())
    end = min(most, float(np.quantile(energy.compressed(), 0.9)) or most)
    axis.contourf(x, y, np.minimum(energy, end), levels=np.linspace(0, end, n), colors=colormaps["Greys_r"](np.linspace(0.55, 1, n)))


def arrows(axis: Axes, points: np.ndarray, score: np.ndarray, color: str) -> None:
    """Draw the score (N, 2) at points (N, 2) as arrows of the length log(1 + |s|)."""
    length = np.linalg.norm(score, axis=1, keepdims=True)
    directions = np.divide(score, length, out=np.zeros_like(score), where=length > 0) * np.log1p(length)
    if length.any():
        axis.quiver(*points.T, *directions.T, color=color, alpha=0.8, width=0.0025 if len(points) > 300 else 0.006)

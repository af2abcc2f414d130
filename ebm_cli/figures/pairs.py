"""A figure of pairs of columns, and of the first two principal components, for tables with three columns or more.

Data are below the diagonal and samples above it, with the axes exchanged, so that the two halves of a perfect model mirror each other. The
panels on the right show the projection of the standardized columns on the two directions in which the data vary most.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from ebm_cli.core import style
from ebm_cli.core.figure import Figure, Scene
from ebm_cli.figures._axes import scatter, sides
from ebm_cli.types import Count

RANGE = (0.005, 0.995)  # the quantiles of data and samples that the axes reach


@dataclass(frozen=True)
class Pairs(Figure):
    """At most `n_columns` columns are shown: those with the largest weights in the first two principal components."""

    n_columns: Count

    def lacking(self, scene: Scene) -> str | None:
        if scene.n_columns < 3:
            return "pairs need at least three columns; figure=density shows two"
        if scene.kind != "real":
            return "the events are not real numbers"
        if sides(scene) or len(scene.shape) > 1:
            return "the events are arrays, not rows of a table"
        if scene.data is None:
            return "the data are not available"
        return None if len(scene.samples) else "there are no finite samples"

    def plot(self, scene: Scene) -> Drawing:
        components, share = principal(scene.data)
        columns = chosen(components, self.n_columns)
        n = len(columns)
        drawing = Drawing(figsize=(style.WIDTH + 1.4, 7.2), layout="constrained")
        left, right = drawing.subfigures(1, 2, width_ratios=[2, 1])
        more = f", {n} of {scene.n_columns} columns" if n < scene.n_columns else ""
        drawing.suptitle(f"{scene.title}{more}")
        self.grid(left, scene, columns)
        mean, scale = scene.data.mean(0), spread(scene.data)
        sets = {"data": (scene.data, style.DATA), "samples": (scene.samples, style.SAMPLES)}
        projected = {name: ((points - mean) / scale @ components[:2].T, color) for name, (points, color) in sets.items()}
        axes = right.subplots(2, 1, sharex=True, sharey=True)
        for axis, (name, (points, color)) in zip(axes, projected.items(), strict=True):
            scatter(axis, points, color, s=4)
            axis.set(title=f"{name}, principal components", ylabel=f"second ({share[1]:.0%} of the variance)")
        axes[1].set_xlabel(f"first ({share[0]:.0%} of the variance)")
        (low, high) = np.quantile(np.concatenate([points for points, _ in projected.values()]), RANGE, axis=0)
        axes[0].set(xlim=ends(low[0], high[0]), ylim=ends(low[1], high[1]))
        return drawing

    def grid(self, drawing: Drawing, scene: Scene, columns: np.ndarray) -> None:
        """The pairs of columns; the diagonal has the histograms of both sets."""
        axes, both = drawing.subplots(len(columns), len(columns), squeeze=False), np.concatenate([scene.data, scene.samples])
        limits = [ends(*np.quantile(both[:, column], RANGE)) for column in columns]
        for i, row in enumerate(columns):
            for j, column in enumerate(columns):
                axis: Axes = axes[i, j]
                if i == j:
                    bins = np.linspace(*limits[i], 31)
                    for points, color in ((scene.data, style.DATA), (scene.samples, style.SAMPLES)):
                        axis.hist(points[:, row], bins=bins, density=True, histtype="step", color=color)
                    axis.set_yticks([])
                else:
                    points, color = (scene.data, style.DATA) if i > j else (scene.samples, style.SAMPLES)
                    scatter(axis, points[:, [column, row]], color, s=3, alpha=0.4)
                    axis.set_ylim(limits[i])
                axis.set_xlim(limits[j])
                axis.tick_params(labelbottom=i == len(columns) - 1, labelleft=j == 0 and i > 0)
                axis.locator_params(axis="x", nbins=3)
                axis.set_xlabel(short(scene.column_names[column]) if i == len(columns) - 1 else "")
                axis.set_ylabel(short(scene.column_names[row]) if j == 0 else "")
        axes[0, 0].set_title("data below, samples above", loc="left")


def principal(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The principal directions of the standardized columns, (d, d), one a row, and their shares of the variance, (d,)."""
    _, values, directions = np.linalg.svd((data - data.mean(0)) / spread(data), full_matrices=False)
    return directions, np.square(values) / max(np.square(values).sum(), 1e-300)


def spread(data: np.ndarray) -> np.ndarray:
    """The standard deviations of the columns; 1 for a column that does not vary."""
    scale = data.std(0)
    return np.where(scale > 0, scale, 1.0)


def chosen(directions: np.ndarray, n: int) -> np.ndarray:
    """The n columns with the largest squared weights in the first two directions, in their order."""
    weight = np.square(directions[:2]).sum(0)
    return np.sort(np.argsort(-weight, kind="stable")[:n])


def ends(low: float, high: float) -> tuple[float, float]:
    """A range with some room."""
    room = 0.08 * (high - low) or 0.5
    return low - room, high + room


def short(name: str, most: int = 14) -> str:
    """A name of at most `most` letters."""
    return name if len(name) <= most else f"{name[: most - 1]}\u2026"

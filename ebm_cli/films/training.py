"""A film of training: one picture for each snapshot, with fixed axes and a fixed color scale.

The left panel shows the data with the negatives or noise points that the objective used in this step, or, for objectives without such
points, with the score field of the model. The right panel shows the density of the model, normalized over the panel. A model that outputs
the score has the left panel only.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from scipy.special import logsumexp

from ebm_cli.core import style
from ebm_cli.core.figure import Scene
from ebm_cli.films.canvas import Canvas, thinned
from ebm_cli.training.snapshots import Snapshot

N_GRID = 120  # number of grid points of the density per axis
N_ARROWS = 20  # number of arrows per axis
N_DATA = 1000  # number of data points
POINTS = {"negatives": (style.SAMPLES, "negatives (blue)"), "noise": (style.REFERENCE, "noise points (green)")}
ARROWS = "#303030"
OF_EDGES = ("#e8a376", "#f4d2bc", "#6ca4cb", "#b6d1e5", "#66c5ab", "#b3e2d5", "#8c8c8c")  # where a point covers a part of a pixel
LEVELS = colormaps[style.DENSITY](np.linspace(0, 1, 24) ** 1.5)  # finer where the density is low
KEPT = (style.DATA, style.SAMPLES, style.REFERENCE, ARROWS, *OF_EDGES, *map(to_hex, LEVELS))  # colors that a GIF has without loss


def pictures(scene: Scene, snapshots: Sequence[Snapshot], n_steps: int, model: int | None) -> Iterator[np.ndarray]:
    """The pictures of the snapshots of one model, (height, width, 3) each. `model` is its index in a stack."""
    canvas, last = Canvas(scene, 1 + scene.has_energy), snapshots[-1]
    show = [_Left(canvas, scene, last), *([_Density(canvas, scene, last)] if scene.has_energy else [])]
    for snapshot in snapshots:
        for panel in show:
            panel.update(_at(scene, snapshot), snapshot)
        yield canvas.pixels(scene.title, f"step {snapshot.step} of {n_steps}{_kl(scene.rows, snapshot.step, model)}")


def _at(scene: Scene, snapshot: Snapshot) -> Scene:
    """The scene with the parameters of a snapshot."""
    return replace(scene, params=scene.params | snapshot.params)


def _kl(rows: Sequence[Mapping[str, Any]], step: int, model: int | None) -> str:
    """The last exact KL divergence that was measured up to a step; "" if there is none."""
    for row in reversed(rows):
        value = row.get("kl")
        value = value[model] if isinstance(value, list) and model is not None else value
        if row["step"] <= step and isinstance(value, (int, float)):
            return f", KL {value:.3g} nats" + ("" if row["step"] == step else f" (at step {row['step']})")
    return ""


class _Left:
    """The data with the points of the objective or with the score field."""

    def __init__(self, canvas: Canvas, scene: Scene, last: Snapshot) -> None:
        axis, self.scene = canvas.axes[0], scene
        if scene.data is not None:
            axis.scatter(*thinned(scene.data, N_DATA).T, s=6, color=style.DATA, linewidths=0)
        data = "data (orange)" if scene.data is not None else "no data"
        self.name = next(iter(last.points), None)
        if self.name:
            color, text = POINTS.get(self.name, (style.SAMPLES, f"{self.name} (blue)"))
            self.points = axis.scatter([], [], s=9, color=color, linewidths=0)
            axis.set_title(f"{data}, {text}")
            return
        grid = scene.grid(N_ARROWS + 2)[2].reshape(N_ARROWS + 2, N_ARROWS + 2, 2)[1:-1, 1:-1].reshape(-1, 2)  # not on the frame
        self.grid, arrows = grid, _arrows(_at(scene, last), grid)
        longest = np.quantile(np.linalg.norm(arrows, axis=1), 0.95) or 1.0
        shape = {"color": ARROWS, "width": 0.004, "scale": longest * N_ARROWS / 1.1, "scale_units": "width"}
        self.field = axis.quiver(*grid.numpy().T, *arrows.T, **shape)
        axis.set_title(f"{data}, score field")

    def update(self, scene: Scene, snapshot: Snapshot) -> None:
        if self.name:
            self.points.set_offsets(self.scene.standardization.to_data(snapshot.points[self.name]).numpy())
        else:
            self.field.set_UVC(*_arrows(scene, self.grid).T)


def _arrows(scene: Scene, grid: Any) -> np.ndarray:
    """The scores with their lengths on a logarithmic scale, log(1 + |s|)."""
    score = scene.score(grid)
    length = np.linalg.norm(score, axis=1, keepdims=True)
    return np.divide(score, length, out=np.zeros_like(score), where=length > 0) * np.log1p(length)


class _Density:
    """The density of the model, normalized over the panel, on the scale of the true density, or else of the last snapshot."""

    def __init__(self, canvas: Canvas, scene: Scene, last: Snapshot) -> None:
        axis = canvas.axes[1]
        x, y, self.grid = scene.grid(N_GRID)
        self.area = (x[1] - x[0]) * (y[1] - y[0])
        if scene.knows_density:
            most = scene.dataset.log_prob(scene.standardization.from_data(self.grid)).exp().max().item()
        else:
            most = self.of(_at(scene, last)).max()
        scale = {"cmap": style.DENSITY, "vmin": 0.0, "vmax": most}
        place = {"extent": (*scene.box[0], *scene.box[1]), "origin": "lower", "interpolation": "bilinear", "aspect": axis.get_aspect()}
        self.image = axis.imshow(self.of(scene), **scale, **place)
        canvas.drawing.colorbar(self.image, ax=axis, label="density per unit area", extend="max")
        axis.set_title("density of the model")

    def of(self, scene: Scene) -> np.ndarray:
        """The density on the grid."""
        log = -scene.energy(self.grid).astype(float)
        log = np.where(np.isnan(log), -np.inf, log)
        return np.exp(log - logsumexp(log) - np.log(self.area)).reshape(N_GRID, N_GRID)

    def update(self, scene: Scene, snapshot: Snapshot) -> None:
        self.image.set_data(self.of(scene))

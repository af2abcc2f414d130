"""A figure of data and samples side by side and, if both are known, the true density and the model density on one color scale.

For an analytic energy the figure shows the samples and the exact density.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure as Drawing

from ebm_cli.core import style
from ebm_cli.core.figure import Figure, Scene
from ebm_cli.figures._axes import aspect, frame, image, is_analytic, plane, scatter


@dataclass(frozen=True)
class Density(Figure):
    """This figure needs two columns, and the data or an exact density."""

    def lacking(self, scene: Scene) -> str | None:
        unknown = scene.data is None and not is_analytic(scene)
        return plane(scene) or ("neither the data nor an exact density are available" if unknown else None)

    def plot(self, scene: Scene) -> Drawing:
        return _analytic(scene) if scene.data is None else _beside_data(scene)


def _beside_data(scene: Scene) -> Drawing:
    densities, comparable = _densities(scene), 0.2 < aspect(scene) < 5
    height = 4.2 * min(max(1 / aspect(scene), 0.5), 1.5) if comparable else 3.5
    drawing = Drawing(figsize=(9.6, 1 + (height + 0.5) * (1 + bool(densities))), layout="compressed")
    drawing.suptitle(scene.title)
    axes = drawing.subplots(1 + bool(densities), 2, squeeze=False, sharex=True, sharey=True)
    shown = ("data", scene.data, style.DATA), ("samples of the model", scene.samples, style.SAMPLES)
    for axis, (title, points, color) in zip(axes[0], shown, strict=True):
        scatter(axis, points, color)
        axis.set_title(f"{title}, n = {len(points)}")
    if densities:
        most = max(density.max() for density in densities.values())
        for axis, (title, density) in zip(axes[1], densities.items(), strict=True):
            mesh = image(axis, scene, density, vmin=0, vmax=most, cmap=style.DENSITY)
            axis.set_title(title)
        drawing.colorbar(mesh, ax=axes[1], label="density per unit area")
    for axis in axes.flat:
        frame(axis, scene, equal=comparable)
    return drawing


def _analytic(scene: Scene) -> Drawing:
    comparable = 0.5 < aspect(scene) < 2
    drawing = Drawing(figsize=(10.4, 1 + 4.2 / (aspect(scene) if comparable else 1)), layout="compressed")
    drawing.suptitle(scene.title)
    left, right = drawing.subplots(1, 2, sharex=True, sharey=True)
    scatter(left, scene.samples)
    left.set_title(f"samples, n = {len(scene.samples)}")
    density = np.exp(-scene.energy(scene.grid()[2]) - scene.log_z)
    drawing.colorbar(image(right, scene, density, cmap=style.DENSITY), ax=right, label="density per unit area")
    right.set_title("exact density")
    for axis in (left, right):
        frame(axis, scene, equal=comparable)
    return drawing


def _densities(scene: Scene) -> dict[str, np.ndarray]:
    """Densities on the grid, by title: none if the model density is unknown; a histogram replaces an unknown density of the data."""
    if not scene.has_density:
        return {}
    x, y, points = scene.grid()
    model = np.exp(-scene.energy(points) - scene.log_z)
    if scene.knows_density:
        true = scene.dataset.log_prob(scene.standardization.from_data(points)).exp().numpy()
        return {"true density": true, "density of the model": model}
    n = min(int(len(scene.data) ** 0.5 / 2) + 5, len(x))
    counts, *edges = np.histogram2d(*scene.data.T, bins=n, range=scene.box, density=True)
    column, row = (np.clip(np.searchsorted(edge, axis, side="right") - 1, 0, n - 1) for edge, axis in zip(edges, (x, y), strict=True))
    return {"histogram of the data": counts[column[None, :], row[:, None]], "density of the model": model}

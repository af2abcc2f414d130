"""Data beside samples and, where both are known, the true density beside the model's, on one colour scale.

Of an energy that is known as it stands: the samples beside its density.
"""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ebm_cli.core.densities import Density


def plot(scene: Any) -> Figure | None:
    """For two columns, with the data or the exact density at hand."""
    if scene.n_columns != 2 or (scene.data is None and (scene.frame is None or scene.log_z is None)):
        return None
    if scene.data is None:
        return _known(scene)
    densities = _densities(scene)
    (a, b), (c, d) = scene.box
    height = 4.2 * min(max((d - c) / (b - a), 0.5), 1.5) if _comparable(scene) else 3.5
    figure = Figure(figsize=(9.6, 1 + (height + 0.5) * (1 + bool(densities))), layout="compressed")
    figure.suptitle(scene.title)
    axes = figure.subplots(1 + bool(densities), 2, squeeze=False, sharex=True, sharey=True)
    for axis, points, title in zip(axes[0], (scene.data, scene.samples), ("data", "samples of the model"), strict=True):
        axis.scatter(*points.T, s=np.clip(8000 / len(points), 2, 16), alpha=0.5, linewidths=0, color="#1f4e79")
        axis.set_title(f"{title}, n = {len(points)}")
    if densities:
        most = max(density.max() for density in densities.values())
        x, y, _ = scene.grid()
        for axis, (title, density) in zip(axes[1], densities.items(), strict=True):
            image = axis.pcolormesh(x, y, density.reshape(len(y), len(x)), vmin=0, vmax=most, cmap="magma", rasterized=True)
            axis.set_title(title)
        figure.colorbar(image, ax=axes[1], label="density per unit area")
    names = scene.trained.column_names
    for axis in axes.flat:
        axis.set(xlim=scene.box[0], ylim=scene.box[1], xlabel=names[0], ylabel=names[1])
        if _comparable(scene):
            axis.set_aspect("equal")
    return figure


def _known(scene: Any) -> Figure:
    (a, b), (c, d) = scene.box
    comparable = 0.5 < (b - a) / (d - c) < 2
    height = 4.2 * (d - c) / (b - a) if comparable else 4.2
    figure = Figure(figsize=(10.4, 1 + height), layout="compressed")
    figure.suptitle(scene.title)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    left.scatter(*scene.samples.T, s=np.clip(8000 / len(scene.samples), 2, 16), alpha=0.5, linewidths=0, color="#1f4e79")
    left.set_title(f"samples, n = {len(scene.samples)}")
    x, y, points = scene.grid()
    density = np.exp(-scene.energy(points) - scene.log_z).reshape(len(y), len(x))
    figure.colorbar(right.pcolormesh(x, y, density, cmap="magma", rasterized=True), ax=right, label="density per unit area")
    right.set_title("exact density")
    names = scene.trained.column_names
    for axis in (left, right):
        axis.set(xlim=scene.box[0], ylim=scene.box[1], xlabel=names[0], ylabel=names[1])
        if comparable:
            axis.set_aspect("equal")
    return figure


def _densities(scene: Any) -> dict[str, np.ndarray]:
    """By title. Without log Z, or of components alone, the model has no density; a table's true density is not known."""
    if not scene.has_density:
        return {}
    _, _, points = scene.grid()
    model = np.exp(-scene.energy(points) - scene.log_z)
    if isinstance(scene.dataset, Density):
        true = scene.dataset.log_prob(scene.trained.standardization.from_data(points)).exp().numpy()
        return {"true density": true, "density of the model": model}
    x, y, _ = scene.grid()
    n = min(int(len(scene.data) ** 0.5 / 2) + 5, len(x))
    counts, *edges = np.histogram2d(*scene.data.T, bins=n, range=scene.box, density=True)
    column, row = (np.clip(np.searchsorted(edge, axis, side="right") - 1, 0, n - 1) for edge, axis in zip(edges, (x, y), strict=True))
    fine = counts[column[None, :], row[:, None]]
    return {"histogram of the data": fine, "density of the model": model}


def _comparable(scene: Any) -> bool:
    """Whether the two axes have lengths that can share a scale."""
    (a, b), (c, d) = scene.box
    return 0.2 < (b - a) / (d - c) < 5

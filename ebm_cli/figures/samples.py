"""The samples alone, over the density of the model where log Z is known: what `ebm sample` shows."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure


def plot(scene: Any) -> Figure | None:
    """For two columns, where the data are not at hand (with them, or the exact density, the density picture shows more)."""
    if scene.n_columns != 2 or scene.data is not None or (scene.frame is not None and scene.log_z is not None):
        return None
    figure = Figure(figsize=(6, 5), layout="constrained")
    axis = figure.subplots()
    if scene.has_density:
        x, y, points = scene.grid()
        density = np.exp(-scene.energy(points) - scene.log_z).reshape(len(y), len(x))
        figure.colorbar(axis.pcolormesh(x, y, density, cmap="Greys", rasterized=True), ax=axis, label="density per unit area")
    axis.scatter(*scene.samples.T, s=np.clip(8000 / len(scene.samples), 2, 16), alpha=0.5, linewidths=0, color="#1f4e79")
    names = scene.trained.column_names
    axis.set(
        title=f"{scene.title}\nsamples, n = {len(scene.samples)}", xlabel=names[0], ylabel=names[1], xlim=scene.box[0], ylim=scene.box[1]
    )
    return figure

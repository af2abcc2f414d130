"""A figure of the samples, on top of the density of the model if log Z is known, for runs whose data are not available."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure as Drawing

from ebm_cli.core.figure import Figure, Scene
from ebm_cli.figures._axes import frame, image, is_analytic, plane, scatter


@dataclass(frozen=True)
class Samples(Figure):
    """This figure needs two columns. If the data or the exact density are available, the figure `density` replaces it."""

    def lacking(self, scene: Scene) -> str | None:
        replaced = scene.data is not None or is_analytic(scene)
        return plane(scene) or ("figure=density shows the samples beside the data or the exact density" if replaced else None)

    def plot(self, scene: Scene) -> Drawing:
        drawing = Drawing(figsize=(6, 5), layout="constrained")
        axis = drawing.subplots()
        if scene.has_density:
            density = np.exp(-scene.energy(scene.grid()[2]) - scene.log_z)
            drawing.colorbar(image(axis, scene, density, cmap="Greys"), ax=axis, label="density per unit area")
        scatter(axis, scene.samples)
        frame(axis, scene, equal=False)
        axis.set_title(f"{scene.title}\nsamples, n = {len(scene.samples)}")
        return drawing

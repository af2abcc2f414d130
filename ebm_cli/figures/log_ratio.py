"""A figure of the true density, the density of the model, and the logarithm of their ratio, log p_model(x) - log p_data(x), in nats.

Red places are too likely under the model, blue ones too unlikely. The mean of this difference over the data is minus the KL divergence.
Places where both densities are below a share of the largest density are left grey: what happens there has hardly any weight.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Lt
from matplotlib.figure import Figure as Drawing

from ebm_cli.core import style
from ebm_cli.core.figure import Figure, Scene
from ebm_cli.figures._axes import aspect, frame, image

LEAST = 0.05  # nats: the smallest end of the color scale, so that rounding errors have no color


@dataclass(frozen=True)
class LogRatio(Figure):
    """`share`: places where both densities are below this share of the largest are left out."""

    share: Annotated[float, Gt(0), Lt(1)]
    shows_samples: ClassVar[bool] = False

    def lacking(self, scene: Scene) -> str | None:
        if not scene.is_plane:
            return "the events are not points in the plane"
        if not scene.knows_density:
            return "the density of the data is unknown"
        return None if scene.has_density else "the density of the model is unknown, because its log Z is"

    def plot(self, scene: Scene) -> Drawing:
        true, model = densities(scene)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.ma.masked_where(np.maximum(true, model) < self.share * true.max(), np.log(model) - np.log(true))
        finite = np.abs(ratio[np.isfinite(ratio)].compressed())
        end = max(np.quantile(finite, 0.95), LEAST) if len(finite) else 1.0
        height = 3.6 / min(max(aspect(scene), 0.5), 2)
        drawing = Drawing(figsize=(style.WIDTH + 1.5, height + 1), layout="compressed")
        drawing.suptitle(scene.title)
        axes = drawing.subplots(1, 3, sharex=True, sharey=True)
        most = max(true.max(), model.max())
        for axis, values, title in zip(axes, (true, model), ("true density", "density of the model"), strict=False):
            mesh = image(axis, scene, values, vmin=0, vmax=most, cmap=style.DENSITY)
            axis.set_title(title)
        drawing.colorbar(mesh, ax=axes[:2], label="density per unit area", location="bottom", aspect=40)
        axes[2].set_facecolor("lightgrey")
        signed = image(axes[2], scene, ratio, vmin=-end, vmax=end, cmap=style.SIGNED)
        axes[2].set_title("log p_model(x) - log p_data(x)")
        drawing.colorbar(signed, ax=axes[2], label="nats; red: too likely", location="bottom", extend="both")
        for axis in axes:
            frame(axis, scene, equal=0.2 < aspect(scene) < 5)
            axis.label_outer()
        return drawing


def densities(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """The true density and that of the model on the grid of the scene, both (n * n,), per unit area of the data."""
    points = scene.grid()[2]
    true = scene.dataset.log_prob(scene.standardization.from_data(points)).exp().numpy()
    return true, np.exp(-scene.energy(points) - scene.log_z)

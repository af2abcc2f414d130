"""A figure of the weights of the hidden units of a machine, each as an image of the shape of the events.

Red weights favor a one at this pixel if the unit is on, blue ones a zero. All images have one color scale. Hinton 2012, A practical guide
to training restricted Boltzmann machines, section 16.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from matplotlib.figure import Figure as Drawing

from ebm_cli.core import style
from ebm_cli.core.figure import Figure, Scene

MOST = 144  # hidden units that are shown: the first ones


@dataclass(frozen=True)
class Filters(Figure):
    """This figure needs energy=rbm or gaussian_rbm, and events that are images (H, W) or (1, H, W)."""

    shows_samples: ClassVar[bool] = False

    def lacking(self, scene: Scene) -> str | None:
        if not hasattr(scene.model.module, "filters"):
            return "the energy has no hidden units with weights"
        shape = scene.shape[1:] if len(scene.shape) == 3 and scene.shape[0] == 1 else scene.shape
        return None if len(shape) == 2 else "the events are not images"

    def plot(self, scene: Scene) -> Drawing:
        with torch.no_grad():
            weights = scene.model.call(scene.params, "filters").cpu().numpy()
        n_all, images = len(weights), weights.reshape(len(weights), *scene.shape[-2:])[:MOST]
        most = abs(images).max() or 1.0
        n_columns = math.ceil(math.sqrt(len(images)))
        n_rows = math.ceil(len(images) / n_columns)
        drawing = Drawing(
            figsize=(min(1.0 * n_columns, 9.6) + 1.2, min(1.0 * n_columns, 9.6) * n_rows / n_columns + 0.6), layout="compressed"
        )
        axes = drawing.subplots(n_rows, n_columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, image in zip(axes.flat, images, strict=False):
            shown = axis.imshow(image, cmap=style.SIGNED, vmin=-most, vmax=most, interpolation="nearest")
        drawing.colorbar(shown, ax=axes, label="weight", shrink=0.8)
        which = f"{len(images)} of {n_all} hidden units" if n_all > len(images) else f"{n_all} hidden units"
        drawing.suptitle(f"{scene.title}\nweights of {which}")
        return drawing

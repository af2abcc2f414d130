"""A figure of the training curve and, if it was measured during training, the metric by which runs are compared."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from matplotlib.figure import Figure as Drawing

from ebm_cli.core import style
from ebm_cli.core.figure import Figure, Scene


@dataclass(frozen=True)
class Training(Figure):
    """The figure has one line per model of a stack."""

    shows_samples: ClassVar[bool] = False

    def lacking(self, scene: Scene) -> str | None:
        return None if any(row.get("loss") is not None for row in scene.rows) else "the log of the run has no loss"

    def plot(self, scene: Scene) -> Drawing:
        logged = [row for row in scene.rows if row.get("loss") is not None]
        key = next((key for key in scene.tracked if any(row.get(key) is not None for row in scene.rows)), None)
        drawing = Drawing(figsize=(7.2, 3.4 + 2.6 * bool(key)), layout="constrained")
        axes = drawing.subplots(1 + bool(key), 1, squeeze=False, sharex=True)[:, 0]
        drawing.suptitle(scene.title)
        loss = np.array([row["loss"] for row in logged], dtype=float)
        axes[0].plot([row["step"] for row in logged], loss, linewidth=1)
        finite = loss[np.isfinite(loss)]
        if len(finite) > 20:  # leave the first losses, which may be very large, out of the range
            low, high = np.quantile(finite, [0.0, 0.97])
            axes[0].set_ylim(low - 0.05 * (high - low) - 1e-9, high + 0.05 * (high - low) + 1e-9)
        axes[0].set(ylabel="loss, mean of each interval")
        if key:
            measured = [row for row in scene.rows if row.get(key) is not None]
            values, unit = np.array([row[key] for row in measured], dtype=float), scene.tracked[key]
            look = {"marker": "o", "markersize": 3, "linewidth": 1, "color": None if values.ndim > 1 else style.DATA}
            axes[1].plot([row["step"] for row in measured], values, **look)
            positive = np.isfinite(values).any() and np.nanmin(values) > 0
            axes[1].set(ylabel=f"{key}, {unit}" if unit else key, yscale="log" if positive else "linear")
        axes[-1].set(xlabel="training step")
        for axis in axes:
            axis.grid(alpha=0.3)
        return drawing

"""The energy landscape, with the score field over it."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

N_ARROWS = 22  # per axis
MOST = 25.0  # nats above the lowest that are told apart: what lies higher is never seen in a sample


def plot(scene: Any) -> Figure | None:
    """For two columns that the model sees itself. A score network shows its field alone."""
    if scene.n_columns != 2 or scene.projected:
        return None
    figure = Figure(figsize=(7.2, 5.4), layout="compressed")
    axis = figure.subplots()
    if scene.has_energy:
        x, y, points = scene.grid()
        energy = scene.energy(points).reshape(len(y), len(x))
        energy = energy - energy.min()
        inside = np.isfinite(energy)  # p = 0 elsewhere, which stays white
        cut = min(np.quantile(energy[inside], 0.9), MOST) or 1.0  # 1 where there is no more than a constant
        shown = np.ma.masked_where(~inside, np.minimum(energy, cut))
        image = axis.contourf(x, y, shown, levels=np.linspace(0, cut, 31), cmap="viridis_r")
        figure.colorbar(image, ax=axis, label=f"E(x) - min E, nats (cut at {cut:.3g})", ticks=MaxNLocator(6))
    x, y, points = scene.grid(N_ARROWS)
    score = scene.score(points)
    length = np.linalg.norm(score, axis=1, keepdims=True)
    arrows = np.divide(score, length, out=np.zeros_like(score), where=length > 0) * np.log1p(length)
    if length.any():
        axis.quiver(*points.numpy().T, *arrows.T, color="black" if not scene.has_energy else "white", alpha=0.8, width=0.0025)
    names = scene.trained.column_names
    what = "energy and score field" if scene.has_energy else "score field"
    figure.suptitle(f"{scene.title}\n{what}, arrow length log(1 + |s|)", fontsize="medium")
    axis.set(xlabel=names[0], ylabel=names[1], xlim=scene.box[0], ylim=scene.box[1])
    (a, b), (c, d) = scene.box
    if 0.5 < (b - a) / (d - c) < 2:  # narrower ones would leave the title no room
        axis.set_aspect("equal")
    return figure

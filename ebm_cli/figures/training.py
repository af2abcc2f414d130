"""The training curve, with the exact KL where it was measured."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure


def plot(scene: Any) -> Figure | None:
    """One line per model of a stack."""
    logged = [row for row in scene.rows if row.get("loss") is not None]
    if not logged:
        return None
    measured = [row for row in scene.rows if row.get("kl") is not None]
    figure = Figure(figsize=(7.2, 3.4 + 2.6 * bool(measured)), layout="constrained")
    axes = figure.subplots(1 + bool(measured), 1, squeeze=False, sharex=True)[:, 0]
    figure.suptitle(scene.title)
    loss = np.array([row["loss"] for row in logged], dtype=float)
    axes[0].plot([row["step"] for row in logged], loss, linewidth=1)
    finite = loss[np.isfinite(loss)]
    if len(finite) > 20:  # the first losses may be far off: show where the curve lives
        low, high = np.quantile(finite, [0.0, 0.97])
        axes[0].set_ylim(low - 0.05 * (high - low) - 1e-9, high + 0.05 * (high - low) + 1e-9)
    axes[0].set(ylabel="loss, mean of each interval")
    if measured:
        kl = np.array([row["kl"] for row in measured], dtype=float)
        axes[1].plot([row["step"] for row in measured], kl, marker="o", markersize=3, linewidth=1, color=None if kl.ndim > 1 else "#b03a2e")
        axes[1].set(ylabel="exact KL(data || model), nats", yscale="log")
    axes[-1].set(xlabel="training step")
    for axis in axes:
        axis.grid(alpha=0.3)
    return figure

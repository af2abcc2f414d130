"""Each column's histogram, samples over data, for events of one or of more than two columns."""

from math import ceil
from typing import Any

import numpy as np
from matplotlib.figure import Figure

MOST = 12  # columns that are shown


def plot(scene: Any) -> Figure | None:
    """In data units; the outermost thousandth on each side is cut."""
    if scene.n_columns == 2:
        return None
    n = min(scene.n_columns, MOST)
    per_row = min(n, 4)
    figure = Figure(figsize=(3 * per_row, 2.4 * ceil(n / per_row) + 0.8), layout="constrained")
    axes = figure.subplots(ceil(n / per_row), per_row, squeeze=False)
    figure.suptitle(scene.title + (f": the first {n} of {scene.n_columns} columns" if n < scene.n_columns else ""))
    for i, axis in enumerate(axes.flat):
        if i >= n:
            axis.set_axis_off()
            continue
        sets = {"samples": scene.samples[:, i]} | ({} if scene.data is None else {"data": scene.data[:, i]})
        low, high = np.quantile(np.concatenate(list(sets.values())), [0.001, 0.999])
        bins = np.linspace(low, high, 31)
        for (label, values), colour in zip(sets.items(), ("#1f4e79", "#b03a2e"), strict=False):
            axis.hist(
                values,
                bins=bins,
                density=True,
                label=label,
                color=colour,
                histtype="stepfilled" if label == "samples" else "step",
                alpha=0.6 if label == "samples" else 1,
            )
        axis.set(title=scene.trained.column_names[i] if i < len(scene.trained.column_names) else f"x{i}", yticks=[])
    axes.flat[0].legend(fontsize="small")
    figure.supylabel("density")
    return figure

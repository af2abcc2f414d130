"""A figure with histograms of samples and data for each column, for events with one column or more than two."""

from dataclasses import dataclass
from math import ceil

import numpy as np
from matplotlib.figure import Figure as Drawing

from ebm_cli.core import style
from ebm_cli.core.figure import Figure, Scene
from ebm_cli.figures._axes import sides

MOST = 12  # maximum number of columns that are shown


@dataclass(frozen=True)
class Marginals(Figure):
    """Histograms of the range between the 0.1 % and 99.9 % quantiles, in data units; for bits and categories frequencies."""

    def lacking(self, scene: Scene) -> str | None:
        if scene.is_plane:
            return "figure=density and figure=samples show events in the plane"
        if sides(scene):
            return "figure=lattices shows events on a lattice"
        return None if len(scene.samples) else "there are no finite samples"

    def plot(self, scene: Scene) -> Drawing:
        n = min(scene.n_columns, MOST)
        per_row = min(n, 4)
        drawing = Drawing(figsize=(3 * per_row, 2.4 * ceil(n / per_row) + 0.8), layout="constrained")
        axes = drawing.subplots(ceil(n / per_row), per_row, squeeze=False)
        drawing.suptitle(scene.title + (f": the first {n} of {scene.n_columns} columns" if n < scene.n_columns else ""))
        for i, axis in enumerate(axes.flat):
            if i >= n:
                axis.set_axis_off()
                continue
            sets = {"samples": scene.samples[:, i]} | ({} if scene.data is None else {"data": scene.data[:, i]})
            bins = bins_of(np.concatenate(list(sets.values())), discrete=scene.kind != "real")
            axis.hist(sets["samples"], bins=bins, density=True, label="samples", color=style.SAMPLES, histtype="stepfilled", alpha=0.6)
            if "data" in sets:
                axis.hist(sets["data"], bins=bins, density=True, label="data", color=style.DATA, histtype="step")
            axis.set(title=scene.column_names[i], yticks=[])
        axes.flat[0].legend()
        drawing.supylabel("density" if scene.kind == "real" else "frequency")
        return drawing


def bins_of(values: np.ndarray, *, discrete: bool) -> np.ndarray:
    """The edges of the bars for one column."""
    if discrete:  # one bar for each value 0, 1, ..., K - 1
        return np.arange(values.max() + 2) - 0.5
    low, high = np.quantile(values, [0.001, 0.999])
    return np.linspace(low, high, 31) if low < high else np.linspace(low - 0.5, low + 0.5, 31)

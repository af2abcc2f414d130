"""A figure of samples beside data, each event as an image, for bits or categories on a lattice with two axes."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure as Drawing

from ebm_cli.core.figure import Figure, Scene
from ebm_cli.figures._axes import sides
from ebm_cli.types import Count

GAP = "#909090"  # the color of the lines between images, which no event has


@dataclass(frozen=True)
class Lattices(Figure):
    """`n_rows` x `n_rows` events of the samples and, if they are available, of the data."""

    n_rows: Count
    requires: ClassVar[frozenset[str]] = frozenset({"discrete"})

    def lacking(self, scene: Scene) -> str | None:
        if sides(scene) is None:
            return "the events are not on a lattice with two axes"
        return None if len(scene.samples) else "there are no finite samples"

    def plot(self, scene: Scene) -> Drawing:
        sets = ({} if scene.data is None else {"data": scene.data}) | {"samples of the model": scene.samples}
        drawing = Drawing(figsize=(5 * len(sets) + 0.6 * (scene.kind == "categorical"), 5.4), layout="compressed")
        drawing.suptitle(scene.title)
        colors, axes = self._colors(scene), drawing.subplots(1, len(sets), squeeze=False)[0]
        for axis, (title, points) in zip(axes, sets.items(), strict=True):
            image = axis.imshow(tiled(points, sides(scene), self.n_rows), interpolation="nearest", **colors)
            axis.set(title=title, xticks=[], yticks=[])
            for side in axis.spines.values():
                side.set_visible(False)
        if scene.kind == "categorical":
            drawing.colorbar(image, ax=list(axes), label="category", ticks=range(n_states(scene)))
        return drawing

    def _colors(self, scene: Scene) -> dict[str, Any]:
        """Ones are white and zeros black; categories have colors of their own."""
        n = n_states(scene)
        scale = colormaps["gray" if n == 2 else "viridis"].resampled(n)
        return {"cmap": scale.with_extremes(bad=GAP), "vmin": -0.5, "vmax": n - 0.5}


def n_states(scene: Scene) -> int:
    """The largest number of states of a site."""
    found = scene.model.space.n_states if scene.model.space is not None else None
    return max(found) if isinstance(found, tuple) else found or 2


def tiled(points: np.ndarray, shape: tuple[int, int], n: int) -> np.ma.MaskedArray:
    """At most n * n of the points, (N, d), evenly chosen, as one image. Lines of one site between them and empty places are masked."""
    height, width = shape
    chosen = points[np.linspace(0, len(points) - 1, min(n * n, len(points))).astype(int)].reshape(-1, height, width)
    rows = -(-len(chosen) // n)
    tiles = np.full((rows * n, height + 1, width + 1), np.nan)
    tiles[: len(chosen), :-1, :-1] = chosen
    whole = tiles.reshape(rows, n, height + 1, width + 1).swapaxes(1, 2).reshape(rows * (height + 1), n * (width + 1))
    return np.ma.masked_invalid(whole[:-1, :-1])

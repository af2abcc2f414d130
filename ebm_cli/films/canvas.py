"""The pictures of a film. All have the same size and the same axes; only what is drawn in them changes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing

from ebm_cli.core.figure import Scene
from ebm_cli.figures._axes import aspect, frame

DPI = 100
MARGIN = 8  # pixels below the drawing
PANEL = 3.9  # the width of a panel, in inches


class Canvas:
    """A drawing with one or two panels over the box of a scene, below two lines of text."""

    def __init__(self, scene: Scene, n_panels: int) -> None:
        tall = min(max(1 / aspect(scene), 0.6), 1.2) if 0.2 < aspect(scene) < 5 else 0.8
        self.drawing = Drawing(figsize=(PANEL * n_panels + 0.9, PANEL * tall + 0.9), dpi=DPI, layout="compressed")
        self._canvas = FigureCanvasAgg(self.drawing)
        self.axes: list[Axes] = list(self.drawing.subplots(1, n_panels, squeeze=False, sharey=True)[0])
        for axis in self.axes:
            frame(axis, scene, equal=0.2 < aspect(scene) < 5)
        for axis in self.axes[1:]:
            axis.set_ylabel("")
        self._title = self.drawing.suptitle(" \n ")
        self._height = 0  # of the pictures, in pixels; known from the first one

    def pixels(self, *title: str) -> np.ndarray:
        """The picture with this title, (height, width, 3), as bytes. Height and width are even, as codecs of videos require."""
        self._title.set_text("\n".join(title))
        self._canvas.draw()
        shown = np.asarray(self._canvas.buffer_rgba())[..., :3]
        if not self._height:  # the axes keep the places that the first picture gave them, and the empty space below is left out
            self.drawing.set_layout_engine("none")
            self._height = min(np.flatnonzero((shown < 255).any((1, 2)))[-1] + MARGIN, len(shown)) // 2 * 2
        return shown[: self._height, : shown.shape[1] // 2 * 2].copy()


def thinned(values: np.ndarray, n: int) -> np.ndarray:
    """At most n of the values, evenly spaced."""
    return values[np.linspace(0, len(values) - 1, min(n, len(values))).astype(int)]

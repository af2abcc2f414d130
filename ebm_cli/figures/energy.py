"""A figure of the energy landscape with the score field."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator

from ebm_cli.core import style
from ebm_cli.core.figure import Figure, Scene
from ebm_cli.figures._axes import arrows, aspect, frame, plane

N_ARROWS = 22  # number of arrows per axis
SHOWN = 25.0  # energies are cut at this height above the minimum, in nats: samples do not have higher energies


@dataclass(frozen=True)
class Energy(Figure):
    """This figure needs two columns, and a model of these columns. For a score network it shows the score field only."""

    requires: ClassVar[frozenset[str]] = frozenset({"unconditional"})
    shows_samples: ClassVar[bool] = False

    def lacking(self, scene: Scene) -> str | None:
        return plane(scene) or ("the model is of principal components, not of the columns" if scene.projected else None)

    def plot(self, scene: Scene) -> Drawing:
        drawing = Drawing(figsize=(7.2, 5.4), layout="compressed")
        axis = drawing.subplots()
        if scene.has_energy:
            x, y, points = scene.grid()
            energy = scene.energy(points).reshape(len(y), len(x))
            energy = energy - energy.min()
            inside = np.isfinite(energy)  # elsewhere p = 0: these places stay white
            cut = min(np.quantile(energy[inside], 0.9), SHOWN) or 1.0  # 1 if the energy is constant
            shown = np.ma.masked_where(~inside, np.minimum(energy, cut))
            contours = axis.contourf(x, y, shown, levels=np.linspace(0, cut, 31), cmap=style.ENERGY)
            drawing.colorbar(contours, ax=axis, label=f"E(x) - min E, nats (cut at {cut:.3g})", ticks=MaxNLocator(6))
        _, _, points = scene.grid(N_ARROWS)
        arrows(axis, points.numpy(), scene.score(points), color="white" if scene.has_energy else "black")
        what = "energy and score field" if scene.has_energy else "score field"
        drawing.suptitle(f"{scene.title}\n{what}, arrow length log(1 + |s|)")
        frame(axis, scene, equal=0.5 < aspect(scene) < 2)  # a narrower picture would leave no room for the title
        return drawing

"""A figure of where one step of maximum likelihood lowers and raises the energy, from the parameters of the newest checkpoint.

The gradient of the log-likelihood lowers the energy of the data and raises that of the samples of the model:

    g = grad_theta [mean E(data) - mean E(samples)],    dE(x) = -grad_theta E(x) . g,    d log p(x) = mean dE(samples) - dE(x)

for a step of learning rate 1 along -g, to first order. The map shows -d log p(x): blue places become more likely, red ones less. At the
maximum of the likelihood g is zero, and only the noise of data and samples is left. LeCun et al. 2006; Song & Kingma 2021,
arXiv:2101.03288.
"""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure as Drawing
from torch import Tensor

from ebm_cli.core import style
from ebm_cli.core.figure import Figure, Scene
from ebm_cli.figures._axes import aspect, frame, image, plane, scatter
from ebm_cli.types import Count, Params

EPSILON = 1e-4  # the length of the step of the finite difference, in double precision
N_DRAWN = 500  # points of each kind that are drawn


@dataclass(frozen=True)
class LikelihoodStep(Figure):
    """`n_points` is the number of data and the largest number of samples in the means."""

    n_points: Count

    def lacking(self, scene: Scene) -> str | None:
        if reason := plane(scene):
            return reason
        if scene.dataset is None:
            return "the data are not available"
        if not scene.has_energy:
            return "the model gives no energy for an event: it outputs the score itself or takes a label"
        if scene.projected:
            return "the model is of principal components, not of the columns"
        return None if set(scene.model.learned) & set(scene.params) else "the energy has no parameters to learn"

    def plot(self, scene: Scene) -> Drawing:
        data, samples = self.points(scene)
        places = scene.standardization.from_data(scene.grid()[2])
        change, at_points = np.split(self.change(scene, data, samples, torch.cat([places, data, samples])), [len(places)])
        end = float(np.quantile(np.abs(at_points), 0.99)) or 1.0  # the color scale is that of places that matter
        drawing = Drawing(figsize=(7.6, 5.6 / min(max(aspect(scene), 0.8), 1.6)), layout="constrained")
        axis = drawing.subplots()
        drawing.suptitle(f"{scene.title}\none step of maximum likelihood: blue becomes more likely, red less likely")
        mesh = image(axis, scene, change, cmap=style.SIGNED, vmin=-end, vmax=end)
        drawing.colorbar(mesh, ax=axis, label="-d log p(x), nats per unit of learning rate", extend="both")
        look = {"s": 12, "alpha": 0.9, "edgecolors": "white", "linewidths": 0.4}
        for points, color, name in ((data, style.DATA, "data"), (samples, style.SAMPLES, "samples of the model")):
            shown = scene.standardization.to_data(points[:N_DRAWN]).numpy()
            scatter(axis, shown, color, label=name, marker="o" if name == "data" else "^", **look)
        axis.legend(loc="upper right")
        frame(axis, scene, equal=0.5 < aspect(scene) < 2)
        return drawing

    def points(self, scene: Scene) -> tuple[Tensor, Tensor]:
        """Training data and finite samples in the coordinates of the model and in double precision, (n, d)."""
        data = scene.dataset.split("train", self.n_points, scene.rng).x
        draws = scene.draws.flatten(0, 1)
        draws = draws[draws.isfinite().all(-1)]
        draws = draws[torch.linspace(0, len(draws) - 1, min(self.n_points, len(draws))).long()]
        return data.cpu().double(), draws.cpu().double()

    def change(self, scene: Scene, data: Tensor, samples: Tensor, at: Tensor) -> np.ndarray:
        """-d log p at points `at` (N, d), (N,), by a central difference along the gradient."""
        double = {name: value.detach().double() if value.is_floating_point() else value for name, value in scene.params.items()}
        learned = {name: double[name].requires_grad_() for name in scene.model.learned if name in double}

        def energy(params: Params, x: Tensor) -> Tensor:
            return scene.model.energy(params, x.to(next(iter(learned.values())).device))

        with torch.enable_grad():
            gap = energy(double, data).mean() - energy(double, samples).mean()
            found = torch.autograd.grad(gap, list(learned.values()), allow_unused=True)
        gradient = [torch.zeros_like(value) if g is None else g for g, value in zip(found, learned.values(), strict=True)]
        length = torch.stack([g.square().sum() for g in gradient]).sum().sqrt()
        if not length > 0:
            return np.zeros(len(at))
        step = EPSILON / length
        moved = [
            double | {name: value + sign * step * g for (name, value), g in zip(learned.items(), gradient, strict=True)} for sign in (-1, 1)
        ]
        with torch.no_grad():
            of_map, of_samples = ((energy(moved[0], x) - energy(moved[1], x)).cpu() / (2 * step).cpu() for x in (at, samples))
        return (of_map - of_samples.mean()).numpy()

"""A figure of the noise levels of a model that takes them: data with noise, the score field, and samples at each level.

The upper row shows the data plus N(0, sigma^2 I) with the score at that level; the lower row the states of annealed Langevin chains
(samplers/annealed.py) at the end of each level. Song & Ermon 2019, arXiv:1907.05600. A level is in the units of the model.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure as Drawing
from torch import Tensor

from ebm_cli.core import chain, style
from ebm_cli.core.figure import Figure, Scene
from ebm_cli.figures._axes import arrows, aspect, scatter
from ebm_cli.samplers.annealed import AnnealedLangevin
from ebm_cli.types import Count, Positive

N_ARROWS = 15  # arrows per axis


@dataclass(frozen=True)
class NoiseLadder(Figure):
    """`n_levels` levels are shown. The `n_samples` chains have `n_steps_per_level` transitions of size `step_size` at every level."""

    n_levels: Count
    n_samples: Count
    n_steps_per_level: Count
    step_size: Positive

    def lacking(self, scene: Scene) -> str | None:
        if not scene.is_plane or scene.projected:
            return "the events are not points in the plane"
        if not getattr(scene.model, "levels", ()):
            return "the model takes no noise level; objective=dsm_multi and objective=recovery train one that does"
        if scene.model.takes_labels:
            return "the chains of a conditional model need labels"
        return None if scene.reference is not None else "the reference of the model is unknown"

    def plot(self, scene: Scene) -> Drawing:
        every = scene.model.levels
        places = np.unique(np.linspace(0, len(every) - 1, min(self.n_levels, len(every))).round().astype(int))
        states = self.run(scene, places)
        drawing = Drawing(figsize=(style.WIDTH + 1.4, 1.2 + 2 * 2.3 / min(max(aspect(scene), 0.6), 1.6)), layout="compressed")
        drawing.suptitle(f"{scene.title}\n{len(places)} of {len(every)} noise levels, standard deviations in the units of the model")
        axes = drawing.subplots(2, len(places), squeeze=False, sharex="col", sharey="col")
        clean = None if scene.data is None else scene.standardization.from_data(torch.from_numpy(scene.data))
        for column, (place, state) in enumerate(zip(places, states, strict=True)):
            sigma, upper, lower = every[place], *axes[:, column]
            ranges = wider(scene.box, scene.standardization.scale.flatten().tolist(), sigma)
            if clean is not None:
                noise = scene.rng.at("figure").normal("ladder", *clean.shape).cpu().double()
                scatter(upper, to_data(scene, clean + sigma * noise), style.DATA, s=2, alpha=0.25)
            points = torch.cartesian_prod(*(torch.linspace(*ends, N_ARROWS, dtype=torch.double) for ends in ranges))
            arrows(upper, points.numpy(), scene.score(points, sigma), color="black")
            scatter(lower, to_data(scene, state), style.SAMPLES, s=2)
            upper.set_title(f"level {sigma:.3g}")
            lower.set_xlabel(scene.column_names[0])
            for axis in (upper, lower):
                axis.set(xlim=ranges[0], ylim=ranges[1], aspect="equal" if 0.5 < aspect(scene) < 2 else "auto")
        axes[0, 0].set_ylabel(f"data with noise, score\n{scene.column_names[1]}")
        axes[1, 0].set_ylabel(f"states of chains\n{scene.column_names[1]}")
        return drawing

    def run(self, scene: Scene, places: np.ndarray) -> list[Tensor]:
        """The states of the chains in the coordinates of the model, (n_samples, 2), at the end of each of the levels."""
        same = {field.name: getattr(self, field.name) for field in fields(AnnealedLangevin)}
        sampler, rng = AnnealedLangevin(**same), scene.rng.at("figure").at("ladder")
        state: Any = sampler.init(scene.model, scene.params, scene.reference.draw(self.n_samples, rng))
        found, last = [], {(place + 1) * self.n_steps_per_level for place in places}
        for n, noise in enumerate(chain.noises(sampler, state, rng, sampler.length(scene.model)), 1):
            state, _ = sampler.step(scene.model, scene.params, state, noise)
            found += [state.x.detach().cpu()] if n in last else []
        return found


def to_data(scene: Scene, u: Tensor) -> np.ndarray:
    """Finite points of the model's coordinates in data units."""
    points = scene.standardization.to_data(u.double())
    return points[points.isfinite().all(-1)].numpy()


def wider(box: Any, scale: list[float], sigma: float) -> list[tuple[float, float]]:
    """The ranges with room for noise of the standard deviation sigma in the units of the model."""
    return [(low - sigma * unit, high + sigma * unit) for (low, high), unit in zip(box, scale, strict=True)]

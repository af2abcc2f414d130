"""A figure of chains: their paths over the energy, and their traces, autocorrelation and acceptance.

The sampler of the run starts a few chains at the reference. Its step size is first adapted with chains that are not shown, as before the
samples of the run. The autocorrelation at lag t is that of the shown number f (the energy, or the first column for a score network) in the
second half of all chains, around their common mean:

    rho_t = mean over chains and n of (f_n - m)(f_{n+t} - m) / mean of (f_n - m)^2

Chains that do not decorrelate within the picture yield few independent samples.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from ebm_cli.core import chain, style
from ebm_cli.core.chain import Draws
from ebm_cli.core.figure import Figure, Scene
from ebm_cli.figures._axes import aspect, contours, frame
from ebm_cli.types import Count

LONGEST = 0.25  # lags are shown up to this share of the number of transitions
PATH = 150  # transitions whose paths are drawn: more would cover each other
WINDOW = 25  # transitions over which the acceptance rate is averaged


@dataclass(frozen=True)
class Trajectories(Figure):
    """`n_chains` chains of `n_steps` transitions."""

    n_chains: Count
    n_steps: Count

    def lacking(self, scene: Scene) -> str | None:
        if scene.sampler is None or scene.reference is None:
            return "the sampler of these samples is unknown"
        if scene.model.takes_labels:
            return "the chains of a conditional model need labels"
        return None if scene.sampler.length(scene.model) is None else "each chain descends a ladder of noise levels and yields one sample"

    def plot(self, scene: Scene) -> Drawing:
        path, infos = self.run(scene)  # (n_chains, 1 + n_steps, d) in data units
        name, values = self.traced(scene, path)
        shows_plane, shows_acceptance = scene.is_plane and not scene.projected, "acceptance_rate" in infos
        drawing = Drawing(figsize=(style.WIDTH if shows_plane else 7.2, 5.4 + 0.6 * shows_acceptance), layout="constrained")
        drawing.suptitle(
            f"{scene.title}\n{self.n_chains} chains from the reference, {self.n_steps} transitions of {self.kernel(scene, infos)}"
        )
        grid = drawing.add_gridspec(2 + shows_acceptance, 1 + shows_plane, width_ratios=[1.25, 1] if shows_plane else [1])
        if shows_plane:
            self.paths(drawing.add_subplot(grid[:, 0]), scene, path)
        trace, correlation = (drawing.add_subplot(grid[i, -1]) for i in range(2))
        trace.plot(values.T, linewidth=0.8)
        trace.set(xlabel="transition", ylabel=name, xlim=(0, self.n_steps))
        rho = autocorrelation(values[:, values.shape[1] // 2 :])
        correlation.plot(rho[: max(2, int(LONGEST * self.n_steps))], color="black")
        correlation.axhline(0, color=style.GREY, linewidth=0.8)
        correlation.set(xlabel="lag, transitions", ylabel="autocorrelation", ylim=(min(-0.2, rho[: len(rho) // 2].min()), 1.05))
        if shows_acceptance:
            axis = drawing.add_subplot(grid[2, -1])
            rates = moving_mean(infos["acceptance_rate"].mean(0), min(WINDOW, self.n_steps))
            axis.plot(np.arange(len(rates)) + self.n_steps - len(rates) + 1, rates, color="black")
            axis.set(xlabel="transition", ylabel="acceptance", ylim=(0, 1.05), xlim=(0, self.n_steps))
        return drawing

    def run(self, scene: Scene) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The states in data units, (n_chains, 1 + n_steps, d), and the infos of the transitions, (n_chains, n_steps)."""
        sampler, model, params, rng = scene.sampler, scene.model, scene.params, scene.rng.at("figure")
        start = sampler.starting_points(model, params, scene.reference.draw(self.n_chains, rng, "trajectories"))
        many = sampler.starting_points(model, params, scene.reference.draw(100, rng, "adaptation"))
        _, info = chain.draw(sampler, model, params, many, rng, Draws(100, 100, 2 * self.n_steps), scene.reference)
        state = sampler.init(model, params, start)
        if "step_size" in info:
            state = state._replace(step_size=info["step_size"])
        states, found = [start], []
        for noise in chain.noises(sampler, state, rng.at("trajectories"), self.n_steps):
            state, step = sampler.step(model, params, state, noise)
            states.append(sampler.finish(model, params, state))
            found.append(step)
        infos = {key: torch.stack([step[key].double() for step in found], -1).cpu().numpy() for key in found[0]}
        infos |= {"step_size": info["step_size"].cpu().numpy()} if "step_size" in info else {}
        path = torch.stack(states, 1).detach().cpu()
        points = scene.standardization.to_data(path.flatten(0, 1)).flatten(1)
        return points.unflatten(0, path.shape[:2]).numpy(), infos

    def kernel(self, scene: Scene, infos: dict[str, Any]) -> str:
        """The sampler with its step size and its acceptance rate."""
        parts = [type(scene.sampler).__name__]
        parts += [f"step size {float(infos['step_size']):.3g}"] if "step_size" in infos else []
        parts += [f"acceptance {infos['acceptance_rate'].mean():.2f}"] if "acceptance_rate" in infos else []
        return ", ".join(parts)

    def traced(self, scene: Scene, path: np.ndarray) -> tuple[str, np.ndarray]:
        """What is traced, and its values, (n_chains, 1 + n_steps)."""
        if not scene.has_energy:
            return scene.column_names[0], path[..., 0]
        energy = scene.energy(torch.from_numpy(path.reshape(-1, *scene.shape)))
        return "energy, nats", energy.reshape(path.shape[:2])

    def paths(self, axis: Axes, scene: Scene, path: np.ndarray) -> None:
        """The paths over the contours of the energy. A circle marks the start and a square the end of each."""
        if scene.has_energy:
            contours(axis, scene)
        for points in path[:, : PATH + 1]:
            (line,) = axis.plot(*points.T, linewidth=0.7, alpha=0.8)
            for point, marker in ((points[0], "o"), (points[-1], "s")):
                axis.plot(*point, marker, color=line.get_color(), markeredgecolor="black", markersize=7)
        frame(axis, scene, equal=0.5 < aspect(scene) < 2)
        axis.set_title(f"the first {min(PATH, self.n_steps)} transitions; circle: start, square: end")


def autocorrelation(values: np.ndarray) -> np.ndarray:
    """rho_t for t = 0 ... n - 1 of values (chains, n). A constant has the autocorrelation 1."""
    centered, n = values - values.mean(), values.shape[1]
    variance = np.square(centered).mean()
    if not variance > 0:
        return np.ones(n)
    return np.array([(centered[:, : n - t] * centered[:, t:]).mean() for t in range(n)]) / variance


def moving_mean(values: np.ndarray, n: int) -> np.ndarray:
    """Means of n values in turn, (N - n + 1,)."""
    return np.convolve(values, np.full(n, 1 / n), mode="valid")

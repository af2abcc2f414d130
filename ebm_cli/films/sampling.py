"""A film of sampling: a few chains from starting points far from each other, over the energy landscape of the model."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from torch import Tensor

from ebm_cli.core import chain, style
from ebm_cli.core.contracts import Sampler
from ebm_cli.core.figure import Scene
from ebm_cli.core.wrappers import Tempered
from ebm_cli.films.canvas import Canvas
from ebm_cli.runner.trained_model import TrainedModel

COLORS = style.CYCLE[:6]  # of the chains, in turn
LANDSCAPE = LinearSegmentedColormap.from_list("landscape", ["#ffffff", "#b8b8b8", "#6e6e6e"])
SHOWN = 12.0  # energies are cut at this height above the minimum, in nats
TAIL, PATH = 0.04, 0.4  # the shares of the transitions, the last ones, that are drawn thick and thin
N_GRID = 160  # number of grid points of the landscape per axis
N_ARROWS = 22  # number of arrows per axis, if the model has no energy


class Chains(NamedTuple):
    """The states of chains after 0, 1, ... n transitions, with what the sampler reports."""

    x: np.ndarray  # (n + 1, n_chains, 2) in data units
    acceptance: np.ndarray | None  # (n,), the mean over all chains and transitions so far; None if every proposal is taken
    step_size: np.ndarray | None  # (n + 1,); None if the sampler has none


def far_apart(points: Tensor, n: int) -> Tensor:
    """n of the points (N, d): the one farthest from their mean, then always the one that is farthest from those chosen before."""
    chosen = points[(points - points.mean(0)).square().sum(-1).argmax()].unsqueeze(0)
    for _ in range(n - 1):
        chosen = torch.cat([chosen, points[torch.cdist(points, chosen).amin(1).argmax()].unsqueeze(0)])
    return chosen


def run(trained: TrainedModel, sampler: Sampler, start: Tensor, n_steps: int, seed: int) -> Chains:
    """Chains of `n_steps` transitions from `start`, (n_chains, *d). Step sizes are adapted as in the warm-up of `ebm sample`."""
    model = trained.model if sampler.temperature == 1 else Tempered(trained.model, 1 / sampler.temperature)
    params, adapts = trained.params, sampler.target_acceptance is not None
    state = sampler.init(model, params, start)
    states, acceptances, sizes = [start], [], [getattr(state, "step_size", None)]
    for n, noise in enumerate(chain.noises(sampler, state, trained.rng.at("film").at(seed), n_steps), 1):
        state, info = sampler.step(model, params, state, noise)
        states.append(state.x if n < n_steps else sampler.finish(model, params, state))
        if "acceptance_rate" in info:
            acceptances.append(info["acceptance_rate"].to(state.x.dtype).mean(-1))
            if adapts:
                size = chain.adapted(state.step_size, acceptances[-1], sampler.target_acceptance, rate=n**-0.5)
                state = state._replace(step_size=size)
        sizes.append(getattr(state, "step_size", None))
    x = trained.standardization.to_data(torch.stack(states).flatten(0, 1)).reshape(len(states), len(start), -1)
    accepted = torch.stack(acceptances).cumsum(0) / torch.arange(1, n_steps + 1) if acceptances else None
    size = None if sizes[0] is None else torch.stack(sizes).numpy()
    return Chains(x.numpy(), None if accepted is None else accepted.numpy(), size)


def pictures(scene: Scene, chains: Chains, n_frames: int) -> Iterator[np.ndarray]:
    """At most `n_frames` pictures, (height, width, 3), evenly spaced over the transitions."""
    canvas, n_steps = Canvas(scene, 1), len(chains.x) - 1
    axis = canvas.axes[0]
    _landscape(canvas, scene)
    colors = [COLORS[k % len(COLORS)] for k in range(chains.x.shape[1])]
    axis.scatter(*chains.x[0].T, s=45, marker="x", color=colors, linewidths=1.5, zorder=4)
    paths = axis.add_collection(LineCollection([], colors=colors, linewidths=0.5, alpha=0.35), autolim=False)
    tails = axis.add_collection(LineCollection([], colors=colors, linewidths=1.8), autolim=False)
    heads = axis.scatter(*chains.x[0].T, s=45, color=colors, edgecolors="white", linewidths=1.0, zorder=5)
    for n in dict.fromkeys(np.linspace(0, n_steps, n_frames).round().astype(int).tolist()):
        paths.set_segments(chains.x[max(0, n - round(PATH * n_steps)) : n + 1].swapaxes(0, 1))
        tails.set_segments(chains.x[max(0, n - round(TAIL * n_steps)) : n + 1].swapaxes(0, 1))
        heads.set_offsets(chains.x[n])
        yield canvas.pixels(scene.title, f"transition {n} of {n_steps}{_reported(chains, n)}")


def _reported(chains: Chains, n: int) -> str:
    size = "" if chains.step_size is None else f", step size {chains.step_size[n]:.2g}"
    return size + ("" if chains.acceptance is None or not n else f", acceptance {chains.acceptance[n - 1]:.2f}")


def _landscape(canvas: Canvas, scene: Scene) -> None:
    """The energy above its minimum, light where it is low; for a model without an energy the score field."""
    axis = canvas.axes[0]
    if scene.has_energy:
        x, y, points = scene.grid(N_GRID)
        energy = scene.energy(points).reshape(len(y), len(x))
        energy = np.ma.masked_invalid(energy - energy[np.isfinite(energy)].min())
        contours = axis.contourf(x, y, np.minimum(energy, SHOWN), levels=np.linspace(0, SHOWN, 25), cmap=LANDSCAPE)
        axis.contour(x, y, energy, levels=np.arange(1, SHOWN, 2), colors="black", linewidths=0.3, alpha=0.5)
        bar = canvas.drawing.colorbar(contours, ax=axis, ticks=np.arange(0, SHOWN + 1, 2))
        bar.set_label(f"E(x) - min E, nats (cut at {SHOWN:g})")
        axis.set_title("chains over the energy landscape")
        return
    points = scene.grid(N_ARROWS)[2]
    score = scene.score(points)
    length = np.linalg.norm(score, axis=1, keepdims=True)
    arrows = np.divide(score, length, out=np.zeros_like(score), where=length > 0) * np.log1p(length)
    axis.quiver(*points.numpy().T, *arrows.T, color="#9a9a9a", width=0.003)
    axis.set_title("chains over the score field")

"""A figure of the weights of the modes of the data: the truth, the shares of the samples, and those of the model's density.

The error bars are 95 % Wilson intervals of the samples (Wilson 1927), for independent samples; correlated chains vary more. The weights
under the density are sums over a grid of the plane. They may differ from the shares of the samples: chains that cannot move between modes
keep the weights of their starts.
"""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure as Drawing
from torch import Tensor

from ebm_cli.core import style
from ebm_cli.core.figure import Figure, Scene

N_GRID = 300  # grid points per axis
Z95 = 1.959964  # the 97.5 % quantile of the standard normal distribution


@dataclass(frozen=True)
class ModeWeights(Figure):
    """This figure needs a dataset whose modes are known."""

    def lacking(self, scene: Scene) -> str | None:
        if scene.dataset is None:
            return "the data are not available"
        if getattr(scene.dataset, "mode_weights", None) is None:
            return "this dataset has no known modes"
        return None if len(scene.samples) else "there are no finite samples"

    def plot(self, scene: Scene) -> Drawing:
        true = scene.dataset.mode_weights.numpy()
        share, ends = of_samples(scene)
        bars = {"true weight": (true, style.DATA), "samples": (share, style.SAMPLES)}
        if (density := of_density(scene)) is not None:
            bars["density of the model"] = density, style.GREEN
        n, width = len(true), 0.8 / len(bars)
        drawing = Drawing(figsize=(min(max(6.0, 0.45 * n), style.WIDTH + 2), 3.8), layout="constrained")
        axis, place = drawing.subplots(), np.arange(n)
        drawing.suptitle(scene.title)
        for k, (label, (weights, color)) in enumerate(bars.items()):
            shift = (k - (len(bars) - 1) / 2) * width
            interval = np.abs(ends - weights) if label == "samples" else None
            axis.bar(place + shift, weights, width, color=color, label=label, yerr=interval, error_kw={"elinewidth": 1, "capsize": 2})
        error = 0.5 * np.abs(share - true).sum()
        axis.set_title(f"total variation distance of the samples from the truth: {error:.3f}")
        axis.set(xlabel="mode", ylabel="probability", xticks=place if n <= 40 else place[:: n // 20])
        axis.set_ylim(0, 1.3 * max(weights.max() for weights, _ in bars.values()))
        axis.legend(ncols=len(bars), loc="upper center")
        return drawing


def of_samples(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """The share of the samples in each mode, (K,), and the ends of its 95 % interval, (2, K)."""
    u = scene.draws.flatten(0, 1)
    mode = scene.dataset.mode(u[u.flatten(1).isfinite().all(1)]).cpu()
    n, share = len(mode), shares(mode, torch.ones(len(mode), dtype=torch.double), len(scene.dataset.mode_weights))
    center = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    return share, np.stack([np.minimum(center - half, share), np.maximum(center + half, share)])


def of_density(scene: Scene) -> np.ndarray | None:
    """The probability of each mode under the model, (K,), by sums over a grid of the data's box; None outside the plane."""
    if not (scene.is_plane and scene.has_energy) or scene.projected:
        return None
    axes = [torch.linspace(low, high, N_GRID, dtype=torch.double) for low, high in scene.dataset.box]
    points = torch.cartesian_prod(*axes)
    mass = (-torch.from_numpy(scene.energy(points))).softmax(0)
    return shares(scene.dataset.mode(scene.standardization.from_data(points)).cpu(), mass, len(scene.dataset.mode_weights))


def shares(mode: Tensor, mass: Tensor, n: int) -> np.ndarray:
    """The share of the mass (N,) in each of n modes, given the mode of each point, (N,)."""
    return (torch.zeros(n, dtype=torch.double).index_add(0, mode, mass) / mass.sum()).numpy()

"""A figure of bits that are the Gray codes of cells of the plane: counts of data and samples, and both distributions, on one color scale.

The lower row needs an energy that takes no label. The model's distribution is normalized over all cells.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure as Drawing
from torch import Tensor

from ebm_cli.core import style
from ebm_cli.core.figure import Figure, Scene
from ebm_cli.core.states import parts, states
from ebm_cli.datasets.binary_plane import BinaryPlane

MOST_BITS = 10  # bits of a coordinate up to which the distribution of the model is drawn
N_SHOWN = 64  # counts are of at most so many columns and rows


@dataclass(frozen=True)
class CodedPlane(Figure):
    """This figure needs one of the datasets binary_moons, binary_checkerboard and so on."""

    requires: ClassVar[frozenset[str]] = frozenset({"binary"})

    def lacking(self, scene: Scene) -> str | None:
        if not isinstance(scene.dataset, BinaryPlane):
            return "the events are not codes of cells of the plane"
        return None if len(scene.samples) else "no sample is finite"

    def plot(self, scene: Scene) -> Drawing:
        dataset, n = scene.dataset, 2**scene.dataset.n_bits
        rows = {"data": counts(dataset, scene.data), "samples of the model": counts(dataset, scene.samples)}
        exact = {}
        if scene.has_energy and dataset.n_bits <= MOST_BITS:
            exact = {"true probability": true(dataset), "probability under the model": of_model(scene)}
        drawing = Drawing(figsize=(9.6, 4.8 * (1 + bool(exact))), layout="compressed")
        drawing.suptitle(scene.title)
        axes = drawing.subplots(1 + bool(exact), 2, squeeze=False, sharex=True, sharey=True)
        for axis, values in zip(axes, [part for part in (rows, exact) if part], strict=True):
            most = max(value.max() for value in values.values())
            for place, (title, value) in zip(axis, values.items(), strict=True):
                box = [end for ends in dataset.grid for end in ends]
                image = place.imshow(value.T, origin="lower", extent=box, vmin=0, vmax=most, cmap=style.DENSITY, interpolation="nearest")
                place.set_title(title)
            drawing.colorbar(image, ax=axis, label="share of the events" if values is rows else f"probability of a cell, {n} x {n}")
        return drawing


def counts(dataset: BinaryPlane, x: np.ndarray) -> np.ndarray:
    """The share of the events, (N, 2n) bits, in each of at most N_SHOWN x N_SHOWN parts of the plane."""
    n = min(N_SHOWN, 2**dataset.n_bits)
    return np.histogram2d(*dataset.to_plane(torch.as_tensor(x)).T.numpy(), bins=n, range=dataset.grid)[0] / len(x)


def true(dataset: BinaryPlane) -> np.ndarray:
    """The probability of every cell, (2^n, 2^n)."""
    return by_cell(dataset, dataset.log_prob(_all(dataset)).exp())


def of_model(scene: Scene) -> np.ndarray:
    """The probability of every cell under the model, (2^n, 2^n)."""
    energy = np.concatenate([scene.energy(states(scene.dataset.space, *part)) for part in parts(scene.dataset.space)])
    return by_cell(scene.dataset, (-torch.from_numpy(energy)).softmax(0))


def by_cell(dataset: BinaryPlane, values: Tensor) -> np.ndarray:
    """The values of all states, in the order of their numbers, as an image (columns, rows)."""
    image = torch.empty_like(values)
    image[dataset.cell(_all(dataset))] = values
    return image.view(2**dataset.n_bits, -1).numpy()


def _all(dataset: BinaryPlane) -> Tensor:
    return torch.cat([states(dataset.space, *part) for part in parts(dataset.space)])

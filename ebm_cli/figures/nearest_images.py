"""A figure of samples, each above the training image that is nearest to it, for events that are images.

The distance is the Euclidean distance of the pixels in data units; of bits its square is the number of pixels that differ. Samples that
equal training images show that the model repeats its training data; as a scale, the title has the median distance of the shown samples
and of as many held-out images. The nearest image is found among at most `n_train` training images.
"""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure as Drawing

from ebm_cli.core import style
from ebm_cli.core.figure import Figure, Scene
from ebm_cli.types import Count


@dataclass(frozen=True)
class NearestImages(Figure):
    """`n_samples` samples in rows of at most `n_columns`, each with the nearest of at most `n_train` training images."""

    n_samples: Count
    n_columns: Count
    n_train: Count

    def lacking(self, scene: Scene) -> str | None:
        if image_sides(scene.shape) is None:
            return "the events are not images with one channel"
        if scene.dataset is None:
            return "the data are not available"
        return None if len(scene.samples) else "there are no finite samples"

    def plot(self, scene: Scene) -> Drawing:
        train = self.split(scene, "train", self.n_train)
        samples = evenly(scene.samples, self.n_samples)
        place, distance = nearest(samples, train)
        held_out = evenly(self.split(scene, "test", self.n_samples), self.n_samples)
        n, per_row = len(samples), min(self.n_columns, len(samples))
        rows = -(-n // per_row)
        drawing = Drawing(figsize=(style.WIDTH, 1.0 + 2 * rows * (style.WIDTH / per_row) * 1.12), layout="constrained")
        scale = f"; of held-out images {np.median(nearest(held_out, train)[1]):.3g}" if len(held_out) else ""
        drawing.suptitle(
            f"{scene.title}\nsamples, and below each the nearest of {len(train)} training images\n"
            f"median distance of samples {np.median(distance):.3g}{scale}"
        )
        axes = drawing.subplots(2 * rows, per_row, squeeze=False)
        both = np.concatenate([samples, train[place]])
        look = {"cmap": "gray", "vmin": both.min(), "vmax": both.max(), "interpolation": "nearest"}
        for axis in axes.flat:
            axis.set_axis_off()
        for i in range(n):
            upper, lower = axes[2 * (i // per_row), i % per_row], axes[2 * (i // per_row) + 1, i % per_row]
            upper.imshow(samples[i].reshape(image_sides(scene.shape)), **look)
            lower.imshow(train[place[i]].reshape(image_sides(scene.shape)), **look)
            lower.set_title(f"{distance[i]:.3g}", pad=2)
        return drawing

    def split(self, scene: Scene, name: str, n: int) -> np.ndarray:
        """Events of a split in data units, as vectors, (n, d)."""
        return scene.standardization.to_data(scene.dataset.split(name, n, scene.rng).x).flatten(1).cpu().numpy()


def image_sides(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(height, width) of events of the shape (height, width) or (1, height, width); None for others."""
    shape = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    return shape if len(shape) == 2 and min(shape) > 1 else None


def evenly(points: np.ndarray, n: int) -> np.ndarray:
    """At most n of the points, evenly chosen."""
    return points[np.linspace(0, len(points) - 1, min(n, len(points))).astype(int)]


def nearest(points: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The index of the nearest of `others` (M, d) for each point (N, d), (N,), and its Euclidean distance, (N,)."""
    exact = "donot_use_mm_for_euclid_dist"  # matrix products round the distance of equal images to more than zero
    distance = torch.cdist(torch.from_numpy(points).double(), torch.from_numpy(others).double(), compute_mode=exact)
    least, place = distance.min(1)
    return place.numpy(), least.numpy()

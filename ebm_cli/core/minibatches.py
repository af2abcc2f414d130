"""Minibatches of finite data without replacement, as a function of (seed, step)."""

import torch
from torch import Tensor

from ebm_cli.core.rng import Rng
from ebm_cli.types import Batch


class Minibatches:
    """Every epoch uses a new random order of the rows. The rows at its end that do not fill a batch are left out of this epoch."""

    def __init__(self, points: Tensor, labels: Tensor | None = None) -> None:
        """points: (N, *d), shared by all models, or (*m, N, *d), one set per model; labels: (N,) or (*m, N), or None."""
        self.points, self.labels, self._epoch, self._order = points, labels, None, None

    def batch(self, step: int, n: int, rng: Rng, *, event_ndim: int) -> Batch:
        """The minibatch of a step, (*m, n, *d), with labels (*m, n)."""
        m = len(rng.model_shape)
        size = self.points.shape[-1 - event_ndim]
        n = min(n, size)
        epoch, position = divmod(step, size // n)
        if self._epoch != (epoch, rng.seeds, rng.path):  # a cache: the order is a function of the epoch
            self._epoch, self._order = (epoch, rng.seeds, rng.path), rng.at("epoch").at(epoch).permutation("order", size)
        rows = self._order[..., position * n : (position + 1) * n]
        if m and self.points.ndim > 1 + event_ndim:
            rows = (torch.arange(len(rows), device=rows.device).unsqueeze(-1), rows)
        return Batch(self.points[rows], None if self.labels is None else self.labels[rows])

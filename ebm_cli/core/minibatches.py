"""Minibatches of finite data without replacement, as a function of (seed, step)."""

import torch
from torch import Tensor

from ebm_cli.core.rng import Rng


class Minibatches:
    """Every epoch runs through a fresh random order; the rows that do not fill a batch are left out until the next one."""

    def __init__(self, points: Tensor) -> None:
        """points: (N, *d), shared by all models, or (*m, N, *d), each model's own."""
        self.points, self._epoch, self._order = points, None, None

    def batch(self, step: int, n: int, rng: Rng, *, event_ndim: int) -> Tensor:
        """(*m, n, *d)."""
        m = len(rng.model_shape)
        size = self.points.shape[-1 - event_ndim]
        n = min(n, size)
        epoch, position = divmod(step, size // n)
        if self._epoch != (epoch, rng.seeds, rng.path):  # a memo, not a state: the order follows from the epoch
            self._epoch, self._order = (epoch, rng.seeds, rng.path), rng.at("epoch").at(epoch).permutation("order", size)
        rows = self._order[..., position * n : (position + 1) * n]
        if not m or self.points.ndim == 1 + event_ndim:
            return self.points[rows]
        return self.points[torch.arange(len(rows), device=rows.device).unsqueeze(-1), rows]

"""The pictures of a run: every module of `figures` draws one, or none where it does not apply."""

import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebm_cli import console, figures
from ebm_cli.core.densities import Density
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.types import Dataset

N_POINTS = 4000  # points in a scatter
N_GRID = 200  # cells per axis of an image


@dataclass(frozen=True)
class Scene:
    """One model with what surrounds it. All arrays are in data units."""

    trained: TrainedModel
    dataset: Dataset | None  # None where the data are not at hand
    draws: Tensor  # (n_chains, n_draws, *d), in the model's units
    log_z: float | None  # of the energy in data units
    rows: list[dict[str, Any]]  # of metrics.jsonl
    title: str
    frame: Sequence[Sequence[float]] | None = None  # what a 2-D picture of a known energy shows

    @cached_property
    def samples(self) -> np.ndarray:
        """(n, d), without those that are not finite."""
        flat = self.trained.standardization.to_data(self.draws.flatten(0, 1)).flatten(1).numpy()
        flat = flat[np.isfinite(flat).all(1)]
        return flat[np.linspace(0, len(flat) - 1, min(N_POINTS, len(flat))).astype(int)]

    @cached_property
    def data(self) -> np.ndarray | None:
        """Fresh test points or, of a table, rows of all its splits, (n, d)."""
        if self.dataset is None:
            return None
        splits = ("test",) if isinstance(self.dataset, Density) else ("test", "validation", "train")
        points = torch.cat([self.dataset.split(name, N_POINTS, self.trained.rng) for name in splits])[:N_POINTS]
        return self.trained.standardization.to_data(points).flatten(1).numpy()

    @property
    def n_columns(self) -> int:
        return self.trained.standardization.mean.numel()

    @property
    def has_energy(self) -> bool:
        return "energy" in self.trained.model.provides

    @property
    def has_density(self) -> bool:
        return self.has_energy and self.log_z is not None and not self.projected

    @property
    def projected(self) -> bool:
        """Whether the model sees components of the columns: its energy, score and density are not theirs."""
        return self.trained.standardization.matrix is not None

    @cached_property
    def box(self) -> tuple[tuple[float, float], ...]:
        """What a 2-D picture shows. Of a density's box only the middle, where its tails are long."""
        if self.frame is not None:
            return tuple(map(tuple, self.frame))
        known = isinstance(self.dataset, Density)
        points = self.data if known else self.samples if self.data is None else np.concatenate([self.data, self.samples])
        low, high = np.quantile(points, [0.002, 0.998], axis=0)
        if known:
            wide = zip(low - (high - low), high + (high - low), self.dataset.box, strict=True)
            return tuple((max(a, bottom), min(b, top)) for a, b, (bottom, top) in wide)
        return tuple(zip(low - 0.15 * (high - low), high + 0.15 * (high - low), strict=True))

    def grid(self, n: int = N_GRID) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """Two axes (n,) and the points between them, (n * n, 2), in data units."""
        axes = [torch.linspace(low, high, n, dtype=torch.double) for low, high in self.box]
        return axes[0].numpy(), axes[1].numpy(), torch.stack(torch.meshgrid(*axes, indexing="xy"), -1).reshape(-1, 2)

    def energy(self, y: Tensor) -> np.ndarray:
        """E at points of the data's space, (N,)."""
        u = self.trained.standardization.from_data(y).to(self.draws)
        with torch.no_grad():
            return self.trained.model.energy(self.trained.params, u).cpu().double().numpy()

    def score(self, y: Tensor) -> np.ndarray:
        """s at points of the data's space, (N, d), per unit of the model: in a picture of standardised columns arrows keep their angle."""
        u = self.trained.standardization.from_data(y).to(self.draws)
        return self.trained.model.score(self.trained.params, u).detach().cpu().double().numpy()


def save(folder: Path, scene: Scene, only: str | None = None) -> list[Path]:
    """Draw every picture that applies, as PNG files named as their modules are."""
    folder.mkdir(parents=True, exist_ok=True)
    saved = []
    if not len(scene.samples):
        console.say("no picture of the samples: none of them is finite")
        only = only or "training"
    for module in pkgutil.iter_modules(figures.__path__):
        if only in (None, module.name):
            figure = import_module(f"ebm_cli.figures.{module.name}").plot(scene)
            if figure is not None:
                figure.savefig(folder / f"{module.name}.png", dpi=130, bbox_inches="tight")
                saved.append(folder / f"{module.name}.png")
    return saved

"""The base class of finite datasets: splits, standardization, minibatches.

`split_seed` alone determines which events are used for training, validation and test. Real events are standardized by the mean and
standard deviation of the training events. The true density is unknown, so results are measured on the test events.
"""

from abc import abstractmethod
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ebm_cli.core.contracts import REAL, Dataset
from ebm_cli.core.minibatches import Minibatches
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.errors import bad
from ebm_cli.types import Batch, Natural, Share, Space, SplitName


@dataclass(frozen=True)
class FiniteDataset(Dataset):
    """`validation` and `test` are the fractions of events that are held out. A subclass defines `events`, and `labels` if it has any."""

    provides: ClassVar[frozenset[str]] = REAL
    validation: Share
    test: Share
    split_seed: Natural

    @property
    @abstractmethod
    def events(self) -> np.ndarray:
        """All events, (N, *d), in data units. Use a `cached_property` if they are read from a file."""
        ...

    @property
    def labels(self) -> np.ndarray | None:
        """The class of each event, (N,), integers from 0."""
        return None

    @property
    def n_train(self) -> int:
        return len(self._rows["train"])

    @property
    def space(self) -> Space:
        return Space(self.events.shape[1:])

    @cached_property
    def standardization(self) -> Standardization:
        return (
            Standardization.of(torch.from_numpy(self.rows("train"))) if self.space.kind == "real" else Standardization.identity(self.shape)
        )

    def batch(self, step: int, n: int, rng: Rng) -> Batch:
        """A minibatch (*m, n, *d) with labels (*m, n), drawn without replacement."""
        device = rng.generator.device
        if device not in self._minibatches:
            x, y = self._points["train"]
            self._minibatches[device] = Minibatches(x.to(device), None if y is None else y.to(device))
        return self._minibatches[device].batch(step, n, rng.at("data"), event_ndim=len(self.shape))

    def split(self, name: SplitName, n: int, rng: Rng) -> Batch:
        """The first n events of a split, (*m, n, *d), with labels (*m, n). They are the same for every model."""
        x, y = self._points[name]
        device, m = rng.generator.device, rng.model_shape
        x, y = x[:n].to(device), None if y is None else y[:n].to(device)
        return Batch(x.expand(*m, *x.shape), None if y is None else y.expand(*m, *y.shape))

    def joined(self) -> "FiniteDataset":
        """The same data, in the same coordinates, with the validation events among the training events: no validation event is left."""
        both = copy(self)
        train, validation = self._rows["train"], self._rows["validation"]
        rows = {**self._rows, "train": np.concatenate([train, validation]), "validation": validation[:0]}
        both.__dict__.update(_rows=rows, standardization=self.standardization)
        for cached in ("_points", "_minibatches"):
            both.__dict__.pop(cached, None)
        return both

    def rows(self, name: SplitName) -> np.ndarray:
        """The events of a split in data units, (N, *d), in the precision of `events`."""
        return self.events[self._rows[name]]

    @cached_property
    def _rows(self) -> dict[str, np.ndarray]:
        n = len(self.events)
        n_test, n_validation = (max(round(share * n), 1) for share in (self.test, self.validation))
        if n - n_test - n_validation < 2:
            message = f"dataset: of {n} events, {n_test} are for test and {n_validation} for validation: too few are left for training"
            raise bad(message, "lower dataset.test or dataset.validation, or provide more events")
        order = np.random.default_rng(self.split_seed).permutation(n)
        test, validation, train = np.split(order, [n_test, n_test + n_validation])
        return {"train": train, "validation": validation, "test": test}

    @cached_property
    def _points(self) -> dict[str, tuple[Tensor, Tensor | None]]:
        """The events, in the coordinates of the model, and the labels of each split."""
        dtype, labels = torch.get_default_dtype(), self.labels
        points = {name: self.standardization.from_data(torch.from_numpy(self.rows(name))).to(dtype) for name in self._rows}
        return {name: (points[name], None if labels is None else torch.from_numpy(labels[rows])) for name, rows in self._rows.items()}

    @cached_property
    def _minibatches(self) -> dict[torch.device, Minibatches]:
        return {}

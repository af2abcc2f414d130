"""The base class of finite datasets: splits, standardization, minibatches.

`split_seed` alone determines which events are used for training, validation and test. Equal real events are in the same split (see
splits.py). Real events are standardized by the mean and standard deviation of the training events. The true density is unknown, so
results are measured on the test events; without any (`test` = 0), a reason replaces the numbers that need them.
"""

from abc import abstractmethod
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ebm_cli.core import splits
from ebm_cli.core.contracts import REAL, Dataset
from ebm_cli.core.minibatches import Minibatches
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.errors import bad
from ebm_cli.types import Batch, Natural, Share, Space, SplitName


@dataclass(frozen=True)
class FiniteDataset(Dataset):
    """`validation` and `test` are the fractions of events that are held out; either can be 0.

    A subclass defines `events`, and `labels` and `anomalies` if it has any.
    """

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
    def continuous(self) -> np.ndarray:
        """The events on which the model is trained and measured, (N, *d): `events`, or these with noise if they are on a grid."""
        return self.events

    @property
    def labels(self) -> np.ndarray | None:
        """The class of each event, (N,), integers from 0."""
        return None

    @property
    def anomalies(self) -> np.ndarray | None:
        """Whether each event is an anomaly, (N,)."""
        return None

    @property
    def omitted(self) -> np.ndarray | None:
        """Whether each event is left out of training and validation, (N,); None if all are used."""
        return None

    @cached_property
    def groups(self) -> np.ndarray:
        """For each event, the index of the first one that is equal to it, (N,). Groups of equal events are not divided by the splits."""
        if self.space.kind != "real":
            return np.arange(len(self.events))  # equal events of a discrete distribution are independent draws
        return splits.equal_rows(self.events.reshape(len(self.events), -1))

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
            x, y = self._points("train")
            self._minibatches[device] = Minibatches(x.to(device), None if y is None else y.to(device))
        return self._minibatches[device].batch(step, n, rng.at("data"), event_ndim=len(self.shape))

    def split(self, name: SplitName, n: int, rng: Rng) -> Batch:
        """The first n events of a split, (*m, n, *d), with labels (*m, n). They are the same for every model."""
        x, y = self._points(name)
        device, m = rng.generator.device, rng.model_shape
        x, y = x[:n].to(device), None if y is None else y[:n].to(device)
        return Batch(x.expand(*m, *x.shape), None if y is None else y.expand(*m, *y.shape))

    def joined(self) -> "FiniteDataset":
        """The same data, in the same coordinates, with the validation events among the training events: no validation event is left."""
        both = copy(self)
        train, validation = self._rows["train"], self._rows["validation"]
        rows = {**self._rows, "train": np.concatenate([train, validation]), "validation": validation[:0]}
        both.__dict__.update(_rows=rows, standardization=self.standardization)
        for cached in ("_known", "_minibatches"):
            both.__dict__.pop(cached, None)
        return both

    def rows(self, name: SplitName) -> np.ndarray:
        """The events of a split in data units, (N, *d), in the precision of `events` and without noise."""
        return self.events[self._rows[name]]

    def exact(self, name: SplitName) -> Tensor:
        """The events of a split without noise, (N, *d), in the coordinates of the model and in the order of `split`."""
        return self.standardization.from_data(torch.from_numpy(self.rows(name))).to(torch.get_default_dtype())

    def is_anomaly(self, name: SplitName) -> np.ndarray:
        """Whether each event of a split is an anomaly, (N,), in the order of `split`."""
        return self.anomalies[self._rows[name]]

    @cached_property
    def _rows(self) -> dict[str, np.ndarray]:
        """The indices of the events of each split, and of all events."""
        n = len(self.groups)
        n_test, n_validation = (max(round(share * n), 1) if share else 0 for share in (self.test, self.validation))
        if n - n_test - n_validation < 2:
            message = f"dataset: of {n} events, {n_test} are for test and {n_validation} for validation: too few are left for training"
            raise bad(message, "lower dataset.test or dataset.validation, or provide more events")
        rows, omitted = splits.split(n_test, n_validation, self.groups, self.split_seed), self.omitted
        for name, wanted in (("test", n_test), ("validation", n_validation)):
            if wanted and not len(rows[name]):
                message = f"dataset.{name}: it has {wanted} of {n} events, but more are equal to each other, and equal events stay together"
                apart = ", or dataset.equal_rows=apart if they are independent measurements" * hasattr(self, "equal_rows")
                raise bad(message, f"raise dataset.{name}, or use dataset.{name}=0{apart}")
        if omitted is not None:
            rows |= {name: rows[name][~omitted[rows[name]]] for name in ("train", "validation")}
            if len(rows["train"]) < 2:
                raise bad("dataset: too few events are left for training without the anomalies", "dataset.train_on=all")
        return rows | {"all": np.arange(n)}

    def _points(self, name: SplitName) -> tuple[Tensor, Tensor | None]:
        """The events of a split, in the coordinates of the model, and their labels."""
        if name not in self._known:
            rows, labels = self._rows[name], self.labels
            points = self.standardization.from_data(torch.from_numpy(self.continuous[rows])).to(torch.get_default_dtype())
            self._known[name] = points, None if labels is None else torch.from_numpy(labels[rows])
        return self._known[name]

    @cached_property
    def _known(self) -> dict[str, tuple[Tensor, Tensor | None]]:
        return {}

    @cached_property
    def _minibatches(self) -> dict[torch.device, Minibatches]:
        return {}

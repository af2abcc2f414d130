"""User-defined finite datasets: labels, and events that are not real."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import pytest
import torch

from ebm_cli.core.finite_dataset import FiniteDataset
from ebm_cli.core.rng import Rng
from ebm_cli.errors import InputError
from ebm_cli.types import Space


@dataclass(frozen=True)
class Numbered(FiniteDataset):
    """All entries of event i are 5 i + 3, and its label is i."""

    n: int = 40
    provides: ClassVar[frozenset[str]] = frozenset({"real", "labels"})

    @cached_property
    def events(self):
        return np.broadcast_to(5.0 * np.arange(self.n)[:, None, None] + 3, (self.n, 1, 2)).copy()

    @property
    def labels(self):
        return np.arange(self.n)


@dataclass(frozen=True)
class Bits(FiniteDataset):
    """Binary events."""

    provides: ClassVar[frozenset[str]] = frozenset({"binary"})

    @cached_property
    def events(self):
        return np.random.default_rng(0).integers(0, 2, (40, 6))

    @property
    def space(self):
        return Space((6,), "binary")


@pytest.mark.parametrize("seeds", [0, (3, 4)])
def test_labels_stay_with_their_events(seeds):
    """This holds in the splits and in minibatches. Every event is in exactly one split."""
    dataset, rng = Numbered(0.1, 0.2, 0), Rng(seeds)
    splits = [dataset.split(name, 100, rng) for name in ("train", "validation", "test")]
    assert [part.y.shape for part in splits] == [(*rng.model_shape, n) for n in (28, 4, 8)]
    assert (torch.cat([part.y for part in splits], -1).sort(-1).values == torch.arange(40)).all()
    for x, y in (*splits, dataset.split("train", 5, rng), *(dataset.batch(step, 7, rng) for step in range(4))):
        assert x.shape == (*y.shape, 1, 2)
        events = dataset.standardization.to_data(x)
        torch.testing.assert_close(events, (5.0 * y.double() + 3)[..., None, None].expand(*y.shape, 1, 2), atol=1e-4, rtol=0)
    epoch = torch.cat([dataset.batch(step, 7, rng).y for step in range(4)], -1)
    assert torch.equal(epoch.sort(-1).values, splits[0].y.sort(-1).values)


def test_binary_events_are_not_standardized():
    dataset = Bits(0.1, 0.2, 0)
    x, y = dataset.split("train", 100, Rng(0))
    assert y is None
    assert dataset.batch(0, 5, Rng(0)).y is None
    assert x.dtype == torch.get_default_dtype()
    np.testing.assert_array_equal(x.numpy(), dataset.rows("train"))
    assert dataset.standardization.log_det == 0
    assert dataset.shape == (6,)
    assert dataset.n_train == 28


def test_the_split_depends_on_the_split_seed_only():
    def test_labels(split_seed, seed):
        return Numbered(0.1, 0.2, split_seed).split("test", 100, Rng(seed)).y.tolist()

    assert test_labels(0, seed=0) == test_labels(0, seed=5)
    assert test_labels(0, seed=0) != test_labels(1, seed=0)


def test_too_few_training_events_are_an_error():
    with pytest.raises(InputError, match="too few are left for training"):
        Numbered(0.3, 0.4, 0, n=3).split("train", 5, Rng(0))


def test_either_share_can_be_zero():
    rng = Rng(0)
    for validation, test in ((0, 0.2), (0.1, 0), (0, 0)):
        dataset = Numbered(validation, test, 0)
        sizes = [len(dataset.split(name, 100, rng).x) for name in ("train", "validation", "test")]
        assert sizes == [40 - round(40 * validation) - round(40 * test), round(40 * validation), round(40 * test)]
        every = dataset.split("all", 100, rng)
        assert every.y.tolist() == [*range(40)]


@dataclass(frozen=True)
class Repeated(Numbered):
    """Every event occurs twice, and the first ten are anomalies, which are left out of training."""

    @cached_property
    def events(self):
        return super().events % 100

    @property
    def anomalies(self):
        return np.arange(self.n) < 10

    @property
    def omitted(self):
        return self.anomalies


def test_equal_events_and_anomalies():
    dataset, rng = Repeated(0.2, 0.2, 0), Rng(0)
    found = {name: dataset.split(name, 100, rng).y for name in ("train", "validation", "test")}
    kinds = [{*(labels % 20).tolist()} for labels in found.values()]
    assert not kinds[0] & kinds[1]
    assert not kinds[0] & kinds[2]
    assert not kinds[1] & kinds[2]
    assert len(found["test"]) == 8
    assert min(found["train"].min(), found["validation"].min()) >= 10
    for name, labels in found.items():
        assert dataset.is_anomaly(name).tolist() == (labels < 10).tolist()
    assert dataset.is_anomaly("test").any()


def test_equal_binary_events_are_split_like_others():
    """They are independent draws of a discrete distribution."""
    assert Bits(0.1, 0.2, 0).groups.tolist() == [*range(40)]


def test_joined_data_have_the_validation_events_in_their_minibatches():
    dataset, rng = Numbered(0.1, 0.2, 0), Rng(0)
    train, validation = (dataset.split(name, 100, rng).y for name in ("train", "validation"))
    joined = dataset.joined()
    assert joined.split("train", 100, rng).y.tolist() == [*train.tolist(), *validation.tolist()]
    assert not len(joined.split("validation", 100, rng).x)

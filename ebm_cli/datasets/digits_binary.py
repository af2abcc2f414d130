"""Handwritten digits in black and white, 8 x 8, with labels: the 1,797 digits that scikit-learn ships. Alpaydin & Kaynak 1998 (UCI)."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from ebm_cli.core.binary_images import BinaryImages
from ebm_cli.errors import bad

MOST_GRAY = 16


@dataclass(frozen=True)
class DigitsBinary(BinaryImages):
    """Events (1, 8, 8)."""

    provides: ClassVar[frozenset[str]] = frozenset({"binary", "labels"})

    @property
    def gray(self) -> np.ndarray:
        return self._digits.images / MOST_GRAY

    @property
    def labels(self) -> np.ndarray:
        return self._digits.target.astype(np.int64)

    @cached_property
    def _digits(self) -> object:
        try:
            from sklearn.datasets import load_digits
        except ModuleNotFoundError:
            message = "dataset=digits_binary: the digits are those of the package scikit-learn, which is not installed"
            raise bad(message, "pip install scikit-learn") from None
        return load_digits()

"""The base class of datasets of images in black and white, made from images in gray.

    threshold    x_i = 1 if g_i >= 1/2
    stochastic   x_i = 1 with probability g_i (Salakhutdinov & Murray 2008)

Random pixels are a function of `split_seed` alone, drawn once and for all splits: a test likelihood on pixels that are drawn anew at every
evaluation would not be comparable between runs. The likelihoods of the two kinds of data are not comparable either.
"""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from ebm_cli.core.finite_dataset import FiniteDataset
from ebm_cli.types import Space


@dataclass(frozen=True)
class BinaryImages(FiniteDataset):
    """Events (1, height, width). `binarize` names the rule. A subclass defines `gray`."""

    binarize: Literal["threshold", "stochastic"]
    provides: ClassVar[frozenset[str]] = frozenset({"binary"})

    @property
    @abstractmethod
    def gray(self) -> np.ndarray:
        """The images, (N, height, width), with values from 0 to 1."""

    @property
    def space(self) -> Space:
        return Space(self.events.shape[1:], "binary")

    @cached_property
    def events(self) -> np.ndarray:
        gray = self.gray
        if self.binarize == "threshold":
            on = gray >= 0.5
        else:
            on = np.random.default_rng((self.split_seed, 784)).random(gray.shape, dtype=np.float32) < gray
        return on.astype(np.uint8)[:, None]

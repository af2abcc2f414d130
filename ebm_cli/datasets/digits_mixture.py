"""Handwritten digits with a known density: a mixture of factor analysers, fitted once to the 8 x 8 digits of scikit-learn.

    p(x) = sum_k w_k N(x; c_k, L_k L_k' + diag(v_k)),    x in R^64, pixel 8 i + j in row i and column j

`scripts/fit_digits_mixture.py` wrote the numbers into digits_mixture.npz: the pixels are (gray level + uniform noise) / 17, so nearly all
values are between 0 and 1. The events are draws of the mixture, not the digits themselves. Ghahramani & Hinton 1996; Alpaydin & Kaynak
1998 (the digits).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ebm_cli.core.full_mixture_density import FullMixtureDensity

FILE = Path(__file__).with_suffix(".npz")


@dataclass(frozen=True)
class DigitsMixture(FullMixtureDensity):
    """Events are vectors, (64,)."""

    shape: ClassVar[tuple[int, ...]] = (64,)

    def components(self) -> tuple[Tensor, Tensor, Tensor]:
        with np.load(FILE) as file:
            names = "weight", "centre", "loading", "variance"
            weight, centre, loading, variance = (torch.from_numpy(file[name]).double() for name in names)
        return weight, centre, torch.linalg.cholesky(loading @ loading.mT + torch.diag_embed(variance))

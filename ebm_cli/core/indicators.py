"""Events as numbers whose means and covariances are meaningful: real coordinates, spins of bits, and indicators of categories."""

import math

import torch
from torch import Tensor

from ebm_cli.core.states import levels
from ebm_cli.types import Space


def columns(x: Tensor, space: Space) -> Tensor:
    """Events (..., *d) as columns (..., K), in double precision.

    Real events have their coordinates, bits s = 2x - 1, and categories an indicator [x_i = k] for every value k of every coordinate.
    """
    flat = x.flatten(x.ndim - len(space.shape)).double()
    if space.kind == "real":
        return flat
    if space.kind == "binary":
        return 2 * flat - 1
    numbers = levels(space, math.prod(space.shape))
    return torch.cat(
        [(value.unsqueeze(-1) == torch.arange(n, device=x.device)).double() for value, n in zip(flat.unbind(-1), numbers, strict=True)], -1
    )

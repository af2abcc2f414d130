"""Energies and scores of one model at many points. Points are evaluated in parts; results are in double precision on the CPU."""

from collections.abc import Callable

import torch
from torch import Tensor

from ebm_cli.core.model import Model
from ebm_cli.types import Params

AT_ONCE = 1 << 20  # maximum number of entries (events times coordinates) that are evaluated at once
MOST_POINTS = 16384  # maximum number of events that are evaluated at once


@torch.no_grad()
def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """function(x), x (N, *d) -> (N, ...), evaluated in parts of bounded size."""
    size = min(max(1, AT_ONCE // max(x[0].numel(), 1)), MOST_POINTS) if len(x) else 1
    return torch.cat([function(part).detach().cpu().double() for part in x.split(size)])


def energy_of(model: Model, params: Params, x: Tensor) -> Tensor:
    """E at points, (N, *d) -> (N,)."""
    return in_chunks(lambda part: model.energy(params, part), beside(model, params, x))


def score_of(model: Model, params: Params, x: Tensor) -> Tensor:
    """s at points, (N, *d) -> (N, D), with the events flattened to vectors."""
    return in_chunks(lambda part: model.score(params, part).flatten(1), beside(model, params, x))


def beside(model: Model, params: Params, x: Tensor) -> Tensor:
    """x on the device of the model, in the precision of its tensors. Tensors of integers or bits, such as masks, have none."""
    tensors = [params[name] for name in model.names]
    like = next((tensor for tensor in tensors if tensor.is_floating_point()), None)
    return x.to(like) if like is not None else x.to(tensors[0].device) if tensors else x

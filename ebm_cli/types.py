"""Shared types: constrained numbers, named tensors, events and batches. This module imports nothing else from the package.

Shapes, everywhere: `*m` is () for one model and (M,) for a stack of M models, `B` is the batch size, `*d` the shape of one event.
Low energy means high probability: p(x) = exp(-E(x)) / Z, and the score is s(x) = grad log p(x) = -grad E(x).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from annotated_types import Ge, Gt, Le, Lt, MinLen

if TYPE_CHECKING:
    from torch import Tensor

Positive = Annotated[float, Gt(0)]
Positives = Annotated[Sequence[Positive], MinLen(1)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
Share = Annotated[float, Ge(0), Lt(1)]
Shares = Annotated[Sequence[Share], MinLen(1)]
Decay = Annotated[float, Ge(0), Lt(1)]
Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Bits = Annotated[int, Ge(2), Le(16)]

Params = dict[str, "Tensor"]  # leaves (*m, ...)
Numbers = dict[str, "float | str"]  # results of one model; a sentence with the reason replaces a number that does not exist
Info = dict[str, "Tensor"]  # diagnostics, per model (*m,) or per sample (*m, B)
SplitName = Literal["train", "validation", "test", "all"]
Direction = Literal["min", "max"]
DEVICES = ("auto", "cpu", "cuda", "cuda:1", "mps")  # "cuda:1" stands for any GPU index
Best = Direction | float  # which value of a number is best: the smallest, the largest, or the nearest to a target


class Space(NamedTuple):
    """The space of one event."""

    shape: tuple[int, ...]  # d: (2,), (30,), (1, 28, 28)
    kind: Literal["real", "binary", "categorical"] = "real"  # binary coordinates are 0 or 1, categorical ones 0 .. n_states - 1
    n_states: int | tuple[int, ...] | None = None  # of a categorical coordinate; a tuple has the number of each, in row-major order


def implied(words: frozenset[str]) -> frozenset[str]:
    """Capabilities with those that follow from them: binary and categorical events are discrete."""
    return words | {"discrete"} if words & {"binary", "categorical"} else words


class Batch(NamedTuple):
    """Events with their labels."""

    x: Tensor  # (*m, n, *d)
    y: Tensor | None = None  # (*m, n), integers from 0; None if the data have no labels

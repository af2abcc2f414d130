"""A reference distribution with its fitted tensors.

The tensors are part of `params`, under names that begin with `reference.`. A run has one reference, which its energy, its objective and
its metrics share, and which its checkpoints contain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ebm_cli.core.contracts import Reference
from ebm_cli.core.rng import Rng
from ebm_cli.types import Params

PREFIX = "reference."


@dataclass(frozen=True)
class FittedReference:
    """A `reference` with its tensors, each (*m, ...), for events of the given `shape`, d.

    References work on vectors; this class reshapes events.
    """

    reference: Reference
    params: Params
    shape: tuple[int, ...]

    @classmethod
    def fit(cls, reference: Reference, x: Tensor, shape: tuple[int, ...], rng: Rng, held_out: Tensor | None = None) -> "FittedReference":
        """Fit the reference to events (*m, N, *d), with its settings chosen on the events `held_out`, (*m, n, *d)."""
        points, held_out = (None if events is None else events.flatten(events.ndim - len(shape)) for events in (x, held_out))
        return cls(reference, reference.fit(points, shape, rng, held_out), shape)

    def refit(self, x: Tensor, rng: Rng) -> "FittedReference":
        """Fit it to other events (*m, N, *d), with the settings that were chosen before."""
        points = x.flatten(x.ndim - len(self.shape))
        return FittedReference(self.reference, self.reference.refit(self.params, points, self.shape, rng), self.shape)

    @property
    def notes(self) -> Sequence[str]:
        """What a user should know about the fit."""
        return self.reference.notes(self.params)

    @classmethod
    def of(cls, reference: Reference, params: Params, shape: tuple[int, ...]) -> "FittedReference":
        """The reference with its tensors taken from the `params` of a model."""
        return cls(reference, {name.removeprefix(PREFIX): value for name, value in params.items() if name.startswith(PREFIX)}, shape)

    @property
    def named(self) -> Params:
        """The tensors by their names in the `params` of a model."""
        return {PREFIX + name: value for name, value in self.params.items()}

    def draw(self, n: int, rng: Rng, stream: str = "start") -> Tensor:
        """Independent draws, (*m, n, *d)."""
        return self.reference.draw(self.params, n, rng, stream).unflatten(-1, self.shape)

    def log_prob(self, x: Tensor) -> Tensor:
        """log q(x) in nats, (*m, N, *d) -> (*m, N)."""
        return self.reference.log_prob(self.params, x.flatten(x.ndim - len(self.shape)))

    def select(self, model: int) -> "FittedReference":
        """The fitted reference of one model of a stack."""
        return FittedReference(self.reference, {name: value[model] for name, value in self.params.items()}, self.shape)


class ReferenceTensors(nn.Module):
    """The tensors of a reference as buffers of an energy.

    As the attribute `reference` of the energy, they have the names that `FittedReference` uses.
    """

    def __init__(self, params: Params) -> None:
        super().__init__()
        for name, value in params.items():
            self.register_buffer(name, value)
        self.names = list(params)

    def params(self) -> Params:
        return {name: getattr(self, name) for name in self.names}

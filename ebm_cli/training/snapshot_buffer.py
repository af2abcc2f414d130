"""Snapshots that training has taken and that are not yet written (see snapshots.py)."""

from dataclasses import dataclass, field

from torch import Tensor

from ebm_cli.types import Params

N_POINTS = 256  # the number of points of the objective that a snapshot keeps


@dataclass
class SnapshotBuffer:
    """The steps after which a snapshot is taken, and those that were taken: (step, theta (*m, P), points (*m, n, *d) by name)."""

    steps: frozenset[int]
    taken: list[tuple[int, Tensor, Params]] = field(default_factory=list)

    def take(self, step: int, theta: Tensor, points: Params, axis: int) -> None:
        """Keep copies of theta and of the first points along `axis`. Nothing leaves the device."""
        few = {name: value.narrow(axis, 0, min(N_POINTS, value.shape[axis])).clone() for name, value in points.items()}
        self.taken.append((step, theta.clone(), few))

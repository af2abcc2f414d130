"""The keys of a config that are not components, as signatures by which they are checked."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from ebm_cli.types import Count, Direction, Natural, Positive


@dataclass(frozen=True)
class TrainerSettings:
    """The settings of the training loop. Intervals are in steps.

    `ema_decay`: the decay of the moving average of the parameters, which all results use; 0 for no averaging. `max_grad_norm`: the bound
    on the gradient norm of each model; null for no clipping. `select`: the number on the validation events that selects the step whose
    averaged parameters are used (see training/selection.py); null for the last step. `patience`: training ends after so many evaluations
    without a better number. `refit`: whether to train again, on the training and validation events together, for the selected number of
    steps. `compile`: whether to compile the loss with its gradient as one graph, and the sampler's transition as another. `n_snapshots`:
    how often a run of points in the plane keeps its parameters for films (see training/snapshots.py); 0 for never.
    """

    n_steps: Natural
    batch_size: Count
    ema_decay: Annotated[float, Ge(0), Lt(1)]
    max_grad_norm: Positive | None
    checkpoint_every: Count
    log_every: Count
    evaluate_every: Count
    select: Literal["auto", "loss", "nll"] | None
    patience: Count | None
    refit: bool
    compile: bool
    n_snapshots: Natural


@dataclass(frozen=True)
class SweepSettings:
    """The number of the summary by which the runs of a sweep are ranked, and its better direction.

    A null metric takes the first headline of the metrics that all runs will have; a null direction takes that of the metric.
    """

    metric: str | None
    direction: Direction | None


def root(
    *,
    seed: Annotated[int, Ge(0), Lt(2**31)],
    seeds: Count | None,
    device: str,
    name: str | None,
    group: str | None,
    tags: list[str],
    resume: str | None,
    force: bool,
) -> None:
    """The top-level keys of a config that hold plain values, as a signature."""

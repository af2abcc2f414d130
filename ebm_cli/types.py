"""Protocols and aliases, nothing else: what the parts of an experiment promise each other.

A component names its protocol as its base class, and inherits what most of its kind share.

Shapes: `*m` is () for one model and (M,) for M models side by side, `B` the batch, `*d` the event.
Low energy = likely: p(x) = exp(-E(x)) / Z, and the score is s(x) = grad log p(x) = -grad E(x).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from annotated_types import Ge, Gt, Le, Lt, MinLen

if TYPE_CHECKING:
    from torch import Tensor

    from ebm_cli.core.metric_context import MetricContext
    from ebm_cli.core.model import Model
    from ebm_cli.core.rng import Rng
    from ebm_cli.core.standardize import Standardization
    from ebm_cli.runs.run import Run

Positive = Annotated[float, Gt(0)]
Positives = Annotated[Sequence[Positive], MinLen(1)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
Share = Annotated[float, Gt(0), Lt(1)]
Decay = Annotated[float, Ge(0), Lt(1)]
Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]

Params = dict[str, "Tensor"]  # leaves (*m, ...)
Info = dict[str, "Tensor"]  # diagnostics, per model (*m,) or per sample (*m, B)
SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Ranking:
    """By what the runs of a sweep are compared: a number of their summary, and which way is better; null: as its metric says."""

    metric: str
    direction: Literal["min", "max"] | None


class Dataset(Protocol):
    """A source of events, in the units in which the model works."""

    shape: tuple[int, ...]  # d
    standardization: Standardization  # from the model's units to the data's own
    column_names: Sequence[str]  # one per coordinate of the data
    named: bool  # whether these names are the data's own
    fingerprint: str  # sha256 of the file behind it; "" where draws are made fresh
    n_train: int | None  # points of the training set; None: every batch is drawn fresh

    def batch(self, step: int, n: int, rng: Rng) -> Tensor:
        """(*m, n, *d), a function of (seed, step): there is no position to store."""
        ...

    def split(self, name: SplitName, n: int, rng: Rng) -> Tensor:
        """At most n points of a split, (*m, n, *d)."""
        ...


class Energy(Protocol):
    """An `nn.Module` built from its config and the training data's `shape`, `mean` and `scale` (*d): x (B, *d) -> E(x) (B,).

    A class that says `outputs_score = True` maps to the score (B, *d) instead; one that says `takes_noise_level = True` is called
    with the standard deviation of the noise, (B,), as well. One that says `trainable = False` is known as it stands: it is built from its
    config alone, and there is nothing in it to train (see energies/analytic.py).
    """

    outputs_score: ClassVar[bool] = False
    takes_noise_level: ClassVar[bool] = False
    trainable: ClassVar[bool] = True

    def forward(self, x: Tensor, *noise_level: Tensor) -> Tensor: ...

    def named_buffers(self) -> Any: ...


class Sampler(Protocol):
    """A transition kernel: hyperparameters only. `state.x` is (*m, B, *d), `state.step_size` (*m,)."""

    requires: ClassVar[frozenset[str]] = frozenset()  # of the model: {"energy"}, {"noise_level"}
    target_acceptance: ClassVar[float | None] = None  # what step-size adaptation aims at; None: nothing to adapt
    differentiable: ClassVar[bool] = True  # whether a gradient passes through its proposals
    has_memory: ClassVar[bool] = False  # whether a transition depends on more than x: one that is begun anew at x is then another

    @property
    def temperature(self) -> float:
        """T where the chains follow exp(-E / T) rather than exp(-E)."""
        return 1.0

    def length(self, model: Model) -> int | None:
        """Transitions from a start to the one sample that a chain ends in (a ladder walked down); None: chains go on, sample by sample."""
        return None

    def init(self, model: Model, params: Params, x: Tensor) -> Any: ...

    def noise(self, rng: Rng, state: Any, n_steps: int) -> tuple[Tensor, ...]:
        """What `n_steps` transitions consume, each (*m, n_steps, B, ...)."""
        ...

    def step(self, model: Model, params: Params, state: Any, noise: tuple[Tensor, ...]) -> tuple[Any, Info]:
        """One transition. Pure; the info is per chain, (*m, B)."""
        ...

    def finish(self, model: Model, params: Params, state: Any) -> Tensor:
        """What is kept of a chain where a sample is taken, (*m, B, *d)."""
        return state.x


class Objective(Protocol):
    """A way to train: hyperparameters only."""

    requires: ClassVar[frozenset[str]] = frozenset()  # of the model: {"energy"}, {"noise_level"}
    loss_is_comparable: ClassVar[bool] = True  # false where the value of the loss says nothing about the fit

    def init(self, model: Model, x_train: Tensor, rng: Rng) -> tuple[Params, Params]:
        """Extra learned parameters, and what is carried from step to step: tensors (*m, ...)."""
        return {}, {}

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        """(aux, carry, info): directions, noise, negatives, all (*m, ...). No gradient reaches params from here."""
        return {}, carry, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        """(*m, B), pure. What the info holds (`energy`, say) regularizers may read."""
        ...

    def trained(self, model: Model) -> Model:
        """The model as it is measured and drawn from: at its temperature, at the smallest level of its noise."""
        return model


class Regularizer(Protocol):
    """A penalty on top of any objective."""

    requires: ClassVar[frozenset[str]] = frozenset()

    def penalty(self, model: Model, params: Params, x: Tensor, aux: Params) -> Tensor:
        """(*m, B). `aux` holds what the objective prepared and what its loss evaluated."""
        ...


class Optimizer(Protocol):
    """A rule for the parameters: hyperparameters only. (torch.optim's classes import the compiler: seconds at every start.)"""

    def init(self, theta: Tensor) -> Params:
        """What the rule has_memory of the vector `theta`, (*m, P)."""
        ...

    def update(self, theta: Tensor, gradient: Tensor, state: Params, *, step: int, lr: float) -> None:
        """One step, in place, on `theta` and `state`; elementwise, so that the models of a stack do not mix."""
        ...

    def lr_at(self, step: int, n_steps: int) -> float:
        """The learning rate of step 0 .. n_steps - 1."""
        ...


class Metric(Protocol):
    """A measure of one trained model."""

    units: ClassVar[Mapping[str, str]]  # of each of its numbers, in the order in which they are shown; "" where it is a pure number
    headline: ClassVar[Sequence[str]] = ()  # the numbers by which a list of runs shows it
    best: ClassVar[Mapping[str, str | float]] = {}  # of numbers that rank models: "least", "greatest", or the value to be near to
    unaveraged: ClassVar[Sequence[str]] = ()  # p-values and standard errors: over seeds they have no mean
    waits: ClassVar[bool] = False  # it is left to the end of training: for want of samples before, or since it takes long

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        """Its numbers; in place of one that does not apply, or of all, a sentence that says why."""
        ...


class Follower(Protocol):
    """Is told what happens to a run while it is trained: the view on the terminal, the table of a sweep, a logger."""

    def start(self, run: Run, config: Mapping[str, Any], step: int) -> None:
        """The run is held by this process and goes on from a step."""
        ...

    def row(self, row: Mapping[str, Any]) -> None:
        """A row as metrics.jsonl has it."""
        ...

    def end(self, state: str, summary: Mapping[str, Any] | None) -> None:
        """The run has ended: finished, interrupted, failed or diverged; the summary where there is one. Files are in the run's folder."""
        ...


class Logger(Follower, Protocol):
    """Shows a run elsewhere. What it is not told, since it was killed or not yet chosen, it reads from the run's metrics.jsonl."""

    @property
    def where(self) -> str:
        """What a run's mirrors.json calls the place."""
        ...

    def check(self, config: Mapping[str, Any]) -> None:
        """Raise `InputError` for what cannot work. Nothing has been written yet, and nothing is."""
        ...

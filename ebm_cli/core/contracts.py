"""The interfaces (contracts) of components. Those of metrics and figures are in metric.py and figure.py, with the input of each.

A component has its contract as its base class and inherits the defaults of the contract. `requires` and `provides` are sets of the
capability names that config/compatibility.py defines. The order of arguments is always: model, params, state or carry, x, noise or rng.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ebm_cli.core.standardize import Standardization
from ebm_cli.types import Batch, Info, Params, Space, SplitName

if TYPE_CHECKING:
    from torch import Tensor

    from ebm_cli.core.model import Model
    from ebm_cli.core.rng import Rng

REAL = frozenset({"real"})


class Dataset(Protocol):
    """A source of events, in the coordinates of the model."""

    provides: ClassVar[frozenset[str]] = REAL  # the kind of its events and what else is available: {"real", "density", "labels"}
    space: Space  # the space of one event
    named: bool = False  # whether `column_names` come from the data
    fingerprint: str = ""  # sha256 of the underlying file; "" if the data are generated
    notes: Sequence[str] = ()  # what a user should know about the data; shown before training and stored with the results
    n_train: int | None  # size of the training set; None if every batch is a fresh draw
    dequantized: bool = False  # whether noise was added to data on a grid (core/grids.py): the NLL is then that of the noisy data
    facts: Mapping[str, Any] = MappingProxyType({})  # what dataset.json stores about the data beside the entries that all have

    @classmethod
    def provided(cls, node: Mapping[str, Any]) -> frozenset[str]:
        """What a dataset with these values of its config provides, before it is built."""
        return cls.provides

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one event, d."""
        return self.space.shape

    @property
    def column_names(self) -> Sequence[str]:
        """A name for each coordinate of the data, in row-major order."""
        return self.standardization.default_names

    @property
    def standardization(self) -> Standardization:
        """The map between the coordinates of the model and those of the data."""
        return Standardization.identity(self.shape)

    def batch(self, step: int, n: int, rng: Rng) -> Batch:
        """n events (*m, n, *d), a function of (seed, step) only: there is no iterator state to store."""
        ...

    def split(self, name: SplitName, n: int, rng: Rng) -> Batch:
        """Up to n events of a split, (*m, n, *d)."""
        ...


class Energy(Protocol):
    """An `nn.Module` x (B, *d) -> E(x) (B,).

    The constructor receives the values of the config and, if its signature names them, the `space` and `shape` of an event, the `mean`
    and `scale` (*d) of the training data, and the fitted `reference`. A class with `outputs_score = True` returns the score (B, *d)
    instead of the energy. With `takes_noise_level = True` the module is called with `noise_level=` (B,), the standard deviation of the
    noise; with `takes_labels = True` it is called with `label=` (B,). A class with `trainable = False` is analytic: it is built from its
    config alone and has nothing to train (energies/analytic.py). A class with the methods of `BlockGibbs` (core/block_gibbs.py) provides
    transitions to the sampler block_gibbs. A class with `learns = False` has no parameters: a run of it takes no training steps
    (energies/reference.py). A class with `stands_alone = True` can be trained, and also sampled without a run: it is then built from its
    config alone, with `space=None`, and its `shape` is a value of its config (energies/target.py). `files` are keys of its config that are
    null or name a file: a run keeps a copy, and its identity includes the content. `notes` tell the user what was read.
    An energy of bits may have closed forms: `flip_differences`, x (B, *d) -> E(x with bit i flipped) - E(x), (B, D); and, if its
    `has_log_partition` is true, `log_partition`, () -> log Z in nats, ().
    """

    requires: ClassVar[frozenset[str]] = REAL
    outputs_score: ClassVar[bool] = False
    takes_noise_level: ClassVar[bool] = False
    takes_labels: ClassVar[bool] = False
    trainable: ClassVar[bool] = True
    learns: ClassVar[bool] = True
    stands_alone: ClassVar[bool] = False

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor: ...

    def named_buffers(self) -> Any: ...


class Reference(Protocol):
    """A normalized distribution q on the events, fitted to the training data. An instance holds hyperparameters only.

    Chains start and restart from it, noise-contrastive estimation contrasts the data with it, annealing begins at it, and energies are
    tilted by it: E(x) = f(x) - log q(x). Here events are vectors, x (*m, N, d); `FittedReference` flattens events of other shapes.
    """

    requires: ClassVar[frozenset[str]] = REAL
    smoothable: ClassVar[bool] = False  # whether `tilt` and `score` take a noise level: q_sigma is the distribution of x + sigma z
    starts_at_zero: ClassVar[bool] = True  # whether a network tilted by it is initialized to f = 0, so that the initial model is q

    @property
    def bound_of_networks(self) -> float | None:
        """The largest |f| of a network that is tilted by it, in nats; None: no bound."""
        return None

    def on(self, space: Space) -> Reference:
        """The reference that is fitted to events of this space."""
        return self

    def fit(self, x: Tensor, shape: tuple[int, ...], rng: Rng, held_out: Tensor | None = None) -> Params:
        """The fitted tensors, each of shape (*m, ...). `shape` is that of the events before they became vectors. Settings that are
        chosen by their fit to other points are chosen on `held_out`, (*m, n, d).
        """
        ...

    def refit(self, params: Params, x: Tensor, shape: tuple[int, ...], rng: Rng) -> Params:
        """The tensors fitted to further points, with the settings that were chosen for `params`. By default nothing is chosen."""
        return self.fit(x, shape, rng)

    def notes(self, params: Params) -> Sequence[str]:
        """What a user should know about the fit; shown before training and kept in train.log."""
        return ()

    def draw(self, params: Params, n: int, rng: Rng, stream: str) -> Tensor:
        """Independent draws, (*m, n, d); `stream` names the random numbers."""
        ...

    def log_prob(self, params: Params, x: Tensor) -> Tensor:
        """log q(x) in nats, (*m, N)."""
        ...

    def tilt(self, params: Params, x: Tensor, u: Tensor, noise_level: Tensor | None = None) -> Tensor:
        """-log q(x) up to the constant `log_normalizer`, (*m, N). `u` are the same events, standardized by the mean and scale of the
        training data (and of the noise); a network has them already.
        """
        return -self.log_prob(params, x)

    def log_normalizer(self, params: Params) -> Tensor | float:
        """The log of the integral of exp(-tilt), (*m)."""
        return 0.0

    def score(self, params: Params, x: Tensor, u: Tensor, inverse_width: Tensor, noise_level: Tensor | None = None) -> Tensor:
        """The score in the coordinates u, grad log q_sigma(x) / inverse_width, (*m, N, d). Only `smoothable` references have it."""
        raise TypeError(f"{type(self).__name__} has no score")

    def as_noise(self) -> Reference:
        """The noise distribution for noise-contrastive estimation."""
        return self


class Sampler(Protocol):
    """A transition kernel, with hyperparameters only. A state has `x`, (*m, B, *d), and `step_size`, (*m,), if the kernel has one."""

    requires: ClassVar[frozenset[str]] = REAL  # what it needs of events and model: {"real", "energy"}, {"binary"}, {"noise_level"}
    exact: ClassVar[bool] = False  # whether exp(-E) is stationary under a transition
    target_acceptance: ClassVar[float | None] = None  # the target of step-size adaptation; None: there is nothing to adapt
    differentiable: ClassVar[bool] = True  # whether gradients pass through its proposals
    has_memory: ClassVar[bool] = False  # whether a transition depends on more than x, so that restarting at x changes the chain

    @property
    def temperature(self) -> float:
        """The temperature T at which the chains run: they sample exp(-E / T)."""
        return 1.0

    def length(self, model: Model) -> int | None:
        """The number of transitions after which a chain yields its single sample (a ladder of noise levels); None if it yields many."""
        return None

    def starting_points(self, model: Model, params: Params, x: Tensor) -> Tensor:
        """Where chains start if the user names no starting points, (*m, B, *d), given as many draws x from the reference."""
        return x

    def init(self, model: Model, params: Params, x: Tensor) -> Any: ...

    def noise(self, rng: Rng, state: Any, n_steps: int) -> tuple[Tensor, ...]:
        """The random numbers of `n_steps` transitions, each of shape (*m, n_steps, B, ...)."""
        ...

    def step(self, model: Model, params: Params, state: Any, noise: tuple[Tensor, ...]) -> tuple[Any, Info]:
        """One transition: the new state, and an info per chain, (*m, B), that contains `divergence`. It is a pure function."""
        ...

    def finish(self, model: Model, params: Params, state: Any) -> Tensor:
        """The sample that the chain yields in this state, (*m, B, *d)."""
        return state.x


class Objective(Protocol):
    """A training objective. An instance holds hyperparameters only."""

    requires: ClassVar[frozenset[str]] = REAL  # what it needs of events and model: {"real", "energy"}, {"noise_level"}
    loss_is_comparable: ClassVar[bool] = True  # whether the value of the loss measures the fit
    takes_labels: ClassVar[bool] = True  # false if it evaluates energies at points that have no label

    def init(self, model: Model, params: Params, x_train: Tensor, rng: Rng) -> tuple[Params, Params]:
        """Extra learned parameters, and the carry, which is passed from step to step: tensors (*m, ...)."""
        return {}, {}

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        """(aux, carry, info), all (*m, ...). `aux` holds directions, noise, negative samples. No gradient flows to params from here."""
        return {}, carry, {}

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        """The loss of each sample, (*m, B), and an info that regularizers may read (`energy`, for example). It is a pure function."""
        ...

    def shown(self, model: Model, x: Tensor, aux: Params) -> Params:
        """Points of a step that films show beside the data, by their name: {"negatives": (*m, n, *d)}, for example."""
        return {}

    def warning(self, row: Mapping[str, Any]) -> str:
        """A warning about the training, from a row of the log, which has the means of the infos; "" if there is none."""
        return ""

    def trained(self, model: Model) -> Model:
        """The model that is evaluated and sampled, for example at the training temperature or at the smallest noise level."""
        return model


class Regularizer(Protocol):
    """A penalty that is added to the loss of any objective."""

    requires: ClassVar[frozenset[str]] = frozenset()

    def penalty(self, model: Model, params: Params, x: Tensor, aux: Params) -> Tensor:
        """The penalty of each sample, (*m, B). `aux` holds what the objective prepared and the info of its loss."""
        ...


class Optimizer(Protocol):
    """An update rule for the parameters, with hyperparameters only. Not torch.optim: importing it, with the compiler, takes seconds."""

    def init(self, theta: Tensor) -> Params:
        """The initial state for the parameter vector `theta`, (*m, P)."""
        ...

    def update(self, theta: Tensor, gradient: Tensor, state: Params, *, step: int, lr: float) -> None:
        """Update `theta` and `state` in place. The update is elementwise, so that the models of a stack do not interact."""
        ...

    def lr_at(self, step: int, n_steps: int) -> float:
        """The learning rate at a step in 0 .. n_steps - 1."""
        ...


class RunFolder(Protocol):
    """The folder of a run, as followers see it."""

    path: Path

    @property
    def id(self) -> str: ...

    @property
    def figures(self) -> Path: ...

    def read(self, name: str) -> dict[str, Any]: ...

    def write(self, name: str, data: Any) -> None: ...

    def rows(self) -> list[dict[str, Any]]: ...

    def log(self, line: str) -> None: ...

    def n_replaced(self) -> int: ...


class Follower(Protocol):
    """An observer of a run during training: the terminal display, the table of a sweep, a logger."""

    def start(self, run: RunFolder, config: Mapping[str, Any], step: int) -> None:
        """Called when this process starts to train the run at a step."""
        ...

    def row(self, row: Mapping[str, Any]) -> None:
        """Called for every new row of metrics.jsonl."""
        ...

    def end(self, state: str, summary: Mapping[str, Any] | None) -> None:
        """Called when the run has ended: finished, interrupted, failed or diverged. `summary` is None if there is none."""
        ...


class Logger(Follower, Protocol):
    """A follower that mirrors a run elsewhere. It reads rows that it has missed (because the process was killed) from metrics.jsonl."""

    @property
    def where(self) -> str:
        """The name of the destination in the run's mirrors.json."""
        ...

    def check(self, config: Mapping[str, Any]) -> None:
        """Raise `InputError` for settings that cannot work. This writes nothing."""
        ...

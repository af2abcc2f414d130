"""A trained run in Python: energies, scores, log-densities and samples in data units, by the same functions as the commands."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ebm_cli.config import compose, schema
from ebm_cli.core.chain import Draws
from ebm_cli.core.device import pick_device
from ebm_cli.core.pointwise import in_chunks
from ebm_cli.errors import bad
from ebm_cli.runner import estimators, evaluate, score
from ebm_cli.runner.chain_starts import starts
from ebm_cli.runner.draw import draw
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs import catalog
from ebm_cli.runs.run import Run

Array = TypeVar("Array", np.ndarray, Tensor)


def load_run(name: str | Path, *, model: int = 0, device: str = "cpu") -> "LoadedRun":
    """Open a trained run.

    `name` is an id, a unique prefix of an id, a path, or "last", as on the command line; EBM_OUTPUTS names the folder of results. `model`
    is the index of a model in a run with several seeds. Raises `ebm_cli.errors.InputError` if the run does not exist or cannot be used.
    """
    run = catalog.find(str(name))
    trained = TrainedModel.load(run, pick_device(device)).select(model)
    return LoadedRun(run, trained, model)


class LoadedRun:
    """One trained model.

    Its methods take events in data units, (N, *d), as a numpy array or a tensor, and return the same type, in double precision on the
    CPU. p(x) = exp(-E(x)) / Z, so E is low for likely events.
    """

    def __init__(self, run: Run, trained: TrainedModel, model: int) -> None:
        self._run, self._trained, self._model = run, trained, model
        self._measured = evaluate.stored_numbers(run, trained, model)

    def __repr__(self) -> str:
        return f"LoadedRun({self._run.path.name!r}, model={self._model})"

    @property
    def path(self) -> Path:
        """The folder of the run."""
        return self._run.path

    @property
    def config(self) -> dict[str, Any]:
        """The config of the run, typed and resolved."""
        return self._run.config()

    @property
    def summary(self) -> dict[str, Any]:
        """The final numbers of the run: the content of summary.json."""
        return self._run.read("summary.json")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one event, *d."""
        return tuple(self._trained.standardization.mean.shape)

    @property
    def log_z(self) -> float | None:
        """log Z in nats, as it was measured; None if it is unknown.

        It is unknown if it was measured on other parameters than those that were loaded.
        """
        return estimators.log_z(self._measured, self._model)[0]

    def energy(self, x: Array) -> Array:
        """E(x) in nats, (N, *d) -> (N,)."""
        score.check_has_energy(self._run, self._trained)
        return self._apply(x, lambda y: torch.tensor(score.energies(self._trained, y.numpy()), dtype=torch.double))

    def log_prob(self, x: Array) -> Array:
        """log p(x) = -E(x) - log Z in nats, (N, *d) -> (N,). Raises `InputError` if log Z is unknown."""
        log_z = self.log_z
        if log_z is None:
            raise bad(f"{self._run.path.name}: log Z is unknown", f"ebm evaluate {self._run.id} metric=[ais] computes bounds for it")
        return -self.energy(x) - log_z

    def score(self, x: Array) -> Array:
        """grad log p(x), (N, *d) -> (N, *d), per unit of the data."""
        standardization = self._trained.standardization
        if standardization.matrix is not None:
            raise bad(f"{self._run.path.name} models principal components: it has no score in the columns of the data")

        def of(y: Tensor) -> Tensor:
            u = standardization.from_data(y).to(self._trained.fit["mean"])
            found = in_chunks(lambda part: self._trained.model.score(self._trained.params, part), u)
            return standardization.score_of(found, y)

        return self._apply(x, of)

    def sample(self, n_samples: int, *overrides: str, seed: int = 0, start: str | None = None) -> np.ndarray:
        """Samples in data units, (n_samples, *d).

        `overrides` are those of `ebm sample`, for example "sampler=langevin", "sampler.step_size=0.01", "n_steps=2000", "n_chains=100".
        """
        stored = self.config
        given = compose.amend({**stored["draws"], "sampler": stored["sampler"]}, [*overrides, f"n_samples={n_samples}"], ("sampler",))
        problems: list[Any] = []
        node = schema.check_node(given.pop("sampler"), "sampler", schema.KINDS["sampler"], problems)
        typed = schema.check_signature(Draws, given, "", problems)
        schema.refuse(problems)
        sampler, draws = schema.build(node), Draws(**typed)
        experiment = Experiment.load(self._run, self._trained.fit["mean"].device)

        def dataset() -> Any:
            experiment.check_data()
            return experiment.dataset

        first = starts(start, self._trained, dataset, draws.starts(sampler, self._trained.model), seed=seed)
        labeled = dataset() if self._trained.model.takes_labels else None
        drawn = draw(self._trained, sampler, draws, seed=seed, start=first, dataset=labeled)
        return self._trained.standardization.to_data(drawn.samples.flatten(0, 1)).numpy()[:n_samples]

    def _apply(self, x: Array, function: Callable[[Tensor], Tensor]) -> Array:
        """Apply a function of double tensors on the CPU to an array or a tensor."""
        y = torch.as_tensor(x).detach().cpu().double()
        if tuple(y.shape[1:]) != self.shape or not y.ndim:
            raise bad(f"the events have shape {tuple(y.shape)}; the expected shape is (N, {', '.join(map(str, self.shape))})")
        if known := self._trained.known_values:
            n_states = torch.tensor([len(values) for values in known]).reshape(self.shape)
            wrong = ((y != y.floor()) | (y < 0) | (y >= n_states)).flatten(1).nonzero()[:1].tolist()
            for row, j in wrong:
                name, most = self._trained.column_names[j], len(known[j]) - 1
                raise bad(f"event {row}: its coordinate {name} is {y[row].flatten()[j]:g}, which is none of the states 0 to {most}")
        found = function(y)
        return found if isinstance(x, Tensor) else found.numpy()

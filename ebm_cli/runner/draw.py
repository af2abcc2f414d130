"""Draw samples for a user, with a message while they are drawn, and with warnings about chains that diverge or do not mix."""

import os
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ebm_cli import console
from ebm_cli.config.compatibility import VOCABULARY
from ebm_cli.core.chain import BLOCK, Draws
from ebm_cli.core.contracts import Dataset, Sampler
from ebm_cli.errors import RunFailed, bad
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.types import Info

LOW_ACCEPTANCE = 0.02
BYTES = 34  # measured: the memory per number of the samples while they are collected, mapped to data units and written
SMALLER = "try a smaller sampler.step_size"


class Drawn(NamedTuple):
    """Samples, and facts about their chains."""

    samples: Tensor  # (*m, n_chains, n_draws, *d) in the model's coordinates
    info: Info  # the mean of each statistic of the sampler, (*m,)
    warnings: list[str]
    n_samples: int  # the number of samples of all models; the last draws beyond it are not used
    n_lost: int  # how many of them have a value that is not finite

    def check(self, *, complete: bool) -> None:
        """Raise `RunFailed` if no sample is finite or, with `complete`, if some are not. Call it before anything is replaced."""
        if self.n_lost == self.n_samples:
            raise RunFailed(f"none of the {self.n_samples} samples is finite: the chains diverged, and nothing was written", SMALLER)
        if self.n_lost and complete:
            message = f"{self.n_lost} of {self.n_samples} samples are not finite, and the stored samples were not replaced"
            raise RunFailed(message, f"{SMALLER}; out=FILE writes the samples as they are")


def draw(
    trained: TrainedModel, sampler: Sampler, draws: Draws, *, seed: int = 0, start: Tensor | None = None, dataset: Dataset | None = None
) -> Drawn:
    """Draws of every model. Raises `InputError` if the sampler needs something that the model does not provide."""
    check_sampler(sampler, trained)
    with console.waiting("drawing samples"):
        samples, info = trained.draw(sampler, draws, seed=seed, start=start, dataset=dataset)
    m, warnings = len(trained.rng.model_shape), []
    used = samples.flatten(m, m + 1).narrow(m, 0, draws.n_samples).flatten(m + 1)
    n, lost = used.shape[:-1].numel(), int((~used.isfinite().all(-1)).sum())
    if lost:
        warnings.append(f"{lost} of {n} samples are not finite, because their chains diverged; {SMALLER}")
    if "acceptance_rate" in info and info["acceptance_rate"].min() < LOW_ACCEPTANCE:
        cure = "try another sampler.step_size"
        warnings.append(f"the chains hardly move: the samples, and numbers computed from them, do not represent the model; {cure}")
    return Drawn(samples, info, warnings, n, lost)


def check_memory(draws: Draws, d: int, n_models: int, *, prefix: str = "") -> None:
    """Refuse draws of events of d numbers that need more memory than the machine has.

    The estimate counts the samples and the random numbers of a block of transitions. What the network needs is not known before it is
    called, so the estimate is a lower bound. `prefix` is that of the keys of `draws`, for messages.
    """
    n_chains = min(draws.n_chains, draws.n_samples)
    n_drawn = -(-draws.n_samples // n_chains) * n_chains
    needed = n_models * (BYTES * n_drawn * d + 4 * BLOCK * n_chains * (d + 1))
    if needed > (there := memory()):
        of_models = f" of each of {n_models} models" if n_models > 1 else ""
        message = f"{prefix}n_samples: {draws.n_samples} samples of {d} numbers{of_models}, from {n_chains} chains"
        fewer = max(1, int(draws.n_samples * there / needed / 2))
        fits = f"for example {prefix}n_samples={fewer}"  # the number of chains is at most that of the samples
        raise bad(f"{message}, need {needed / 1e9:,.0f} GB of memory, but this machine has {there / 1e9:,.0f} GB", fits)


def memory() -> float:
    """The memory of this machine, or of the container in which the process runs, in bytes."""
    machine = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        return min(machine, float(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # there is no such file, or it says `max`: no limit
        return machine


def check_sampler(sampler: Sampler, trained: TrainedModel) -> None:
    """Refuse a sampler that needs an energy, a ladder of noise levels, or a kind of events that the model does not provide."""
    hints = {
        "energy": ("an energy, but the network of this run outputs the score", "sampler=langevin"),
        "noise_level": (
            "a ladder of noise levels, but this energy was not trained with one",
            "sampler=mala; runs of objective=dsm_multi and objective=recovery have such a ladder",
        ),
    }
    for word, (what, hint) in hints.items():
        if word in sampler.requires - trained.provides:
            raise bad(f"sampler: {type(sampler).__name__} needs {what}", hint)
    for word in sorted(sampler.requires - trained.provides):
        works = "sampler=mala" if trained.space.kind == "real" else "sampler=gibbs"
        if word not in ("real", "binary", "categorical", "discrete"):
            raise bad(f"sampler: {type(sampler).__name__} needs {VOCABULARY[word].what}, which this energy does not provide", works)
        raise bad(f"sampler: {type(sampler).__name__} needs {word} events, but those of this run are {trained.space.kind}", works)

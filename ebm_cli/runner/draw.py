"""Draw samples for a user, with a message while they are drawn, and with warnings about chains that do not mix."""

from typing import NamedTuple

from torch import Tensor

from ebm_cli import console
from ebm_cli.core.chain import Draws
from ebm_cli.core.contracts import Dataset, Sampler
from ebm_cli.errors import bad
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.types import Info

LOW_ACCEPTANCE = 0.02


class Drawn(NamedTuple):
    """Samples, and facts about their chains."""

    samples: Tensor  # (*m, n_chains, n_draws, *d) in the model's coordinates
    info: Info  # the mean of each statistic of the sampler, (*m,)
    warnings: list[str]


def draw(
    trained: TrainedModel, sampler: Sampler, draws: Draws, *, seed: int = 0, start: Tensor | None = None, dataset: Dataset | None = None
) -> Drawn:
    """Draws of every model. Raises `InputError` if the sampler needs something that the model does not provide."""
    check_sampler(sampler, trained)
    with console.waiting("drawing samples"):
        samples, info = trained.draw(sampler, draws, seed=seed, start=start, dataset=dataset)
    warnings = []
    if "acceptance_rate" in info and info["acceptance_rate"].min() < LOW_ACCEPTANCE:
        cure = "try another sampler.step_size"
        warnings.append(f"the chains hardly move: the samples, and numbers computed from them, do not represent the model; {cure}")
    return Drawn(samples, info, warnings)


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
        raise bad(f"sampler: {type(sampler).__name__} needs {word} events, but those of this run are {trained.space.kind}")

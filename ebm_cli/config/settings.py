"""The keys of a run's config that name no component, the role of every key, and what follows from the roles.

Each key has one role:

    TRAINS     the trained parameters depend on it: it is part of a run's identity
    DRAWS      how the trained model is sampled
    MEASURES   what is measured on model and samples
    LABELS     names for listings
    EXECUTES   where and how a run is carried out, and what is shown of it: no result depends on it
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

from annotated_types import Ge, Lt

from ebm_cli.types import Count, Direction, Positive

TRAINS, DRAWS, MEASURES, LABELS, EXECUTES = "trains", "draws", "measures", "labels", "executes"
ROLES = {  # by dotted key; a key below one of these has the same role, and all others train
    **dict.fromkeys(("draws", "sampler"), DRAWS),
    "metric": MEASURES,
    **dict.fromkeys(("name", "group", "tags"), LABELS),
    **dict.fromkeys(("device", "force", "logger", "figure", "sweep"), EXECUTES),
    **dict.fromkeys(("trainer.log_every", "trainer.evaluate_every", "trainer.checkpoint_every"), EXECUTES),
    **dict.fromkeys(("hydra.launcher", "hydra/launcher", "hydra.sweeper.n_jobs", "hydra.sweeper.n_trials"), EXECUTES),
}
SEEDS = ("seed", "seeds")
LISTS = ("metric", "regularizer", "figure")  # groups of which several options may be chosen
OPTIONAL = ("experiment", "logger")  # groups that may be null


@dataclass(frozen=True)
class TrainerSettings:
    """How long and how to train. Intervals are in steps.

    `ema_decay`: of the averaged parameters, which all results use (0: no averaging). `max_grad_norm`: per model, null for no clipping.
    `compile`: the loss with its gradient, and the sampler's transition, are compiled as one graph each.
    """

    n_steps: Count
    batch_size: Count
    ema_decay: Annotated[float, Ge(0), Lt(1)]
    max_grad_norm: Positive | None
    checkpoint_every: Count
    log_every: Count
    evaluate_every: Count
    compile: bool


@dataclass(frozen=True)
class SweepSettings:
    """What the runs of a sweep are compared by: a number of their summary, and which is best; null: as its metric says."""

    metric: str
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
    """The keys at the top of a config, as a signature."""


def role(key: str) -> str:
    """The role of a dotted key, or of an override of a command line."""
    key = key.lstrip("+~").partition("=")[0]
    return next((role for known, role in ROLES.items() if key == known or key.startswith((f"{known}.", f"{known}/"))), TRAINS)


def with_role(config: Mapping[str, Any], *roles: str) -> dict[str, Any]:
    """The part of a config whose keys have one of these roles."""
    chosen = {}
    for key, value in config.items():
        if key == "trainer":  # its keys have two roles
            if inner := {name: setting for name, setting in value.items() if role(f"trainer.{name}") in roles}:
                chosen[key] = inner
        elif role(key) in roles:
            chosen[key] = value
    return chosen


def identity(config: Mapping[str, Any], fingerprint: str = "", *, schema: int = 0) -> str:
    """Ten hexadecimal digits for all that training reads: the typed config and the sha256 of the data file (in place of its path).

    With the `schema` of run folders in it, a line never names the folder that another version has written.
    """
    read = with_role(config, TRAINS) | {"schema": schema}
    if fingerprint:
        read["dataset"] = {key: value for key, value in config["dataset"].items() if key != "path"} | {"sha256": fingerprint}
    return sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:10]


def seeds_of(config: Mapping[str, Any]) -> range:
    """The seed of every model that a config trains."""
    return range(config["seed"], config["seed"] + (config["seeds"] or 1))

"""The role of every key of a config, and the identity of a run.

Each key has one role:

    TRAINS     the trained parameters depend on it; it is part of the identity of the run
    DRAWS      it sets how the trained model is sampled
    MEASURES   it sets what is measured on the model and its samples
    LABELS     it names the run in listings
    EXECUTES   it sets where and how the run is executed, and what is shown of it. Only `device` can change results, since each type of
               device generates its own random numbers
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

TRAINS, DRAWS, MEASURES, LABELS, EXECUTES = "trains", "draws", "measures", "labels", "executes"
ROLES = {  # by dotted key. The keys below a key have the same role; all keys that are not named here have the role TRAINS
    **dict.fromkeys(("draws", "sampler"), DRAWS),
    "metric": MEASURES,
    **dict.fromkeys(("name", "group", "tags"), LABELS),
    **dict.fromkeys(("device", "force", "logger", "figure", "sweep"), EXECUTES),
    **dict.fromkeys((f"trainer.{key}" for key in ("log_every", "evaluate_every", "checkpoint_every", "n_snapshots")), EXECUTES),
    **dict.fromkeys(("hydra.launcher", "hydra/launcher", "hydra.sweeper.n_jobs", "hydra.sweeper.n_trials"), EXECUTES),
}
SEEDS = ("seed", "seeds")
LISTS = ("metric", "regularizer", "figure")  # groups whose value is a list of options
OPTIONAL = ("experiment", "logger")  # groups whose value can be null


def role(key: str) -> str:
    """The role of a dotted key, or of the key of an override."""
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


def new_labels(config: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The labels that a config gives and that differ from those of a stored run. A label that is not given stays."""
    return {key: value for key, value in with_role(config, LABELS).items() if value and value != stored.get(key)}


def identity(config: Mapping[str, Any], fingerprint: str = "", files: Mapping[str, str] | None = None, *, schema: int = 0) -> str:
    """The id of a run: ten hexadecimal digits of a hash of everything that training depends on.

    This is the typed config, with the sha256 of a data file in place of its path, and those of the `files` of the energy, by key. The hash
    includes the `schema` of run folders, so that a command never finds the folder of a run with another schema.
    """
    read = with_role(config, TRAINS) | {"schema": schema}
    if config["trainer"]["select"] is not None:  # the steps at which it measures
        read["trainer"] = read["trainer"] | {"evaluate_every": config["trainer"]["evaluate_every"]}
    if fingerprint:
        read["dataset"] = {key: value for key, value in config["dataset"].items() if key != "path"} | {"sha256": fingerprint}
    if files:
        read["energy"] = config["energy"] | {key: {"sha256": found} for key, found in files.items()}
    return sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:10]


def seeds_of(config: Mapping[str, Any]) -> range:
    """The seed of every model that a config trains."""
    return range(config["seed"], config["seed"] + (config["seeds"] or 1))

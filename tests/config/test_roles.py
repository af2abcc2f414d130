"""The role of every key of a config, and the identities, parts of configs and seeds that follow from the roles."""

from copy import deepcopy

import pytest

from ebm_cli.config import compose, roles, schema
from ebm_cli.config.roles import DRAWS, EXECUTES, LABELS, MEASURES, TRAINS

# The role of every top-level key of a config, and of every key of the trainer. A new key must be added here.
EXPECTED = {
    **dict.fromkeys(("seed", "seeds", "resume"), TRAINS),
    **dict.fromkeys(("dataset", "energy", "reference", "objective", "regularizer", "optimizer"), TRAINS),
    **dict.fromkeys(
        (f"trainer.{key}" for key in ("n_steps", "batch_size", "ema_decay", "max_grad_norm", "select", "patience", "refit", "compile")),
        TRAINS,
    ),
    **dict.fromkeys((f"trainer.{key}" for key in ("log_every", "evaluate_every", "checkpoint_every", "n_snapshots")), EXECUTES),
    **dict.fromkeys(("draws", "sampler"), DRAWS),
    "metric": MEASURES,
    **dict.fromkeys(("name", "group", "tags"), LABELS),
    **dict.fromkeys(("device", "force", "figure", "logger", "sweep"), EXECUTES),
}


def typed(*words):
    return schema.check(compose.compose(["regularizer=[energy_l2]", "logger=tensorboard", *words]).config)


def leaves(config, place=""):
    """The dotted keys of all values."""
    for key, value in config.items():
        yield from leaves(value, f"{place}{key}.") if isinstance(value, dict) else [f"{place}{key}"]


def changed(config, key):
    """A copy with another value at a key."""
    config = deepcopy(config)
    *path, last = key.split(".")
    node = config
    for part in path:
        node = node[part]
    node[last] = ["another value"]
    return config


def test_every_key_has_the_expected_role():
    keys = {key for key in leaves(typed()) if key.startswith("trainer.")} | typed().keys() - {"trainer"}
    assert keys == EXPECTED.keys()
    assert {key: roles.role(key) for key in EXPECTED} == EXPECTED


@pytest.mark.parametrize("key", roles.ROLES)
def test_every_key_with_a_role_exists(key):
    """If a key were renamed only in the config, its role would silently become TRAINS."""
    if not key.startswith(("hydra.", "hydra/")):
        assert key in EXPECTED


@pytest.mark.parametrize(
    ("word", "role"),
    [
        ("draws.n_samples=5", DRAWS),
        ("metric.quadrature.tolerance=0.1", MEASURES),
        ("metric=[ais,ksd]", MEASURES),
        ("metrics=3", TRAINS),
        ("sampler=langevin", DRAWS),
        ("objective.sampler.step_size=0.1", TRAINS),
        ("logger.project=mine", EXECUTES),
        ("tags=[a]", LABELS),
        ("trainer.log_every=7", EXECUTES),
        ("trainer.n_steps=7", TRAINS),
        ("++hydra.launcher.gpus=[0,1]", EXECUTES),
        ("hydra/launcher=ray", EXECUTES),
        ("hydra.sweeper.n_trials=40", EXECUTES),
        ("hydra.sweeper.seed=1", TRAINS),
        ("hydra/sweeper=optuna", TRAINS),
        ("optimizer.lr=0.1,0.2", TRAINS),
        ("seed=range(8)", TRAINS),
    ],
)
def test_an_override_has_the_role_of_its_key(word, role):
    assert roles.role(word) == role


@pytest.mark.parametrize("words", [(), ("objective=pcd", "optimizer=sgd", "energy=mlp")], ids=["defaults", "pcd"])
def test_exactly_the_keys_that_train_change_the_identity(words):
    config = typed(*words)
    before, keys = roles.identity(config), list(leaves(config))
    assert {roles.role(key) for key in keys} == {TRAINS, DRAWS, MEASURES, LABELS, EXECUTES}
    for key in keys:
        assert (roles.identity(changed(config, key)) != before) == (roles.role(key) == TRAINS), key


def test_the_identity_does_not_depend_on_the_order_of_keys():
    config = typed()
    assert roles.identity(dict(reversed(config.items()))) == roles.identity(config)


def test_a_file_is_identified_by_its_content():
    config = typed("dataset=table", "dataset.path=a.csv")
    moved = changed(config, "dataset.path")
    assert roles.identity(moved) != roles.identity(config)
    assert roles.identity(moved, "12") == roles.identity(config, "12") != roles.identity(config, "34")
    assert roles.identity(changed(config, "dataset.columns"), "12") != roles.identity(config, "12")


@pytest.mark.parametrize("role", [TRAINS, DRAWS, MEASURES, LABELS, EXECUTES])
def test_the_part_of_a_config_with_one_role(role):
    config = typed()
    part = roles.with_role(config, role)
    assert set(leaves(part)) == {key for key in leaves(config) if roles.role(key) == role}
    assert all(part[key] == config[key] for key in part if key != "trainer")


def test_the_part_of_a_config_with_several_roles():
    config = typed()
    part = roles.with_role(config, LABELS, DRAWS)
    assert part == roles.with_role(config, LABELS) | roles.with_role(config, DRAWS)
    assert list(part) == [key for key in config if key in part]
    everything = roles.with_role(config, TRAINS, DRAWS, MEASURES, LABELS, EXECUTES)
    assert everything == config
    everything["trainer"]["n_steps"] = 0  # the part is a copy
    assert config["trainer"]["n_steps"]


def test_the_seeds_of_a_config():
    assert [*roles.seeds_of({"seed": 4, "seeds": None})] == [4]
    assert [*roles.seeds_of({"seed": 4, "seeds": 3})] == [4, 5, 6]

"""The files of the config groups: their descriptions, chapters and components, and the options that their defaults lists choose."""

from pathlib import Path

import pytest
import yaml

from ebm_cli.config import compose, option_files, schema
from ebm_cli.config.option_files import conf_dir
from ebm_cli.errors import InputError

GROUPS = option_files.groups()
OPTIONS = [(group, name) for group, options in GROUPS.items() for name in options]


def file(text, name="mine/sampler/own.yaml"):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_groups_are_those_of_the_schema():
    assert GROUPS.keys() == {*schema.KINDS, *schema.KINDS_OF_LISTS, "experiment"}
    assert GROUPS.keys() == option_files.train_defaults().keys()


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_every_option_has_a_description_and_a_reference(group, name):
    option = GROUPS[group][name]
    assert option.path == conf_dir() / group / f"{name}.yaml"
    assert option.description
    assert option.reference
    assert "_target_" not in option.description + option.reference


def test_options_are_sorted_by_chapter_and_then_by_name():
    chapters = [option.chapter for option in GROUPS["objective"].values()]
    assert all(chapters)
    assert chapters == sorted(chapters)
    assert list(GROUPS["sampler"]) == sorted(GROUPS["sampler"])
    file("# A\n# B\n_target_: x.Y\n", "mine/objective/aaa.yaml")
    file("# A\n# B\n# chapter: 0.1 First\n_target_: x.Y\n", "mine/objective/zzz.yaml")
    first, *others = option_files.groups([Path("mine")])["objective"]
    assert first == "zzz"
    assert others == [*GROUPS["objective"], "aaa"]


def test_a_folder_of_the_user_adds_options_and_groups():
    file("# Mine\n# Me\n_target_: x.Y\n")
    file("# Hers\n# She\n_target_: x.Y\n", "hers/kernel/new.yaml")
    found = option_files.groups([Path("mine"), Path("hers")])
    assert found["sampler"]["own"] == ("Mine", "Me", Path("mine/sampler/own.yaml"), "")
    assert found["kernel"]["new"].description == "Hers"
    assert found["sampler"].keys() == GROUPS["sampler"].keys() | {"own"}
    assert "own" not in option_files.groups()["sampler"]


def test_a_folder_of_the_user_does_not_replace_an_option():
    file("# Mine\n# Me\n_target_: x.Y\n", "mine/sampler/mala.yaml")
    with pytest.raises(InputError, match=r"mine/sampler/mala.yaml has the name of another option: .*conf/sampler/mala.yaml"):
        compose.compose(["sampler=mala"], [Path("mine")])


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("_target_: x.Y\nstep_size: 0.1\n", {"_target_": "x.Y", "step_size": 0.1}),
        ("_target_: x.Y\n", {"_target_": "x.Y"}),
        ("defaults:\n  - /dataset@dataset: moons\n_target_: x.Y\n", {"_target_": "x.Y"}),
        ("quadrature:\n  _target_: x.Y\n  margin: 1.5\n", {"_target_": "x.Y", "margin": 1.5}),
        ("a:\n  _target_: x.Y\nb:\n  _target_: x.Z\n", {"a": {"_target_": "x.Y"}, "b": {"_target_": "x.Z"}}),
        ("n_grains: 1\n", {"n_grains": 1}),
        ("# nothing yet\n", {}),
    ],
    ids=["keys", "a target alone", "a defaults list", "one named node", "two named nodes", "one value", "empty"],
)
def test_the_component_in_a_file(text, node):
    assert option_files.node_of(file(text)) == node


@pytest.mark.parametrize(("group", "name"), [option for option in OPTIONS if option[0] != "experiment"])
def test_every_option_names_a_class_of_the_package(group, name):
    assert option_files.node_of(GROUPS[group][name].path)["_target_"].startswith("ebm_cli.")


LIST = """# @package _global_
defaults:
  - _self_
  - dataset: moons
  - override /objective: pcd
  - override /sampler@_global_.sampler: mala
  - override /metric: [ais, ksd]
  - override /hydra/sweeper: optuna
  - logger: null
  - /dataset@dataset: banana
  - /sampler@inner.kernel: hmc
"""


def test_a_defaults_list_chooses_and_places_options():
    path = file(LIST)
    chosen = {
        "dataset": "moons",
        "objective": "pcd",
        "sampler": "mala",
        "metric": ["ais", "ksd"],
        "hydra/sweeper": "optuna",
        "logger": None,
    }
    assert option_files.defaults(path) == chosen
    assert option_files.placed(path) == {"dataset": ("dataset", "banana"), "inner.kernel": ("sampler", "hmc")}


@pytest.mark.parametrize("text", ["", "_target_: x.Y\n", "defaults: []\n"])
def test_a_file_without_a_defaults_list_chooses_nothing(text):
    assert option_files.defaults(file(text)) == option_files.placed(file(text)) == {}


def test_the_defaults_agree_with_hydra():
    composed = compose.compose([])
    assert {group: composed.choices.get(group) for group in schema.KINDS} == {
        group: option_files.train_defaults()[group] for group in schema.KINDS
    }
    assert list(composed.config["metric"]) == option_files.train_defaults()["metric"]


@pytest.mark.parametrize("name", GROUPS["objective"])
def test_the_defaults_of_an_objective_agree_with_hydra(name):
    """An objective can choose a sampler, an energy and regularizers, which apply if the command line chooses none."""
    composed, chosen = compose.compose([f"objective={name}"]), option_files.defaults(GROUPS["objective"][name].path)
    for group in ("sampler", "energy"):
        assert composed.choices[group] == (option_files.train_defaults() | chosen)[group]
    assert list(composed.config.get("regularizer", ())) == chosen.get("regularizer", [])


@pytest.mark.parametrize("name", ["banana", "funnel", "gaussian_mixture"])
def test_the_exact_energy_of_a_dataset_has_the_keys_of_the_dataset(name):
    path = GROUPS["energy"][name].path
    assert option_files.placed(path) == {"dataset": ("dataset", name)}
    assert compose.compose([f"energy={name}"]).config["energy"]["dataset"] == yaml.safe_load(GROUPS["dataset"][name].path.read_text())


def test_an_option_without_comments_has_no_description():
    assert option_files.comments(file("_target_: x.Y\n")) == ("", "")
    assert option_files.comments(file("# @package _global_\n# One\n_target_: x.Y # three\n")) == ("One", "")
    assert option_files.comments(Path("gone.yaml")) == ("", "")

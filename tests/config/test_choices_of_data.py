"""What data choose: it suits them, gives way to the line and to presets, and leaves the choices of objectives alone."""

import pytest

from ebm_cli.config import compose, option_files

TABLE = ("dataset=table", "dataset.path=x.csv")
OBJECTIVES = sorted(option_files.groups()["objective"])


def test_the_choices_of_a_table():
    composed = compose.compose(TABLE)
    chosen = {group: composed.choices[group] for group in ("objective", "reference", "optimizer")}
    assert chosen == {"objective": "nce", "reference": "mixture", "optimizer": "adamw_small"}
    assert [*composed.config["metric"]] == ["importance", "bridge", "baselines"]
    assert composed.config["trainer"]["select"] == "auto"
    assert not composed.problems


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_choices_of_an_objective_stay_as_they_are(objective):
    """The sampler, the regularizers and the energy are those that the objective chooses on other data."""
    with_table, without = (compose.compose([*words, f"objective={objective}"]) for words in (TABLE, ("dataset=moons",)))
    for group in ("sampler", "energy"):
        assert with_table.choices[group] == without.choices[group]
        assert with_table.config[group] == without.config[group]
    assert with_table.config.get("regularizer") == without.config.get("regularizer")
    assert with_table.choices["reference"] == "mixture"


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("reference=gaussian", "reference", "gaussian"),
        ("optimizer=sgd", "optimizer", "sgd"),
        ("objective=ssm", "objective", "ssm"),
        ("experiment=smoke", "experiment", "smoke"),
    ],
)
def test_the_line_has_priority(word, key, value):
    assert compose.compose([*TABLE, word]).choices[key] == value


def test_values_of_the_line_have_priority():
    config = compose.compose([*TABLE, "trainer.select=null", "trainer.n_steps=7", "metric=[fisher]"]).config
    assert (config["trainer"]["select"], config["trainer"]["n_steps"], [*config["metric"]]) == (None, 7, ["fisher"])


def test_other_data_are_not_affected():
    config = compose.compose(["dataset=moons"]).config
    assert config["trainer"]["select"] is None
    assert config["trainer"]["n_steps"] == 6500


DISCRETE = {
    "bars_and_stripes": ("binary_resnet", "nce", "gwg"),
    "rbm": ("rbm", "pcd", "block_gibbs"),
    "mnist_binary": ("rbm", "pcd", "block_gibbs"),
    "digits_binary": ("rbm", "pcd", "block_gibbs"),
    "ising": ("ising", "pseudo_likelihood", "block_gibbs"),
    "potts": ("potts", "pseudo_likelihood", "block_gibbs"),
    "binary_moons": ("binary_resnet", "energy_discrepancy", "gwg"),
    "binary_table dataset.path=x.csv": ("rbm", "pseudo_likelihood", "block_gibbs"),
    "categorical_table dataset.path=x.csv": ("binary_mlp", "pseudo_likelihood", "gibbs"),
}


def test_the_optimizer_of_an_rbm_with_pcd_comes_before_that_of_tables():
    config = compose.compose(["dataset=binary_table", "dataset.path=x.csv", "objective=pcd"]).config
    assert (config["optimizer"]["_target_"], config["optimizer"]["lr"]) == ("ebm_cli.optimizers.sgd.SGD", 0.6)


@pytest.mark.parametrize("words", ["objective=pcd", "objective=mle energy=binary_resnet", "objective=cd energy=potts sampler=auto"])
def test_the_sampler_of_categories_stays_with_chains(words):
    composed = compose.compose(["dataset=categorical_table", "dataset.path=x.csv", *words.split()])
    assert not composed.problems
    assert composed.choices["sampler"] == "gibbs"


@pytest.mark.parametrize("dataset", DISCRETE)
def test_discrete_data_need_no_other_word(dataset):
    composed = compose.compose(f"dataset={dataset}".split())
    assert not composed.problems
    assert tuple(composed.choices[group] for group in ("energy", "objective", "sampler")) == DISCRETE[dataset]


def test_the_line_and_a_preset_choose_another_energy(tmp_path):
    words = ("dataset=bars_and_stripes", "objective=exact")
    assert compose.compose([*words, "energy=binary_mlp"]).choices["energy"] == "binary_mlp"
    (tmp_path / "experiment").mkdir()
    preset = "# @package _global_\n# A preset\n# none\ndefaults:\n  - override /energy: binary_resnet\n"
    (tmp_path / "experiment" / "deep.yaml").write_text(preset)
    composed = compose.compose([*words, "experiment=deep"], [tmp_path])
    assert composed.choices["energy"] == "binary_resnet"
    assert not composed.problems

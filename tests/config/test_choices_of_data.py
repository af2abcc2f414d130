"""What `dataset=table` chooses: it suits tables, gives way to the line and to presets, and leaves the choices of objectives alone."""

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
